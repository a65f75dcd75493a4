// The networks: plays the tapes of `tape.py`. Values are rows of numbers, laid out flat.

import { erf, sigmoid, softplus } from "./numbers.js";

const GELU = table((x) => 0.5 * x * (1 + erf(x / Math.SQRT2)), 9);

const ROOT = Math.sqrt(2 / Math.PI);

const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0),
  gelu: (x) => (x >= 9 ? x : x <= -9 ? 0 : GELU(x)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(ROOT * (x + 0.044715 * x * x * x))),
  silu: (x) => x * sigmoid(x),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  tanh: Math.tanh,
  sigmoid,
  softplus,
  log1p: Math.log1p,
};

/** A smooth function between -limit and limit from a table, good to 1e-7. */
function table(exact, limit) {
  const per = 2048, values = new Float64Array(2 * limit * per + 2);
  for (let i = 0; i < values.length; i++) values[i] = exact(i / per - limit);
  return (x) => {
    const place = (x + limit) * per, i = place | 0, rest = place - i;
    return values[i] + rest * (values[i + 1] - values[i]);
  };
}

/** Plays one tape on any number of rows. */
export class Player {
  constructor(tape, weights) {
    this.tape = tape;
    this.weights = weights;
    this.buffers = new Map();
  }

  /** Outputs by name, each rows x size; they are overwritten when it is played again. */
  play(rows, given) {
    const { inputs, outputs, steps, sizes } = this.tape;
    if (!this.buffers.has(rows)) {
      if (this.buffers.size > 8) this.buffers.clear();
      this.buffers.set(rows, sizes.map((size) => new Float32Array(rows * size)));
    }
    const registers = [...this.buffers.get(rows)];
    for (const [name, place] of Object.entries(inputs)) registers[place] = given[name];
    for (const [name, result, ...rest] of steps) {
      STEPS[name](registers[result], registers, this.weights, rows, ...rest);
    }
    const found = {};
    for (const [name, place] of Object.entries(outputs)) found[name] = registers[place];
    return found;
  }
}

let places = new Int32Array(1 << 12); // of the inputs that are not zero

/** out[at ..] = x[from ..] @ kernel + bias for one row; zeros of x cost nothing. */
function row(out, at, x, from, width, kernel, units, bias) {
  const end = at + units;
  if (bias) for (let o = at, k = 0; o < end; o++, k++) out[o] = bias[k];
  else out.fill(0, at, end);
  if (places.length < width) places = new Int32Array(width);
  let some = 0;
  for (let i = 0; i < width; i++) if (x[from + i] !== 0) places[some++] = i;
  let s = 0;
  for (; s + 3 < some; s += 4) {
    const a = places[s], b = places[s + 1], c = places[s + 2], d = places[s + 3];
    const xa = x[from + a], xb = x[from + b], xc = x[from + c], xd = x[from + d];
    let ka = a * units, kb = b * units, kc = c * units, kd = d * units;
    for (let o = at; o < end; o++) {
      out[o] += xa * kernel[ka++] + xb * kernel[kb++] + xc * kernel[kc++] + xd * kernel[kd++];
    }
  }
  for (; s < some; s++) {
    const xa = x[from + places[s]];
    let ka = places[s] * units;
    for (let o = at; o < end; o++) out[o] += xa * kernel[ka++];
  }
}

