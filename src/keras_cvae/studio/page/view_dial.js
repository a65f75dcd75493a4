// A class as a dial: turn it while the style stays.

import { conditionControls } from "./controls.js";
import { button, el, slider, tiles, toggle } from "./elements.js";
import { joined } from "./model.js";
import { normals } from "./numbers.js";
import { said, t } from "./words.js";
import { rows } from "./view_hand.js";

const OTHERS = 12;

export function dialView(studio) {
  const { model, painter, state } = studio;
  const canvas = el("canvas.main", { role: "img" });
  const controls = conditionControls(model.condition, {
    get: () => state.y, set: (y) => studio.change({ y }), centre: canvas,
  });
  const words = el("p.words", { "aria-live": "polite" });
  const others = tiles({
    count: OTHERS, painter, label: t("others"),
    onclick: (k) => studio.change({ seed: state.seed + k + 1, style: null }),
  });
  const settings = settingControls(studio);
  let shown = null;

  function update() {
    controls.update();
    settings.update();
    const noise = joined([
      studio.noise(),
      ...Array.from({ length: OTHERS }, (_, k) =>
        studio.noise(normals(model.dim, state.seed + k + 1))),
    ]);
    const x = model.dim || state.sample
      ? studio.pictures(new Array(OTHERS + 1).fill(state.y), noise)
      : joined(new Array(OTHERS + 1).fill(studio.pictures([state.y], new Float32Array(0))));
    painter.paint(canvas, x.subarray(0, model.size));
    others.set(x.subarray(model.size));
    shown = x;
    const what = model.condition.words(state.y);
    canvas.setAttribute("aria-label", what);
    const about = [what, model.dim ? rarity(studio.noise()) : ""].filter(Boolean).join(" · ");
    words.textContent = about;
    clearTimeout(idle);
    idle = setTimeout(() => describe(x.slice(0, model.size), about), 300);
  }
  let idle = 0;

  /** Adds log p of the picture, once the dial rests. */
  function describe(x, about) {
    const { binary, settled } = model.likelihood;
    const logP = model.logProb(model.settled(x), state.y, 48, state.seed);
    if (!isFinite(logP[0])) return;
    const given = model.condition.words(state.y);
    const exact = model.dim ? said(Math.max(logP[1], 0.05)) : "0";
    const text = t("logP", given ? ` | ${given}` : "", said(logP[0]), exact);
    words.textContent = `${about} · ${text}${
      settled && !state.sample ? t(binary ? "binarised" : "rounded") : ""}`;
  }

  const root = el("section.view.turn", {},
    el("div.left", {}, controls.root),
    el("div.right", {}, el("h2", {}, t(model.condition.kind === "none" ? "one" : "others")),
      others.root, words, settings.root));
  return {
    root, update, name: "dial",
    sheet: () => {
      const all = rows(shown, model.size);
      return painter.sheet([all[0]], [model.condition.words(state.y)], 1);
    },
  };
}

/** How far out a style is, among N(0, I): in words. */
export function rarity(noise) {
  const n = noise.length, square = noise.reduce((sum, v) => sum + v * v, 0);
  // Wilson and Hilferty's cube root makes chi-square normal.
  const z = (Math.cbrt(square / n) - (1 - 2 / (9 * n))) / Math.sqrt(2 / (9 * n));
  const share = 1 / (1 + Math.exp(-1.702 * z));
  return t("distance", Math.round(100 * share));
}

/** Seed, temperature, guidance, whether pixels are drawn. */
export function settingControls(studio) {
  const { model, state } = studio;
  const seed = el("input", { type: "number", min: "0", max: "2147483647", "aria-label": t("seed") });
  seed.addEventListener("input", () => {
    const value = Number(seed.value);
    if (Number.isInteger(value) && value >= 0) studio.change({ seed: value, style: null });
  });
  const temperature = slider({
    label: t("temperature"), hint: t("temperatureHint"), min: 0, max: 2, step: 0.01,
    value: state.temperature, oninput: (value) => studio.change({ temperature: value }),
  });
  const guidance = model.guidable && slider({
    label: t("guidance"), hint: t("guidanceHint"), min: 0, max: 5, step: 0.05,
    value: state.guidance, oninput: (value) => studio.change({ guidance: value }),
  });
  const sample = toggle({
    label: t("sample"), hint: t("sampleHint"), value: state.sample,
    oninput: (on) => studio.change({ sample: on }),
  });
  return {
    root: el("div.settings", {}, model.dim ? temperature.root : null, guidance ? guidance.root : null,
      el("div.row", {},
        el("label.choice", {}, el("span", {}, t("seed")), seed),
        button("⚄", () => throwDice(studio), { "aria-label": t("dice"), title: t("dice"), class: "dice" }),
        sample.root)),
    update: () => {
      if (document.activeElement !== seed) seed.value = String(state.seed);
      temperature.set(state.temperature);
      if (guidance) guidance.set(state.guidance);
      sample.set(state.sample);
    },
  };
}

export function throwDice(studio) {
  const [value] = crypto.getRandomValues(new Uint32Array(1));
  studio.change({ seed: value % 100000, style: null });
}
