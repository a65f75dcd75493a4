// The latent as a landscape: a plane to drag across, and sliders for the directions beyond it.

import { conditionControls } from "./controls.js";
import { button, el, plane, slider } from "./elements.js";
import { joined } from "./model.js";
import { clamp } from "./numbers.js";
import { t } from "./words.js";
import { rarity, settingControls } from "./view_dial.js";

const REACH = 3; // standard deviations, to each side
const CELLS = 13, AT_ONCE = 13;

export function landView(studio) {
  const { model, painter, state } = studio;
  const { directions } = model;
  const exact = model.dim === 2;
  const axes = exact
    ? [Float32Array.of(1, 0), Float32Array.of(0, 1)]
    : directions.slice(0, 2).map((one) => one.vector);
  if (axes.length === 1) axes.push(new Float32Array(model.dim));
  const others = exact ? [] : directions.slice(2, 8);

  const map = el("canvas.map"), big = el("canvas.main", { role: "img", "aria-label": t("land") });
  const small = el("canvas");
  const controls = conditionControls(model.condition, {
    get: () => state.y, set: (y) => studio.change({ y }), compact: true,
  });
  const settings = settingControls(studio);
  const words = el("p.quiet", { "aria-live": "polite" });

  const along = (vector) => vector.reduce((sum, v, i) => sum + v * studio.style[i], 0);
  /** The style with these coordinates along some directions, which are of length 1 and apart. */
  const moved = (vectors, places) => {
    const style = Float32Array.from(studio.style);
    vectors.forEach((vector, k) => {
      const by = places[k] - along(vector);
      for (let i = 0; i < style.length; i++) style[i] += by * vector[i];
    });
    return style;
  };
  const field = plane({
    label: t("plane"),
    canvas: map,
    oninput: (x, y) => studio.change({ style: moved(axes, [(2 * x - 1) * REACH, (1 - 2 * y) * REACH]) }),
    onkey: ([x, y]) => {
      const at = axes.map(along);
      studio.change({
        style: moved(axes, [clamp(at[0] + 2 * REACH * x, -REACH, REACH), clamp(at[1] - 2 * REACH * y, -REACH, REACH)]),
      });
    },
  });
  const sliders = others.map(({ vector, share }, k) => {
    const ends = [el("canvas"), el("canvas")];
    const one = slider({
      label: t("direction", k + 3, (100 * share).toFixed(0)), min: -REACH, max: REACH, step: 0.01,
      value: 0, show: (v) => v.toFixed(1),
      oninput: (value) => studio.change({ style: moved([vector], [value]) }),
    });
    return { ...one, vector, ends, row: el("div.ends", {}, ends[0], one.root, ends[1]) };
  });

  // The map is painted a row at a time, so that the point can be dragged meanwhile.
  let painted = "", row = 0, timer = 0;
  const paintMap = () => {
    const rest = exact ? "" : Array.from(moved(axes, [0, 0]), (v) => v.toFixed(2)).join();
    const theme = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    const key = [model.condition.write(state.y), state.temperature, state.guidance, rest, theme].join("|");
    if (key === painted) return;
    painted = key;
    row = 0;
    clearTimeout(timer);
    timer = setTimeout(nextRow, 60);
  };
  const nextRow = () => {
    if (row >= CELLS || state.view !== "land") return;
    // From the middle outwards, where most pictures are.
    const r = (CELLS - 1) / 2 + (row % 2 ? (row + 1) / 2 : -row / 2);
    row++;
    const styles = Array.from({ length: AT_ONCE }, (_, c) =>
      studio.noise(moved(axes, [((2 * (c + 0.5)) / CELLS - 1) * REACH, (1 - (2 * (r + 0.5)) / CELLS) * REACH])));
    const { guidance } = state;
    const x = model.generate(new Array(AT_ONCE).fill(state.y), joined(styles), { guidance });
    const context = map.getContext("2d"), side = map.width / CELLS;
    if (painter.kind !== "picture") Object.assign(small.style, { width: `${side}px`, height: `${side}px` });
    for (let c = 0; c < AT_ONCE; c++) {
      painter.paint(small, x.subarray(c * model.size, (c + 1) * model.size));
      context.clearRect(c * side, r * side, side, side);
      context.drawImage(small, c * side, r * side, side, side);
    }
    timer = setTimeout(nextRow, 0);
  };

  function update() {
    if (map.width !== 1040) map.width = map.height = 1040;
    controls.update();
    settings.update();
    const at = axes.map(along);
    field.set(at[0] / (2 * REACH) + 0.5, 0.5 - at[1] / (2 * REACH));
    const styles = [studio.noise()];
    for (const { vector } of sliders) {
      for (const end of [-REACH, REACH]) styles.push(studio.noise(moved([vector], [end])));
    }
    const x = studio.pictures(new Array(styles.length).fill(state.y), joined(styles));
    painter.paint(big, x.subarray(0, model.size));
    shown = x.slice(0, model.size);
    words.textContent = rarity(studio.noise());
    sliders.forEach((one, k) => {
      one.set(along(one.vector));
      one.ends.forEach((canvas, e) => {
        const place = 1 + 2 * k + e;
        painter.paint(canvas, x.subarray(place * model.size, (place + 1) * model.size));
      });
    });
    paintMap();
  }
  let shown = null;

  const reset = button(t("reset"), () => studio.change({ style: new Float32Array(model.dim), temperature: 1 }));
  const root = el("section.view.land", {},
    el("div.left", {}, field.root, el("p.quiet", {}, t(exact ? "planeHint" : "strongest"))),
    el("div.right", {}, el("div.beside", {}, big, el("div", {}, controls.root, reset, words)),
      sliders.map((one) => one.row), settings.root));
  return {
    root, update, name: "land",
    sheet: () => painter.sheet([shown], [model.condition.words(state.y)], 1),
  };
}
