// Numbers: weights out of text, and random numbers that a seed brings again.

const DIGITS =
  "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";

/** Weights as `packing.py` writes them: one Float32Array for each of the sizes. */
export async function unpack(text, length, sizes, steps) {
  const bytes = from85(text.trim()).subarray(0, length);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = planes.length / 2;
  const arrays = [];
  let place = 0;
  sizes.forEach((size, i) => {
    const array = new Float32Array(size), step = steps[i];
    for (let k = 0; k < size; k++, place++) {
      const folded = (planes[place] << 8) | planes[count + place];
      array[k] = ((folded >>> 1) ^ -(folded & 1)) * step;
    }
    arrays.push(array);
  });
  return arrays;
}

function from85(text) {
  const value = new Uint8Array(128);
  for (let i = 0; i < 85; i++) value[DIGITS.charCodeAt(i)] = i;
  const bytes = new Uint8Array((text.length / 5) * 4);
  for (let i = 0, o = 0; i < text.length; i += 5) {
    let word = 0;
    for (let k = 0; k < 5; k++) word = word * 85 + value[text.charCodeAt(i + k)];
    bytes[o++] = word >>> 24;
    bytes[o++] = word >>> 16;
    bytes[o++] = word >>> 8;
    bytes[o++] = word;
  }
  return bytes;
}

/** Numbers from U(0, 1), never 0: the same for the same seeds, in every browser (mulberry32). */
export function uniforms(...seeds) {
  let state = 0x9e3779b9;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  for (const seed of seeds) state = (Math.floor(next() * 4294967296) ^ seed) | 0;
  return next;
}

/** `size` numbers from N(0, 1). */
export function normals(size, ...seeds) {
  const next = uniforms(...seeds), out = new Float32Array(size);
  for (let i = 0; i < size; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(next())), angle = 2 * Math.PI * next();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < size) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

/** The error function, to 1e-9 or so (its series, and a continued fraction far out). */
export function erf(x) {
  const size = Math.abs(x);
  if (size > 5) return Math.sign(x);
  if (size < 2) {
    let term = x, sum = x;
    for (let k = 1; k < 32; k++) {
      term *= (-x * x) / k;
      sum += term / (2 * k + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let tail = 0;
  for (let k = 24; k > 0; k--) tail = k / 2 / (size + tail);
  return Math.sign(x) * (1 - Math.exp(-x * x) / (Math.sqrt(Math.PI) * (size + tail)));
}

/** The quantile of N(0, 1) (Acklam), good to 1e-9 in relative terms. */
export function quantile(p) {
  const a = [-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269,
    -30.66479806614716, 2.506628277459239];
  const b = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972,
    -13.28068155288572];
  const c = [-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734,
    4.374664141464968, 2.938163982698783];
  const d = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
  const at = (powers, x) => powers.reduce((sum, one) => sum * x + one, 0);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return at(c, q) / (at(d, q) * q + 1);
  }
  if (p > 1 - 0.02425) return -quantile(1 - p);
  const q = p - 0.5, r = q * q;
  return (at(a, r) * q) / (at(b, r) * r + 1);
}

/** log Gamma(z) for z > 0 (Stirling's series, from 12 on). */
export function logGamma(z) {
  let before = 0;
  for (; z < 12; z++) before += Math.log(z);
  const i = 1 / z, q = i * i;
  const series = i * (1 / 12 - q * (1 / 360 - q * (1 / 1260 - q / 1680)));
  return (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series - before;
}

/** A Poisson count: by inversion, and for large means by rejection (Hörmann 1993). */
export function poissonDraw(mean, next) {
  if (mean < 30) {
    let k = 0, term = Math.exp(-mean), left = next();
    while ((left -= term) > 0 && k < 500) term *= mean / ++k;
    return k;
  }
  const b = 0.931 + 2.53 * Math.sqrt(mean), a = 0.02483 * b - 0.059;
  const inverse = 1.1239 + 1.1328 / (b - 3.4);
  for (;;) {
    const u = next() - 0.5, v = next(), s = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / s + b) * u + mean + 0.43);
    if (s >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2)) return k;
    if (k < 0 || (s < 0.013 && v > s)) continue;
    const bound = k * Math.log(mean) - mean - logGamma(k + 1);
    if (Math.log((v * inverse) / (a / (s * s) + b)) <= bound) return k;
  }
}

/** A number from Gamma(shape, 1) (Marsaglia & Tsang 2000). */
export function gammaDraw(shape, next) {
  if (shape < 1) return gammaDraw(shape + 1, next) * next() ** (1 / shape);
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const normal = quantile(next()), v = (1 + c * normal) ** 3;
    if (v > 0 && Math.log(next()) < 0.5 * normal * normal + d * (1 - v + Math.log(v))) return d * v;
  }
}

export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

export function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** log sum exp of an array. */
export function logSumExp(values) {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** Weights that sum to 1. */
export function softmax(values) {
  const total = logSumExp(values);
  return Array.from(values, (value) => Math.exp(value - total));
}

export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
