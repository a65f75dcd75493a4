// The controls of a condition: of each kind the right one, any of them unknown where it may be.

import { round } from "./conditions.js";
import { chips, choice, dial, el, slider, toggle } from "./elements.js";
import { t } from "./words.js";

const RING = 24; // classes that go around a dial

/**
 * Controls for a condition.
 *
 * @param condition  As `conditions.js` makes it.
 * @param get        Gives the value.
 * @param set        Is told a new value.
 * @param centre     What is shown within the dial of a single class, if anything.
 * @param compact    Whether there is little space: chips in place of a dial.
 */
export function conditionControls(condition, { get, set, centre = null, compact = false, name = "" }) {
  if (condition.kind === "none" || condition.kind === "known_part") return still(centre);
  if (condition.kind === "joint") {
    const all = condition.parts.map(([part, one]) =>
      conditionControls(one, {
        name: part,
        compact: true,
        get: () => (get() ? get()[part] : null),
        set: (value) => set({ ...(get() || condition.start()), [part]: value }),
      }),
    );
    return { root: el("div.parts", {}, centre, all.map((one) => one.root)),
      update: () => all.forEach((one) => one.update()) };
  }
  const inner = KINDS[condition.kind](condition, { get, set, centre, compact, name });
  if (!condition.optional || !condition.missing) return framed(name, inner);
  const known = toggle({
    label: t("unknown"),
    value: false,
    oninput: (on) => set(on ? null : remembered ?? condition.start()),
  });
  let remembered = null;
  return {
    root: el("fieldset.part", {}, el("legend", {}, name), known.root, inner.root),
    update: () => {
      const value = get();
      if (value !== null) remembered = value;
      known.set(value === null);
      inner.root.classList.toggle("off", value === null);
      if (value !== null) inner.update();
    },
  };
}

function still(centre) {
  return { root: el("div.still", {}, centre), update: () => {} };
}

function framed(name, inner) {
  if (!name) return inner;
  return { root: el("fieldset.part", {}, el("legend", {}, name), inner.root), update: inner.update };
}

const KINDS = {
  categorical(condition, { get, set, centre, compact, name }) {
    const { labels, seen } = condition.about, count = labels.length;
    const never = labels.map((_, k) => (seen && !seen[k] ? t("never") : ""));
    const mixed = mixture(count, get, set);
    const words = () => condition.words(get() ?? condition.start());
    let first;
    if (count > RING) {
      const one = choice({ label: name || t("condition"), options: labels, oninput: mixed.turn });
      first = { root: el("div.still", {}, centre, one.root), set: (place) => one.set(Math.round(place)) };
    } else if (compact || count < 3) {
      const one = chips({ labels, label: name || t("condition"), oninput: mixed.turn, titles: never });
      first = { root: el("div", {}, centre, one.root), set: (place) => one.set([Math.round(place) % count]) };
    } else {
      first = dial({
        marks: labels, label: name || t("condition"), value: 0, centre, words, oninput: mixed.turn,
      });
    }
    if (count < 2) return { root: first.root, update: () => {} };
    const other = choice({
      label: t("mix"),
      options: [t("nothing"), ...labels],
      oninput: (k) => mixed.with(k - 1),
    });
    const share = slider({
      label: t("share"), min: 0, max: 1, step: 0.01, value: 0.5,
      show: (v) => `${Math.round(100 * v)} %`,
      oninput: mixed.share,
    });
    return {
      root: el("div.class", {}, first.root, el("div.row", {}, other.root, share.root)),
      update: () => {
        mixed.read();
        first.set(mixed.place);
        other.set(mixed.other + 1);
        share.root.hidden = mixed.other < 0;
        if (mixed.other >= 0) share.set(mixed.part);
      },
    };
  },

  tags(condition, { get, set, name }) {
    const one = chips({
      labels: condition.about.labels,
      label: name || t("condition"),
      oninput: (k) => {
        const value = get() || [];
        set(value.includes(k) ? value.filter((other) => other !== k) : [...value, k].sort((a, b) => a - b));
      },
    });
    return { root: one.root, update: () => one.set(get() || []) };
  },

  continuous(condition, { get, set, name }) {
    const { mean, scale, dim } = condition.about;
    const all = mean.map((middle, i) =>
      slider({
        label: dim > 1 ? String(i + 1) : name ? "" : t("condition"),
        name: dim > 1 ? `${name} ${i + 1}` : name || t("condition"),
        min: middle - 3 * scale[i],
        max: middle + 3 * scale[i],
        value: middle,
        show: (v) => String(round(v, scale[i])),
        oninput: (v) => {
          const value = [...(get() || condition.start())];
          value[i] = round(v, scale[i]);
          set(value);
        },
      }),
    );
    return { root: el("div", {}, all.map((one) => one.root)),
      update: () => all.forEach((one, i) => one.set(get()[i])) };
  },

  periodic(condition, { get, set, name }) {
    const { period, dim } = condition.about, marks = 12;
    const whole = Math.abs(period - Math.round(period)) < 1e-6;
    const all = Array.from({ length: dim }, (_, i) =>
      dial({
        marks: Array.from({ length: marks }, (_, k) =>
          k % 3 ? "·" : whole ? String(round((period * k) / marks, period)) : ((period * k) / marks).toFixed(2)),
        label: dim > 1 ? `${name} ${i + 1}` : name || t("condition"),
        value: 0,
        snap: 0,
        step: 0.1,
        words: (place) => String(round((place / marks) * period, period)),
        centre: el("output.middle"),
        oninput: (place) => {
          const value = [...(get() || condition.start())];
          value[i] = round((place / marks) * period, period);
          set(value);
        },
      }),
    );
    return {
      root: el("div.angles", {}, all.map((one) => one.root)),
      update: () =>
        all.forEach((one, i) => {
          const value = get()[i];
          one.set((value / period) * marks);
          one.root.querySelector("output").textContent = String(round(value, period));
        }),
    };
  },

  exposure(condition, { get, set, name }) {
    const { typical } = condition.about, middle = Math.log10(typical);
    const one = slider({
      label: name ? "" : t("condition"), name: name || t("condition"), min: middle - 1, max: middle + 1, value: middle,
      show: (v) => (10 ** v).toPrecision(3),
      oninput: (v) => set([Number((10 ** v).toPrecision(4))]),
    });
    return { root: one.root, update: () => one.set(Math.log10(get()[0])) };
  },
};

