// What is shown: one state, which a link carries, and which every view reads.

import { normals } from "./numbers.js";
import { repeated } from "./model.js";
import { PAD } from "./ink.js";

const QUANTUM = 128; // of styles in a link

export class Studio {
  constructor(model, painter) {
    this.model = model;
    this.painter = painter;
    this.listeners = [];
    // Without a latent all means are the same: draws are what there is to see.
    this.drawsPixels = Boolean(painter && !model.dim);
    // What the run recommends to draw with.
    this.usual = { temperature: 1, guidance: 1, ...model.about.drawing };
    this.state = {
      view: "",
      y: model.condition.start(),
      seed: 1,
      style: null,
      ...this.usual,
      sample: this.drawsPixels,
      strokes: [],
      picture: null,
      pen: 2.4,
      centred: true,
      reading: -1,
      hole: null,
      table: "",
    };
  }

  /** Change the state; whoever listens is told once, before the next frame. */
  change(patch) {
    if (patch.style) patch.style = patch.style.map((v) => Math.round(v * QUANTUM) / QUANTUM);
    Object.assign(this.state, patch);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.tell());
  }

  tell() {
    this.waiting = false;
    for (const listener of this.listeners) listener(this.state);
  }

  listen(listener) {
    this.listeners.push(listener);
  }

  /** The noise of the picture that is looked at, before the temperature. */
  get style() {
    return this.state.style || normals(this.model.dim, this.state.seed);
  }

  noise(style = this.style, temperature = this.state.temperature) {
    return style.map((value) => temperature * value);
  }

  /** Pictures of the style that is looked at, one for each condition. */
  pictures(conditions, noise = this.noise()) {
    const { guidance, sample, seed } = this.state;
    const many = noise.length === this.model.dim * conditions.length;
    return this.model.generate(conditions, many ? noise : repeated(noise, conditions.length), {
      guidance,
      sample: sample ? seed : null,
    });
  }

  // Links.

  /** The state as a link's last part. */
  write() {
    const { model, state } = this, parts = new URLSearchParams();
    const add = (name, value, usual) => value !== usual && parts.set(name, String(value));
    add("v", state.view, "");
    if (model.condition.kind !== "none") add("y", model.condition.write(state.y), "");
    add("seed", state.seed, 1);
    add("t", state.temperature, this.usual.temperature);
    add("g", state.guidance, this.usual.guidance);
    add("s", +state.sample, +this.drawsPixels);
    if (state.style) parts.set("e", bytesOut(new Int16Array(Array.from(state.style, (v) => v * QUANTUM))));
    if (state.strokes.length) {
      parts.set("ink", bytesOut(Uint8Array.from(state.strokes.flatMap((s) => [s.length >> 9, (s.length >> 1) & 255, ...s]))));
    }
    if (state.picture && state.picture.length <= 3072) parts.set("x", bytesOut(state.picture));
    add("pen", state.pen, 2.4);
    add("centre", +state.centred, 1);
    add("as", state.reading, -1);
    if (state.hole) parts.set("hole", bytesOut(bits(state.hole)));
    add("rows", state.table, "");
    return parts.toString();
  }

  /** Take the state from a link; what it does not say stays usual. */
  read(text) {
    const { model } = this, parts = new URLSearchParams(text), patch = {};
    const number = (name, low, high) => {
      const value = Number(parts.get(name));
      return parts.has(name) && value >= low && value <= high ? value : null;
    };
    const take = (key, value) => value !== null && (patch[key] = value);
    take("view", parts.get("v"));
    take("seed", number("seed", 0, 2 ** 31));
    take("temperature", number("t", 0, 3));
    take("guidance", number("g", 0, 10));
    take("pen", number("pen", 0.5, 8));
    take("reading", number("as", -1, 1e6));
    if (parts.has("s")) patch.sample = parts.get("s") === "1";
    if (parts.has("centre")) patch.centred = parts.get("centre") === "1";
    take("table", parts.get("rows"));
    if (parts.has("y")) take("y", model.condition.read(parts.get("y")));
    const style = bytesIn(parts.get("e"));
    if (style && style.length === 2 * model.dim) {
      patch.style = Float32Array.from(new Int16Array(style.buffer), (v) => v / QUANTUM);
    }
    const ink = bytesIn(parts.get("ink"));
    if (ink) patch.strokes = strokesIn(ink);
    const picture = bytesIn(parts.get("x"));
    if (picture && picture.length === model.size) patch.picture = picture;
    const hole = bytesIn(parts.get("hole"));
    if (hole && hole.length === Math.ceil(model.size / 8)) {
      patch.hole = Uint8Array.from({ length: model.size }, (_, i) => (hole[i >> 3] >> (i & 7)) & 1);
    }
    Object.assign(this.state, patch);
  }
}

function strokesIn(bytes) {
  const strokes = [];
  for (let at = 0; at + 1 < bytes.length; ) {
    const size = 2 * ((bytes[at] << 8) | bytes[at + 1]);
    const stroke = Array.from(bytes.subarray(at + 2, at + 2 + size), (v) => Math.min(v, PAD));
    if (stroke.length >= 2 && stroke.length % 2 === 0) strokes.push(stroke);
    at += 2 + size;
  }
  return strokes;
}

function bits(flags) {
  const out = new Uint8Array(Math.ceil(flags.length / 8));
  flags.forEach((flag, i) => flag && (out[i >> 3] |= 1 << (i & 7)));
  return out;
}

/** Bytes as text of letters that a link may hold. */
function bytesOut(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function bytesIn(text) {
  if (!text) return null;
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}
