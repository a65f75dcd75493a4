// p(x | z, y): means, draws and log p at the decoder's parameters, for rows of x laid out flat.

import {
  clamp, gammaDraw, logGamma, logSumExp, poissonDraw, quantile, sigmoid, softmax, softplus,
} from "./numbers.js";

/** The likelihood that `about` describes, for x of this shape. */
export function likelihood(about, shape, weights) {
  const size = shape.reduce((a, b) => a * b, 1), channels = shape[shape.length - 1];
  return KINDS[about.kind](about, { size, channels, shape, weights });
}

/**
 * Values that are independent given the parameters: what one value does makes all of them.
 * Factors, one for each row, are what the means of counts are multiplied by.
 */
function independent(per, size, { mean, sample, logDensity }) {
  const factor = (factors, r) => (factors ? factors[r] : 1);
  const each = (p, rows, factors, value) => {
    const out = new Float32Array(rows * size);
    for (let r = 0; r < rows; r++) {
      const from = r * size * per, times = factor(factors, r);
      for (let i = 0; i < size; i++) out[r * size + i] = value(p, from, i, times);
    }
    return out;
  };
  return {
    mean: (p, rows, given, factors) => fixed(each(p, rows, factors, mean), given),
    sample: (p, rows, next, given, factors) =>
      fixed(each(p, rows, factors, (p, from, i, times) => sample(p, from, i, next, times)), given),
    logProb: (x, p, rows, given, factors) => {
      const out = new Float64Array(rows);
      for (let r = 0; r < rows; r++) {
        const times = factor(factors, r);
        for (let i = 0; i < size; i++) {
          const place = r * size + i;
          if (given && given.known[place]) continue;
          out[r] += logDensity(x[place], p, r * size * per, i, times);
        }
      }
      return out;
    },
  };
}

/** What is known of x holds exactly. */
function fixed(x, given) {
  if (given) for (let i = 0; i < x.length; i++) if (given.known[i]) x[i] = given.values[i];
  return x;
}