const STEPS = {
  dense(out, registers, weights, rows, value, kernel, bias, width, units) {
    const x = registers[value], count = out.length / units;
    const w = weights[kernel], b = weights[bias];
    for (let r = 0; r < count; r++) row(out, r * units, x, r * width, width, w, units, b);
  },

  conv(out, registers, weights, rows, value, kernel, bias, [height, width], [tall, wide], c, units) {
    const x = registers[value], w = weights[kernel], b = weights[bias];
    const patch = new Float32Array(tall * wide * c);
    let at = 0;
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++, at += units) {
          let p = 0;
          for (let di = 0; di < tall; di++) {
            const y = i + di - (tall >> 1);
            for (let dj = 0; dj < wide; dj++, p += c) {
              const u = j + dj - (wide >> 1);
              const inside = y >= 0 && y < height && u >= 0 && u < width;
              const from = ((r * height + y) * width + u) * c;
              for (let k = 0; k < c; k++) patch[p + k] = inside ? x[from + k] : 0;
            }
          }
          row(out, at, patch, 0, patch.length, w, units, b);
        }
      }
    }
  },

  activation(out, registers, weights, rows, value, name) {
    const x = registers[value], act = ACTIVATIONS[name];
    for (let i = 0; i < out.length; i++) out[i] = act(x[i]);
  },

  add(out, registers, weights, rows, value, other, times) {
    const x = registers[value], y = registers[other];
    const each = out.length / rows, small = each / times;
    for (let r = 0, i = 0; r < rows; r++) {
      for (let t = 0; t < times; t++) {
        for (let k = 0; k < small; k++, i++) out[i] = x[i] + y[r * small + k];
      }
    }
  },

  concatenate(out, registers, weights, rows, values, sizes) {
    let at = 0;
    for (let r = 0; r < rows; r++) {
      values.forEach((value, i) => {
        const size = sizes[i];
        out.set(registers[value].subarray(r * size, (r + 1) * size), at);
        at += size;
      });
    }
  },

  cut(out, registers, weights, rows, value, start, stop, width) {
    const x = registers[value], size = stop - start, count = out.length / size;
    for (let r = 0; r < count; r++) {
      for (let k = 0; k < size; k++) out[r * size + k] = x[r * width + start + k];
    }
  },

  resize(out, registers, weights, rows, value, [h0, w0], [h1, w1], c) {
    const x = registers[value];
    out.fill(0);
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < Math.min(h0, h1); i++) {
        const size = Math.min(w0, w1) * c, from = (r * h0 + i) * w0 * c;
        out.set(x.subarray(from, from + size), (r * h1 + i) * w1 * c);
      }
    }
  },

  fold(out, registers, weights, rows, value, halves, c) {
    blocks(rows, halves, c, (deep, flat) => (out[deep] = registers[value][flat]));
  },

  unfold(out, registers, weights, rows, value, sizes, c) {
    blocks(rows, sizes, c, (deep, flat) => (out[flat] = registers[value][deep]));
  },

  standardise(out, registers, weights, rows, value, mean, scale) {
    const x = registers[value], width = mean.length;
    for (let i = 0; i < out.length; i++) out[i] = (x[i] - mean[i % width]) / scale[i % width];
  },

  normalise(out, registers, weights, rows, value, width) {
    const x = registers[value];
    for (let from = 0; from < out.length; from += width) {
      let sum = 0;
      for (let i = from; i < from + width; i++) sum += x[i] * x[i];
      const scale = 1 / Math.sqrt(sum / width + 1e-6);
      for (let i = from; i < from + width; i++) out[i] = x[i] * scale;
    }
  },

  soften(out, registers, weights, rows, value, limit) {
    const x = registers[value];
    for (let i = 0; i < out.length; i++) out[i] = limit * Math.tanh(x[i] / limit);
  },

  constant(out, registers, weights, rows, place) {
    const size = weights[place].length;
    for (let r = 0; r < rows; r++) out.set(weights[place], r * size);
  },
};

/** Where each number is, in depth and in space: blocks of 2 x 2 (of a signal 2). */
function blocks(rows, sizes, c, move) {
  const [height, width] = sizes.length === 2 ? sizes : [1, sizes[0]];
  const tall = sizes.length === 2 ? 2 : 1;
  let deep = 0;
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        for (let di = 0; di < tall; di++) {
          for (let dj = 0; dj < 2; dj++) {
            const y = r * height * tall + i * tall + di, u = 2 * j + dj;
            const flat = (y * 2 * width + u) * c;
            for (let k = 0; k < c; k++) move(deep++, flat + k);
          }
        }
      }
    }
  }
}
