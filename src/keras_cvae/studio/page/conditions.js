// Conditions: what the controls say becomes features, words, and a part of a link.
//
// A value is, of a class, its weights {place: share}; of tags a list of places; of numbers and
// angles a list of them; of several conditions a value for each name; null where it is unknown.

import { clamp } from "./numbers.js";
import { t } from "./words.js";

/** The condition that `about` describes. */
export function condition(about, weights) {
  return KINDS[about.kind](about, weights);
}

/** Rows of a learned table, weighed; without a table the weights themselves. */
function weighed(about, weights, shares) {
  if (about.table === null) return Float32Array.from(shares);
  const table = weights[about.table], out = new Float32Array(about.width);
  shares.forEach((share, k) => {
    for (let i = 0; share && i < out.length; i++) out[i] += share * table[k * about.width + i];
  });
  return out;
}

const named = ({ labels, seen }, k) =>
  seen && !seen[k] ? `${labels[k]} (${t("never")})` : labels[k];
const percent = (share) => `${Math.round(100 * share)} %`;
const short = (value) => String(Number(value.toPrecision(4)));
const written = (value) => String(Number(value.toPrecision(7)));

const KINDS = {
  none: (about) => ({
    about,
    kind: "none",
    start: () => null,
    features: () => null,
    words: () => "",
    write: () => "",
    read: () => null,
    sweep: () => null,
  }),

  categorical: (about, weights) => ({
    about,
    kind: "categorical",
    start: () => ({ 0: 1 }),
    features: (value) => weighed(about, weights, about.labels.map((_, k) => value[k] || 0)),
    words: (value) =>
      Object.entries(value)
        .sort((one, other) => other[1] - one[1])
        .map(([k, share]) => (share > 0.995 ? "" : `${percent(share)} `) + named(about, k))
        .join(" + "),
    write: (value) =>
      Object.entries(value).map(([k, share]) => `${k}*${written(share)}`).join("+"),
    read: (text) => {
      const value = {};
      for (const part of text.split("+")) {
        const [k, share] = part.split("*").map(Number);
        if (Number.isInteger(k) && k >= 0 && k < about.labels.length && share > 0) value[k] = share;
      }
      const total = Object.values(value).reduce((sum, share) => sum + share, 0);
      for (const k of Object.keys(value)) value[k] /= total;
      return total > 0 && isFinite(total) ? value : { 0: 1 };
    },
    sweep: () => about.labels.map((label, k) => [label, { [k]: 1 }]),
  }),

  tags: (about, weights) => ({
    about,
    kind: "tags",
    start: () => [],
    features: (value) => weighed(about, weights, about.labels.map((_, k) => +value.includes(k))),
    words: (value) => value.map((k) => about.labels[k]).join(" + ") || "–",
    write: (value) => value.join("+"),
    read: (text) =>
      text.split("+").filter((k) => k !== "").map(Number).filter((k) => k in about.labels),
    sweep: () => [["–", []], ...about.labels.map((label, k) => [label, [k]])],
  }),

  continuous: (about) => ({
    about,
    kind: "continuous",
    start: () => about.mean.map((mean, i) => round(mean, about.scale[i])),
    features: (value) => Float32Array.from(value, (x, i) => (x - about.mean[i]) / about.scale[i]),
    words: (value) => value.map(short).join(", "),
    write: (value) => value.map(written).join("+"),
    read: (text) => numbers(text, about.mean),
    sweep: () =>
      about.dim > 1
        ? null
        : Array.from({ length: 10 }, (_, i) => {
            const x = round(about.mean[0] + about.scale[0] * ((4 * i) / 9 - 2), about.scale[0]);
            return [short(x), [x]];
          }),
  }),

  periodic: (about) => ({
    about,
    kind: "periodic",
    start: () => new Array(about.dim).fill(0),
    features: (value) => {
      const out = [], turn = (2 * Math.PI) / about.period;
      for (let k = 1; k <= about.harmonics; k++) {
        for (const wave of [Math.sin, Math.cos]) for (const x of value) out.push(wave(k * turn * x));
      }
      return Float32Array.from(out);
    },
    words: (value) => value.map(short).join(", "),
    write: (value) => value.map(written).join("+"),
    read: (text) => numbers(text, new Array(about.dim).fill(0)),
    sweep: () =>
      about.dim > 1
        ? null
        : Array.from({ length: 10 }, (_, i) => {
            const x = (about.period * i) / 10;
            return [short(x), [x]];
          }),
  }),

  exposure: (about) => ({
    about,
    kind: "exposure",
    start: () => [Number(about.typical.toPrecision(3))],
    features: (value) =>
      Float32Array.of((Math.log(value[0]) - about.mean[0]) / about.scale[0]),
    words: (value) => short(value[0]),
    write: (value) => written(value[0]),
    read: (text) => [Math.max(Number(text) || about.typical, 1e-6)],
    sweep: () => null,
  }),

  optional: (about, weights) => {
    const part = condition(about.part, weights);
    return {
      ...part,
      optional: true,
      missing: about.missing,
      features: (value) =>
        value === null ? Float32Array.from(about.state) : part.features(value),
      words: (value) => (value === null ? "?" : part.words(value)),
      write: (value) => (value === null ? "?" : part.write(value)),
      read: (text) => (text === "?" ? null : part.read(text)),
    };
  },

  joint: (about, weights) => {
    const parts = Object.entries(about.parts).map(([name, one]) => [name, condition(one, weights)]);
    const inner = (part) => (part.kind === "exposure" ? 1 : 0); // what q alone sees comes last
    const order = [...parts].sort((one, other) => inner(one[1]) - inner(other[1]));
    return {
      about,
      kind: "joint",
      parts,
      optional: parts.every(([, part]) => part.optional),
      missing: about.missing,
      start: () => Object.fromEntries(parts.map(([name, part]) => [name, part.start()])),
      features: (value) => {
        const all = order.map(([name, part]) => part.features(value ? value[name] : null));
        const out = new Float32Array(all.reduce((sum, one) => sum + one.length, 0));
        all.reduce((at, one) => (out.set(one, at), at + one.length), 0);
        return out;
      },
      words: (value) =>
        parts.map(([name, part]) => `${name} ${part.words(value ? value[name] : null)}`).join(", "),
      write: (value) => parts.map(([name, part]) => part.write(value[name])).join("~"),
      read: (text) => {
        const found = text.split("~");
        return Object.fromEntries(
          parts.map(([name, part], i) => [name, found[i] === undefined ? part.start() : part.read(found[i])]),
        );
      },
      /** Of the first part that has one, the others as they are. */
      sweep: (value) => {
        for (const [name, part] of parts) {
          const found = part.sweep(value ? value[name] : null);
          if (found) return found.map(([label, one]) => [label, { ...value, [name]: one }]);
        }
        return null;
      },
    };
  },

  known_part: (about) => ({
    about,
    kind: "known_part",
    start: () => null,
    features: ({ known, values }) => {
      const seen = (i) => {
        if (!about.view) return values[i];
        const { mean, scale } = about.view;
        return (values[i] - mean[i % mean.length]) / scale[i % mean.length];
      };
      const size = known.length, out = [];
      for (let i = 0; i < size; i++) if (!about.mask || about.mask[i]) out.push(known[i] ? seen(i) : 0);
      if (!about.mask) for (let i = 0; i < size; i++) out.push(known[i] ? 1 : 0);
      return Float32Array.from(out);
    },
    words: () => "",
    write: () => "",
    read: () => null,
    sweep: () => null,
  }),
};

function numbers(text, otherwise) {
  const found = text.split("+").map(Number);
  return otherwise.map((other, i) => (text !== "" && isFinite(found[i]) ? found[i] : other));
}

/** A number, rounded to what a hundredth of the scale can tell. */
export function round(value, scale) {
  const digits = clamp(2 - Math.floor(Math.log10(scale || 1)), 0, 12);
  return Number(value.toFixed(digits));
}
