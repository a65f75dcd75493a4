// The model: the walk down the groups of z, and what can be asked of it (as `models/verbs.py`).

import { condition } from "./conditions.js";
import { Player } from "./engine.js";
import { likelihood } from "./likelihoods.js";
import { logSumExp, normals, uniforms } from "./numbers.js";

export class Model {
  constructor(about, weights) {
    this.about = about;
    this.groups = about.groups;
    this.dim = about.groups.reduce((sum, size) => sum + size, 0);
    this.size = about.x_shape.reduce((product, n) => product * n, 1);
    this.condition = condition(about.condition, weights);
    this.likelihood = likelihood(about.likelihood, about.x_shape, weights);
    this.players = Object.fromEntries(
      Object.entries(about.tapes).map(([name, tape]) => [name, new Player(tape, weights)]),
    );
    const { place, shares } = about.directions;
    this.directions = shares.map((share, k) => ({
      share,
      vector: Float32Array.from({ length: this.dim }, (_, i) => weights[place][i * shares.length + k]),
    }));
  }

  /** Whether the model can be asked without a condition, and so be guided. */
  get guidable() {
    return Boolean(this.condition.optional && this.condition.missing);
  }

  /** Whether its classes are the ten digits, as pictures, so that they are somebody's writing. */
  get digits() {
    const { labels = [] } = this.about.condition;
    const named = labels.length === 10 && labels.every((label, k) => label === String(k));
    const { x_shape: shape } = this.about;
    return shape.length === 3 && (named || this.condition.kind === "known_part");
  }

  /** Features of conditions, rows one after the other; null without a condition. */
  features(conditions) {
    const rows = conditions.map((one) => this.condition.features(one));
    return rows[0] && joined(rows);
  }

  /** What one walk knows: `features` for the prior and the decoder, `whole` for q. */
  begin(conditions) {
    const whole = this.features(conditions), { shared } = this.about;
    const env = { rows: conditions.length, conditions, whole, features: whole };
    const width = whole ? whole.length / env.rows : 0;
    if (width > shared) {
      env.features = new Float32Array(env.rows * shared);
      for (let r = 0; r < env.rows; r++) {
        env.features.set(whole.subarray(r * width, r * width + shared), r * shared);
      }
    }
    env.given = this.condition.kind === "known_part" ? known(conditions) : null;
    this.play("begin", env);
    return env;
  }

  /** Play a tape, if there is one; what it gives is added to what is known. */
  play(name, env) {
    const player = this.players[name];
    if (!player) return;
    const given = name === "observe" ? { ...env, features: env.whole } : env;
    Object.assign(env, player.play(env.rows, given));
  }

  /** The groups one after the other: `choose(g, mean, logVar)` gives each z, rows x size. */
  walk(env, choose) {
    this.groups.forEach((size, g) => {
      this.play(`prior_${g}`, env);
      env[`z_${g}`] = choose(g, env[`p_mean_${g}`], env[`p_log_var_${g}`], size);
      this.play(`descend_${g}`, env);
    });
    return env;
  }

  parameters(env) {
    this.play("parameters", env);
    return env.out || new Float32Array(0);
  }

  /** The parameters at z ~ p(z | y) that `noise`, rows x dim, makes. */
  drawn(conditions, noise, guidance = 1) {
    const env = this.begin(conditions);
    if (guidance === 1 || !this.guidable) {
      this.walk(env, (g, mean, logVar, size) => reached(mean, logVar, this.part(noise, g), size));
      return [this.parameters(env), env];
    }
    return [this.guided(env, noise, guidance), env];
  }

  /** As `inference/guidance.py`: the means and the parameters go beyond those without y. */
  guided(env, noise, guidance) {
    const given = this.kept(env);
    const free = this.kept(this.begin(env.conditions.map(() => null)));
    this.groups.forEach((size, g) => {
      // Each plays the same tapes: what one gives is copied before the other plays.
      for (const one of [given, free]) this.keep(`prior_${g}`, one);
      const mean = beyond(free[`p_mean_${g}`], given[`p_mean_${g}`], guidance);
      const z = reached(mean, given[`p_log_var_${g}`], this.part(noise, g), size);
      for (const one of [given, free]) {
        one[`z_${g}`] = z;
        this.keep(`descend_${g}`, one);
      }
    });
    for (const one of [given, free]) this.keep("parameters", one);
    return beyond(free.out, given.out, guidance);
  }

  keep(name, env) {
    const player = this.players[name];
    if (!player) return;
    const found = player.play(env.rows, env);
    for (const key of Object.keys(found)) env[key] = found[key].slice();
  }

  kept(env) {
    const copy = {};
    for (const [key, value] of Object.entries(env)) {
      copy[key] = value instanceof Float32Array ? value.slice() : value;
    }
    return copy;
  }

