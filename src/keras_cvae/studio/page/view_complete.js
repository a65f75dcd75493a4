// Completion: a part is rubbed out, and the model goes on from what is left in ten ways.

import { button, dragging, el, slider, tiles } from "./elements.js";
import { PAD, rasterise } from "./ink.js";
import { joined } from "./model.js";
import { clamp, normals } from "./numbers.js";
import { said, t } from "./words.js";
import { settingControls } from "./view_dial.js";
import { padSize, rows } from "./view_hand.js";

const WAYS = 10;

export function completeView(studio) {
  const { model, painter, state } = studio;
  const [height, width, channels] = model.about.x_shape;
  const fixed = model.about.condition.mask;
  let tool = fixed ? "ink" : "rub", radius = 0.13;
  let base = null, baseKey = "";

  const [wide, high] = padSize(painter);
  const pad = el("canvas.pad", {
    width: wide, height: high, tabIndex: 0, role: "application", "aria-label": t("completePad"),
  });
  const words = el("p.words", { "aria-live": "polite" });
  const grid = tiles({ count: WAYS, painter, label: t("completions"), onclick: take });
  const settings = settingControls(studio);
  const tools = ["rub", "keep", "ink"].filter((name) => (name === "ink" ? channels === 1 : !fixed));
  const toolButtons = tools.map((name) =>
    el("button.chip", { type: "button", onclick: () => choose(name) }, t(name)));
  const choose = (name) => {
    tool = name;
    toolButtons.forEach((one, k) => one.setAttribute("aria-pressed", String(tools[k] === name)));
  };
  choose(tool);
  const brush = slider({
    label: t("brush"), min: 0.03, max: 0.3, value: radius,
    show: (v) => `${Math.round(100 * v)} %`, oninput: (value) => (radius = value),
  });

  // What is rubbed out at a stroke: 1 where unknown.
  const size = height * width;
  const flags = (rule) => {
    const hole = new Uint8Array(model.size);
    for (let i = 0; i < model.size; i++) {
      const place = Math.floor(i / channels);
      hole[i] = +rule(Math.floor(place / width) / height, (place % width) / width, i);
    }
    return hole;
  };
  const presets = fixed ? [] : [
    ["bottom", (y) => y >= 0.5], ["top", (y) => y < 0.5],
    ["left", (_, x) => x < 0.5], ["right", (_, x) => x >= 0.5],
    ["everything", () => true], ["none", () => false],
  ];
  const preset = (rule) => studio.change({ hole: flags(rule) });
  const aroundInk = () => {
    const ink = rasterise(state.strokes, [height, width], 9, false);
    studio.change({ hole: flags((y, x, i) => !ink[Math.floor(i / channels)]) });
  };

  /** The picture itself: what was drawn or opened, or one that the model draws of nothing. */
  function whole() {
    const key = `${state.seed}|${state.picture ? state.picture.join() : ""}|${state.strokes.length ? 1 : 0}`;
    if (key !== baseKey) {
      baseKey = key;
      if (state.picture) base = Float32Array.from(state.picture, (v) => level(v));
      else if (state.strokes.length) base = new Float32Array(model.size).fill(painter.range[0]);
      else base = example();
    }
    if (!state.strokes.length || channels !== 1) return base;
    const ink = rasterise(state.strokes, [height, width], state.pen, false);
    const [low, high] = painter.range;
    return base.map((v, i) => Math.max(v, low + ink[i] * (high - low)));
  }
  const level = (v) => painter.range[0] + (v / 255) * (painter.range[1] - painter.range[0]);
  const unlevel = (v) => {
    const [low, high] = painter.range;
    return Math.round((255 * (clamp(v, low, high) - low)) / (high - low));
  };
  function example() {
    const nothing = { known: new Uint8Array(model.size), values: new Float32Array(model.size) };
    if (fixed) nothing.known = Uint8Array.from(fixed);
    const x = model.generate([nothing], normals(model.dim, state.seed, 21));
    const { binary } = model.likelihood;
    return binary ? x.map((v) => +(v > 0.5)) : x;
  }
  const usualHole = () => (fixed ? Uint8Array.from(fixed, (v) => 1 - v) : flags((y) => y >= 0.5));
  const hole = () => (fixed ? usualHole() : state.hole || usualHole());

  /** One of the ways becomes the picture. */
  function take(k) {
    const x = shown.subarray(k * model.size, (k + 1) * model.size);
    studio.change({ picture: Uint8Array.from(x, unlevel), strokes: [] });
  }

  const cursor = { x: 0.5, y: 0.5, shown: false };
  const apply = (x, y, first) => {
    if (tool === "ink") {
      if (first) {
        studio.state.picture = Uint8Array.from(whole(), unlevel);
        baseKey = "";
        studio.state.strokes = [...state.strokes, []];
      }
      const stroke = state.strokes[state.strokes.length - 1];
      stroke.push(Math.round(PAD * clamp(x, 0, 1)), Math.round(PAD * clamp(y, 0, 1)));
      return studio.change({});
    }
    const flag = tool === "rub" ? 1 : 0, now = Uint8Array.from(hole());
    for (let place = 0; place < size; place++) {
      const dy = (((Math.floor(place / width) + 0.5) / height - y) * high) / 512;
      const dx = ((((place % width) + 0.5) / width - x) * wide) / 512;
      if (dx * dx + dy * dy < radius * radius) now.fill(flag, place * channels, (place + 1) * channels);
    }
    return studio.change({ hole: now });
  };
  dragging(pad, (event, first) => {
    const box = pad.getBoundingClientRect();
    cursor.shown = false;
    apply((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, first);
  });
  pad.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by) {
      cursor.x = clamp(cursor.x + 0.04 * by[0], 0, 1);
      cursor.y = clamp(cursor.y + 0.04 * by[1], 0, 1);
      cursor.shown = true;
    } else if (event.key === " ") apply(cursor.x, cursor.y, tool === "ink");
    else return;
    event.preventDefault();
    studio.change({});
  });

  function paintPad(x, unknown) {
    const context = pad.getContext("2d"), small = el("canvas");
    const style = getComputedStyle(document.documentElement);
    painter.paint(small, x);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, wide, high);
    const [h, w] = [high / height, wide / width];
    for (let place = 0; place < size; place++) {
      if (!unknown[place * channels]) continue;
      const [y, u] = [Math.floor(place / width) * h, (place % width) * w];
      context.fillStyle = style.getPropertyValue((Math.floor(place / width) + (place % width)) % 2 ? "--hole" : "--hole2");
      context.fillRect(u, y, w + 0.5, h + 0.5);
    }
    if (cursor.shown) {
      context.strokeStyle = style.getPropertyValue("--accent");
      context.lineWidth = 4;
      context.beginPath();
      context.arc(cursor.x * wide, cursor.y * high, tool === "ink" ? 12 : radius * 512, 0, 7);
      context.stroke();
    }
  }

  let shown = null, idle = 0, spread = 0;
  function update() {
    settings.update();
    const x = whole(), unknown = hole();
    paintPad(x, unknown);
    const one = { known: Uint8Array.from(unknown, (v) => 1 - v), values: x };
    const many = new Array(WAYS).fill(one);
    const noise = joined(Array.from({ length: WAYS }, (_, k) =>
      studio.noise(normals(model.dim, state.seed, 31 + k))));
    shown = studio.pictures(many, noise);
    grid.set(shown);
    spread = unknown.reduce((sum, v) => sum + v, 0) / unknown.length;
    words.textContent = t("knownShare", Math.round(100 * (1 - spread)));
    clearTimeout(idle);
    idle = setTimeout(() => describe(x, one), 260);
  }

  function describe(x, one) {
    if (spread === 0) return;
    const exact = model.settled(x);
    const logP = model.logProb(exact, { ...one, values: exact }, 48, state.seed);
    words.textContent = `${t("knownShare", Math.round(100 * (1 - spread)))} ${t(
      "logPCompletion", said(logP[0]), said(Math.max(logP[1], 0.05)))}`;
  }

  const root = el("section.view.complete", {},
    el("div.left", {}, el("div.paper", {}, pad),
      el("div.row", {}, toolButtons, fixed ? null : brush.root),
      presets.length ? el("div.row", {}, el("span.quiet", {}, t("unknownPart")),
        presets.map(([name, rule]) => button(t(name), () => preset(rule))),
        channels === 1 ? button(t("aroundInk"), aroundInk) : null) : null,
      el("div.row", {}, el("span.quiet", {}, t("from")),
        button(t("another"), () => studio.change({ picture: null, strokes: [], seed: state.seed + 1 })),
        channels === 1 ? button(t("blank"), () => {
          studio.change({ picture: new Uint8Array(model.size), strokes: [], hole: flags(() => false) });
          choose("ink");
        }) : null)),
    el("div.right", {}, el("h2", {}, t("completions")), grid.root, words,
      el("p.quiet", {}, t(fixed ? "completeFixed" : "completeHint")), settings.root));
  return {
    root, update, name: "complete",
    sheet: () => painter.sheet(rows(shown, model.size), [], 5),
  };
}
