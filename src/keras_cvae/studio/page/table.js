// Tables: one network gives the law of every column, whichever of the others are known.

import { Player } from "./engine.js";
import { softmax, uniforms } from "./numbers.js";

const PROPOSALS = 64, MOST = 64; // at once, and at most for each row

export class TableModel {
  constructor(about, weights) {
    this.about = about;
    this.dim = this.size = 0;
    this.condition = { kind: "none", start: () => null };
    this.columns = about.table.map((column) => new Column(column));
    this.shown = [...this.columns].sort((one, other) => one.about.place - other.about.place);
    this.parts = about.table.flatMap((column) => column.parts);
    this.levels = this.parts.reduce((sum, part) => sum + part.size, 0);
    this.player = new Player(about.tapes.columns, weights);
    this.logShares = about.shares.map((share) => {
      const rows = Array.isArray(share[0]) ? share : [share];
      return rows.map((row) => Float64Array.from(row, Math.log));
    });
  }

  /** Logits of all levels, rows x levels; `known` has, of each row, levels by part, -1: unknown. */
  logits(known) {
    const rows = known.length, count = this.parts.length;
    const levels = new Float32Array(rows * this.levels), seen = new Float32Array(rows * count);
    known.forEach((row, r) =>
      row.forEach((level, i) => {
        if (level < 0) return;
        levels[r * this.levels + this.parts[i].from + level] = 1;
        seen[r * count + i] = 1;
      }),
    );
    return this.player.play(rows, { levels, seen }).out;
  }

  /** The law of part i in row r of the logits, given what is known in that row. */
  law(i, logits, r, known) {
    const { from, size, parent } = this.parts[i];
    const row = parent === null ? 0 : Math.max(known[parent], 0), shares = this.logShares[i][row];
    const scores = new Float64Array(size);
    for (let k = 0; k < size; k++) scores[k] = logits[r * this.levels + from + k] + shares[k];
    return softmax(scores);
  }

  /**
   * Draw what is not known of a row, many times: levels by part, from p(rest | known) of the joint.
   *
   * What comes after all that is known follows from it. What comes before is drawn with the known in
   * sight, weighed by the ratio of the joint's density to that of this draw, and resampled, as in
   * the library (`models/tables/asking.py`).
   */
  draw(known, count, seed) {
    let found = [];
    for (const rows of this.drawing(known, count, seed)) found = rows || found;
    return found;
  }

  /** The same as a generator, which gives null after each small step, and the rows at its end. */
  *drawing(known, count, seed) {
    const next = uniforms(seed, 41), end = known.findLastIndex((level) => level >= 0) + 1;
    const before = [...known.keys()].filter((i) => i < end && known[i] < 0);
    let rows = Array.from({ length: count }, () => Array.from(known));
    if (before.length) rows = yield* this.resampled(known, end, count, next);
    yield* this.fill(rows, [...known.keys()].filter((i) => i >= end), next);
    yield rows;
  }

  /** Rows whose first parts follow p(before | known); see `draw`. */
  *resampled(known, end, count, next) {
    const free = [...known.keys()].filter((i) => i < end && known[i] < 0);
    const rows = [], logW = [];
    let weights = [], worth = 0;
    while (worth < 2 * count && rows.length < MOST * count) {
      const more = Array.from({ length: PROPOSALS }, () => Array.from(known));
      const logQ = yield* this.fill(more, free, next);
      const sofar = more.map((row) => row.map(() => -1)), logP = logQ.map((q) => -q);
      for (let i = 0; i < end; i++) {
        const logits = this.logits(sofar);
        more.forEach((row, r) => {
          logP[r] += Math.log(this.law(i, logits, r, sofar[r])[row[i]]);
          sofar[r][i] = row[i];
        });
        yield null;
      }
      rows.push(...more);
      logW.push(...logP);
      weights = softmax(logW);
      worth = 1 / weights.reduce((sum, w) => sum + w * w, 0) || 0;
    }
    // Systematically: each is taken count x weight times, rounded down or up.
    const start = next(), chosen = [];
    let sum = 0;
    rows.forEach((row, r) => {
      sum += weights[r] * count;
      while (chosen.length < count && chosen.length + start < sum) chosen.push([...row]);
    });
    while (chosen.length < count) chosen.push([...rows[rows.length - 1]]);
    for (let i = count - 1; i > 0; i--) {
      const k = Math.floor(next() * (i + 1));
      [chosen[i], chosen[k]] = [chosen[k], chosen[i]];
    }
    return chosen;
  }

  /** Draw parts of rows one after the other; returns log q of each row. */
  *fill(rows, parts, next) {
    const logQ = new Array(rows.length).fill(0);
    for (const i of parts) {
      const logits = this.logits(rows);
      rows.forEach((row, r) => {
        const law = this.law(i, logits, r, row);
        let left = next(), k = 0;
        while (k < law.length - 1 && (left -= law[k]) > 0) k++;
        while (law[k] === 0 && k > 0) k--;
        row[i] = k;
        logQ[r] += Math.log(law[k]);
      });
      yield null;
    }
    return logQ;
  }