const KINDS = {
  bernoulli(about, { size }) {
    return {
      binary: true,
      settled: (x) => +(x > 0.5),
      range: [0, 1],
      ...independent(1, size, {
        mean: (p, from, i) => sigmoid(p[from + i]),
        sample: (p, from, i, next) => (next() < sigmoid(p[from + i]) ? 1 : 0),
        logDensity: (x, p, from, i) => x * p[from + i] - softplus(p[from + i]),
      }),
    };
  },

  continuous_bernoulli(about, { size }) {
    const mean = (l) =>
      Math.abs(l) < 0.05 ? 0.5 + l / 12 : sigmoid(l) / Math.tanh(0.5 * l) - 1 / l;
    const normaliser = (l) =>
      Math.abs(l) < 0.05 ? Math.LN2 + (l * l) / 12 : Math.log(l / Math.tanh(0.5 * l));
    return {
      range: [0, 1],
      ...independent(1, size, {
        mean: (p, from, i) => mean(p[from + i]),
        sample: (p, from, i, next) => {
          const steep = Math.min(-Math.abs(p[from + i]), -1e-6);
          const x = Math.log1p(next() * Math.expm1(steep)) / steep;
          return p[from + i] > 0 ? 1 - x : x;
        },
        logDensity: (x, p, from, i) =>
          x * p[from + i] - softplus(p[from + i]) + normaliser(p[from + i]),
      }),
    };
  },

  gaussian(about, { size, channels }) {
    const per = about.predicted ? 2 : 1;
    const place = (from, i) => from + Math.floor(i / channels) * channels * per + (i % channels);
    const logVar = (p, from, i) =>
      per === 2
        ? Math.max(p[place(from, i) + channels], Math.log(1e-8))
        : about.log_var[i % channels];
    const back = (u, i) => about.mean[i % channels] + about.scale[i % channels] * u;
    return {
      range: null,
      ...independent(per, size, {
        mean: (p, from, i) => back(p[place(from, i)], i),
        sample: (p, from, i, next) =>
          back(p[place(from, i)] + Math.exp(0.5 * logVar(p, from, i)) * quantile(next()), i),
        logDensity: (x, p, from, i) => {
          const scale = about.scale[i % channels], v = logVar(p, from, i);
          const apart = (x - about.mean[i % channels]) / scale - p[place(from, i)];
          return -0.5 * (apart * apart * Math.exp(-v) + v + Math.log(2 * Math.PI)) - Math.log(scale);
        },
      }),
    };
  },

  categorical(about, { size }) {
    const { levels, low, high } = about, step = (high - low) / (levels - 1);
    const law = (p, from, i) => p.subarray(from + i * levels, from + (i + 1) * levels);
    return {
      range: [low, high],
      settled: (x) => low + clamp(Math.round((x - low) / step), 0, levels - 1) * step,
      ...independent(levels, size, {
        mean: (p, from, i) =>
          softmax(law(p, from, i)).reduce((sum, share, k) => sum + share * (low + k * step), 0),
        sample: (p, from, i, next) => {
          let left = next(), k = 0;
          const shares = softmax(law(p, from, i));
          while (k < levels - 1 && (left -= shares[k]) > 0) k++;
          return low + k * step;
        },
        logDensity: (x, p, from, i) => {
          const row = law(p, from, i);
          return row[Math.round((x - low) / step)] - logSumExp(row);
        },
      }),
    };
  },

  discretized_logistic(about, { size, channels: c }) {
    const { components: n, levels } = about, parts = ((c + 1) * (c + 2)) / 2;
    /** One pixel: what `pick` makes of its parameters, `(channels)` numbers in [0, 1]. */
    const pixels = (p, rows, pick) => {
      const out = new Float32Array(rows * size);
      for (let o = 0, from = 0; o < out.length; o += c, from += parts * n) {
        pick((part, k) => p[from + part * n + k], softmax(p.subarray(from, from + n)), out, o);
      }
      return out;
    };
    const before = (at, k, channel, earlier) => {
      let sum = at(1 + channel, k);
      for (let b = 0; b < channel; b++) {
        sum += Math.tanh(at(1 + 2 * c + (channel * (channel - 1)) / 2 + b, k)) * earlier[b];
      }
      return sum;
    };
    /** log of the mass of a level x in [-1, 1]; never of 0. */
    const half = 1 / (levels - 1);
    const logMass = (x, mean, logScale) => {
      const rate = Math.exp(-logScale), away = x - mean;
      const low = -softplus(-rate * (away + half)), high = -softplus(rate * (away - half));
      if (x < half - 1) return low;
      return x > 1 - half ? high : low + high + Math.log(-Math.expm1(-2 * half * rate));
    };
    return {
      range: [0, 1],
      settled: (x) => Math.round(clamp(x, 0, 1) * (levels - 1)) / (levels - 1),
      logProb: (x, p, rows) => {
        const out = new Float64Array(rows), seen = new Array(c), each = new Float64Array(n);
        for (let o = 0, from = 0; o < x.length; o += c, from += parts * n) {
          const at = (part, k) => p[from + part * n + k];
          for (let channel = 0; channel < c; channel++) seen[channel] = 2 * x[o + channel] - 1;
          const total = logSumExp(p.subarray(from, from + n));
          for (let k = 0; k < n; k++) {
            each[k] = p[from + k] - total;
            for (let channel = 0; channel < c; channel++) {
              const mean = before(at, k, channel, seen);
              each[k] += logMass(seen[channel], mean, Math.max(at(1 + c + channel, k) - 2, -7));
            }
          }
          out[Math.floor(o / size)] += logSumExp(each);
        }
        return out;
      },
      mean: (p, rows) =>
        pixels(p, rows, (at, share, out, o) => {
          const mixed = new Array(c).fill(0);
          for (let k = 0; k < n; k++) {
            const means = [];
            for (let channel = 0; channel < c; channel++) {
              means.push(before(at, k, channel, means));
              mixed[channel] += share[k] * means[channel];
            }
          }
          mixed.forEach((value, channel) => (out[o + channel] = clamp(0.5 * (value + 1), 0, 1)));
        }),
      sample: (p, rows, next) =>
        pixels(p, rows, (at, share, out, o) => {
          let left = next(), k = 0;
          while (k < n - 1 && (left -= share[k]) > 0) k++;
          const drawn = [];
          for (let channel = 0; channel < c; channel++) {
            const u = next(), scale = Math.exp(Math.max(at(1 + c + channel, k) - 2, -7));
            const value = before(at, k, channel, drawn) + scale * Math.log(u / (1 - u));
            const level = Math.round(clamp(0.5 * (value + 1), 0, 1) * (levels - 1));
            drawn.push((2 * level) / (levels - 1) - 1);
            out[o + channel] = level / (levels - 1);
          }
        }),
    };
  },

  counts(about, { size, channels }) {
    const { parameters: per, zeros, log_mean: start, poisson, log_r: learned } = about;
    const part = (p, from, i, block) =>
      p[from + Math.floor(i / channels) * channels * per + (i % channels) + block * channels];
    const middle = (p, from, i, times) => {
      const l = part(p, from, i, 0);
      const more = clamp(l, -60, 10) + Math.log1p(Math.max(l - 10, 0));
      return times * Math.exp(start[i % channels] + more);
    };
    /** The logit of an added zero, and r: the variance is mean + mean^2 / r. */
    const absent = (p, from, i) => (zeros ? part(p, from, i, per - 1) - 3 : -Infinity);
    const shape = (p, from, i) =>
      Math.exp(clamp(learned ? learned[i % channels] : part(p, from, i, 1), -12, 16));
    const counted = (x, mean, p, from, i) => {
      if (poisson) return (x && x * Math.log(mean)) - mean - logGamma(x + 1);
      const r = shape(p, from, i), ways = logGamma(x + r) - logGamma(r) - logGamma(x + 1);
      return (x && ways + x * Math.log(mean / (r + mean))) - r * Math.log1p(mean / r);
    };
    return {
      range: null,
      settled: (x) => Math.max(Math.round(x), 0),
      ...independent(per, size, {
        mean: (p, from, i, times) => middle(p, from, i, times) * sigmoid(-absent(p, from, i)),
        sample: (p, from, i, next, times) => {
          if (zeros && next() < sigmoid(absent(p, from, i))) return 0;
          const mean = middle(p, from, i, times);
          if (poisson) return poissonDraw(mean, next);
          const r = shape(p, from, i);
          return poissonDraw((gammaDraw(r, next) * mean) / r, next);
        },
        logDensity: (x, p, from, i, times) => {
          const logP = counted(x, middle(p, from, i, times), p, from, i);
          if (!zeros) return logP;
          const logit = absent(p, from, i);
          return (x > 0 ? logP : logSumExp([logit, logP])) - softplus(logit);
        },
      }),
    };
  },

  causal_bernoulli(about, { shape: [height, width], size, weights }) {
    const { channels, reach, near, surround } = about;
    const [a, b, c, v] = ["a", "b", "c", "v"].map((name) => weights[about[name]]);
    const d = surround ? weights[about.d] : null;
    const before = [];
    for (let i = -reach; i <= 0; i++) {
      for (let j = -reach; j <= reach; j++) if (i < 0 || j < 0) before.push([i, j]);
    }
    const around = [];
    for (let i = -near; i <= near; i++) for (let j = -near; j <= near; j++) around.push([i, j]);
    const hidden = new Float32Array(channels);

    /** Adds what is seen at places around a pixel, times weights (channels x places). */
    const see = (picture, at, y, u, spots, kernel, mirror) => {
      spots.forEach(([i, j], s) => {
        const row = y + mirror * i, column = u + mirror * j;
        if (row < 0 || row >= height || column < 0 || column >= width) return;
        const x = picture[at + row * width + column];
        if (x === 0) return;
        for (let k = 0; k < channels; k++) hidden[k] += x * kernel[k * spots.length + s];
      });
    };
    /** Goes through the pixels of each row of p; `value(probability, logit, place)` is the pixel. */
    const fill = (p, rows, given, value) => {
      const signs = new Float32Array(rows * size), x = new Float32Array(rows * size);
      const ahead = new Float32Array(rows * size);
      if (given && surround) {
        for (let i = 0; i < ahead.length; i++) {
          ahead[i] = given.known[i] ? 2 * given.values[i] - 1 : 0;
        }
      }
      for (let r = 0, at = 0; r < rows; r++, at += size) {
        for (let y = 0; y < height; y++) {
          for (let u = 0; u < width; u++) {
            const place = at + y * width + u;
            hidden.set(c);
            see(signs, at, y, u, before, a, 1);
            see(p, at, y, u, around, b, 1);
            if (surround) see(ahead, at, y, u, before, d, -1);
            let logit = p[place];
            for (let k = 0; k < channels; k++) if (hidden[k] > 0) logit += v[k] * hidden[k];
            const known = given && given.known[place];
            x[place] = known ? given.values[place] : value(sigmoid(logit), logit, place);
            signs[place] = 2 * x[place] - 1;
          }
        }
      }
      return x;
    };
    return {
      binary: true,
      settled: (x) => +(x > 0.5),
      range: [0, 1],
      mean: (p, rows, given) => fill(p, rows, given, (probability) => probability),
      sample: (p, rows, next, given) =>
        fill(p, rows, given, (probability) => (next() < probability ? 1 : 0)),
      logProb: (x, p, rows, given) => {
        const out = new Float64Array(rows);
        fill(p, rows, given, (probability, logit, place) => {
          out[Math.floor(place / size)] += x[place] * logit - softplus(logit);
          return x[place];
        });
        return out;
      },
    };
  },
};