  /** Pictures for conditions and noise, rows x size: means, or with `sample` draws of a seed. */
  generate(conditions, noise, { guidance = 1, sample = null } = {}) {
    const [parameters, env] = this.drawn(conditions, noise, guidance);
    const rows = conditions.length, factors = this.exposures(conditions);
    return sample === null
      ? this.likelihood.mean(parameters, rows, env.given, factors)
      : this.likelihood.sample(parameters, rows, uniforms(sample, 7), env.given, factors);
  }

  /** What the means of counts are multiplied by, one for each row; null if by nothing. */
  exposures(conditions) {
    const { parts = [] } = this.condition;
    const found = parts.filter(([, part]) => part.kind === "exposure");
    if (!found.length) return null;
    return conditions.map((one) =>
      found.reduce((product, [name, part]) => (product * one[name][0]) / part.about.typical, 1));
  }

  /** The nearest x that can be: what log p is said of. */
  settled(x) {
    const { settled } = this.likelihood;
    return settled ? x.map((value) => settled(value)) : x;
  }

  /** Reads x, rows x size: style, KL, and what the ELBO and importance weights are made of. */
  infer(x, conditions, noise = null) {
    const rows = conditions.length, kl = new Float64Array(rows), ratio = new Float64Array(rows);
    const style = new Float32Array(rows * this.dim);
    const env = this.begin(conditions);
    env.x = x;
    this.play("observe", env);
    let start = 0;
    this.walk(env, (g, pMean, pLogVar, size) => {
      this.play(`posterior_${g}`, env);
      const qMean = env[`q_mean_${g}`], qLogVar = env[`q_log_var_${g}`];
      const z = new Float32Array(rows * size), part = noise && this.part(noise, g);
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < size; i++) {
          const at = r * size + i, m = pMean ? pMean[at] : 0, v = pLogVar ? pLogVar[at] : 0;
          const e = part ? part[at] : 0, apart = qMean[at] - m;
          z[at] = qMean[at] + Math.exp(0.5 * qLogVar[at]) * e;
          const away = (z[at] - m) * Math.exp(-0.5 * v);
          style[r * this.dim + start + i] = away;
          ratio[r] += 0.5 * (qLogVar[at] - v + e * e - away * away);
          kl[r] += 0.5 * (v - qLogVar[at] + (Math.exp(qLogVar[at]) + apart * apart) * Math.exp(-v) - 1);
        }
      }
      start += size;
      return z;
    });
    return { style, kl, ratio, parameters: this.parameters(env), given: env.given };
  }

  /** About the ELBO of x, rows x size, in nats: at the mean of q, which is enough to compare. */
  score(x, conditions) {
    const found = this.infer(x, conditions);
    const rows = conditions.length, factors = this.exposures(conditions);
    const logP = this.likelihood.logProb(x, found.parameters, rows, found.given, factors);
    return { ...found, elbo: logP.map((value, r) => value - found.kl[r]) };
  }

  /** log p(x | y) of one x by importance sampling: [nats, standard error]. */
  logProb(x, one, draws = 64, seed = 0) {
    const conditions = new Array(draws).fill(one);
    const many = repeated(x, draws);
    const found = this.infer(many, conditions, normals(draws * this.dim, seed, 3));
    const factors = this.exposures(conditions);
    const logP = this.likelihood.logProb(many, found.parameters, draws, found.given, factors);
    const weights = Array.from(logP, (value, r) => value + found.ratio[r]);
    const total = logSumExp(weights);
    const squares = weights.reduce((sum, w) => sum + Math.exp(2 * (w - total)), 0);
    return [total - Math.log(draws), Math.sqrt(Math.max(squares - 1 / draws, 0))];
  }

  /** The numbers of group g, of rows x dim. */
  part(noise, g) {
    const start = this.groups.slice(0, g).reduce((sum, size) => sum + size, 0);
    const size = this.groups[g], rows = noise.length / this.dim;
    if (this.groups.length === 1) return noise;
    const out = new Float32Array(rows * size);
    for (let r = 0; r < rows; r++) {
      out.set(noise.subarray(r * this.dim + start, r * this.dim + start + size), r * size);
    }
    return out;
  }
}

/** mean + sd noise; N(0, 1) where there is no mean. */
function reached(mean, logVar, noise) {
  const z = new Float32Array(noise.length);
  for (let i = 0; i < z.length; i++) {
    z[i] = mean ? mean[i] + Math.exp(0.5 * logVar[i]) * noise[i] : noise[i];
  }
  return z;
}

function beyond(free, given, weight) {
  return given && Float32Array.from(given, (value, i) => free[i] + weight * (value - free[i]));
}

/** Rows one after the other. */
export function joined(rows) {
  const out = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, r) => out.set(row, r * row.length));
  return out;
}

/** The same row many times. */
export function repeated(row, times) {
  return joined(new Array(times).fill(row));
}

function known(conditions) {
  return {
    known: joined(conditions.map((one) => Float32Array.from(one.known))),
    values: joined(conditions.map((one) => one.values)),
  };
}