  /** log p of what is known, in the order of the columns. */
  logProb(known) {
    const sofar = new Array(known.length).fill(-1);
    let total = 0;
    known.forEach((level, i) => {
      if (level < 0) return;
      total += Math.log(this.law(i, this.logits([sofar]), 0, sofar)[level]);
      sofar[i] = level;
    });
    return total;
  }
}

/** How levels of a column become values. */
export class Column {
  constructor(about) {
    this.about = about;
    this.name = about.name;
    this.first = about.parts[0].place;
    const { coding } = about;
    this.numeric = coding.coding === "intervals";
    this.dated = coding.coding === "calendar";
    this.segments = new Map();
    if (this.numeric) this.segment(coding);
    if (this.dated) this.week = new Intervals(coding.week);
    if (this.dated) this.time = new Intervals(coding.time);
    if (coding.coding === "digits") {
      this.base = Math.ceil(Math.sqrt(coding.rank.length));
      this.value = new Array(coding.rank.length);
      coding.rank.forEach((place, value) => (this.value[place] = value));
    }
  }

  segment(coding) {
    this.intervals = new Intervals(coding);
  }

  /** Whether a level stands for an empty cell. */
  empty(level) {
    return this.about.missing && level === this.about.parts[0].size - 1;
  }

  /** The value of levels as text; `u` chooses within bins. */
  text(levels, u = 0.5) {
    if (this.empty(levels[0])) return "";
    if (this.numeric) return this.number(this.intervals.value(levels[0], u));
    if (this.dated) return this.moment(levels, u);
    const value = this.value ? this.value[levels[0] * this.base + levels[1]] : levels[0];
    return this.about.labels[value];
  }

  /** A number of the coding as a user writes it. */
  number(value) {
    const { decimals } = this.about;
    if (decimals === null) return String(Number(value.toPrecision(6)));
    return decimals ? (value / 10 ** decimals).toFixed(decimals) : String(Math.round(value));
  }

  moment([week, day, time], u) {
    const { steps, date } = this.about;
    const days = this.week.value(week, u) * 7 + day;
    const at = new Date(((days * steps + this.time.value(time, u)) / steps) * 864e5).toISOString();
    return date ? (steps === 1 ? at.slice(0, 10) : at.slice(0, 19).replace("T", " ")) : at.slice(11, 19);
  }
}

class Intervals {
  constructor({ low, high, level, weight, whole }) {
    Object.assign(this, { low, high, level, weight, whole });
    this.size = level[level.length - 1] + 1;
    this.first = new Array(this.size);
    for (let s = level.length - 1; s >= 0; s--) this.first[level[s]] = s;
  }

  /** A value of a level; u from 0 to 1 goes through it. */
  value(level, u) {
    let s = this.first[level], left = u;
    while (this.level[s + 1] === level && left > this.weight[s]) left -= this.weight[s++];
    const width = this.high[s] - this.low[s] + (this.whole ? 1 : 0);
    const place = this.low[s] + Math.min(left / this.weight[s], 1) * width;
    return Math.min(this.whole ? Math.floor(place) : place, this.high[s]);
  }

  /** The level that holds a value, or the nearest one. */
  holding(value) {
    let best = 0, least = Infinity;
    this.low.forEach((low, s) => {
      const away = Math.max(low - value, value - this.high[s], 0);
      if (away < least) [least, best] = [away, this.level[s]];
    });
    return best;
  }

  /** Where most of the mass lies, for a histogram: [low, high]. */
  range(shares) {
    let below = 0, low = null, high = null;
    for (let s = 0; s < this.low.length; s++) {
      below += (shares[this.level[s]] || 0) * this.weight[s];
      if (low === null && below > 0.001) low = this.low[s];
      if (high === null && below > 0.985) high = this.high[s];
    }
    low = low ?? this.low[0];
    high = high ?? this.high[this.high.length - 1];
    return high > low ? [low, high] : [low - 0.5, low + 0.5];
  }

  /** The mass in each of some bins of equal width. */
  bins(shares, [low, high], count) {
    const out = new Float64Array(count), step = (high - low) / count;
    for (let s = 0; s < this.low.length; s++) {
      const mass = (shares[this.level[s]] || 0) * this.weight[s];
      const from = (this.low[s] - low) / step, to = (this.high[s] + (this.whole ? 1 : 0) - low) / step;
      const [a, b] = [Math.floor(from), Math.max(from + 1e-9, Math.min(to, from + 4 * count))];
      if (b - from < 1 || this.low[s] === this.high[s]) {
        if (a >= 0 && a < count) out[a] += mass;
        else if (a === count) out[count - 1] += mass;
        continue;
      }
      for (let k = Math.max(a, 0); k < Math.min(b, count); k++) {
        out[k] += (mass * (Math.min(k + 1, b) - Math.max(k, from))) / (b - from);
      }
    }
    return out;
  }
}