/** A place on the ring, between two neighbours or on a class, and another class mixed in. */
function mixture(count, get, set) {
  const state = { place: 0, other: -1, part: 0.5 };
  const say = () => {
    const low = Math.floor(state.place) % count, rest = state.place - Math.floor(state.place);
    const value = {}, left = state.other < 0 ? 1 : 1 - state.part;
    const add = (k, share) => {
      if (share > 1e-6) value[k] = Math.round(1e4 * ((value[k] || 0) + share)) / 1e4;
    };
    add(low, left * (1 - rest));
    add((low + 1) % count, left * rest);
    if (state.other >= 0) add(state.other, state.part);
    set(value);
  };
  return Object.assign(state, {
    turn: (place) => {
      state.place = place;
      say();
    },
    with: (k) => {
      state.other = k;
      state.part = state.part > 0.02 && state.part < 0.98 ? state.part : 0.5;
      say();
    },
    share: (part) => {
      state.part = part;
      say();
    },
    /** From a value that came from elsewhere, such as a link. */
    read: () => {
      const value = get();
      if (value === null) return;
      const keys = Object.keys(value).map(Number);
      const same = (k, share) => Math.abs((value[k] || 0) - share) < 2e-4;
      const low = Math.floor(state.place) % count, rest = state.place - Math.floor(state.place);
      const left = state.other < 0 ? 1 : 1 - state.part, expected = {};
      expected[low] = left * (1 - rest);
      expected[(low + 1) % count] = (expected[(low + 1) % count] || 0) + left * rest;
      if (state.other >= 0) expected[state.other] = (expected[state.other] || 0) + state.part;
      const told = Object.keys(expected).every((k) => same(k, expected[k]));
      if (told && keys.every((k) => k in expected)) return;
      keys.sort((one, next) => value[next] - value[one]);
      const [first, second] = keys;
      Object.assign(state, { place: first, other: -1 });
      if (second === undefined) return;
      const share = value[second] / (value[first] + value[second]);
      if ((first + 1) % count === second) state.place = first + share;
      else if ((second + 1) % count === first) state.place = second + 1 - share;
      else Object.assign(state, { other: second, part: value[second] });
    },
  });
}
