// Your hand in every class: the encoder reads what is drawn, and the decoder writes it again.

import { conditionControls } from "./controls.js";
import { button, choice, dragging, el, slider, tiles, toggle } from "./elements.js";
import { opened, PAD, rasterise } from "./ink.js";
import { repeated } from "./model.js";
import { normals, softmax } from "./numbers.js";
import { said, t } from "./words.js";

const MOST = 24; // conditions that are shown side by side
const LIKE = 10; // pictures like yours, where there are none to compare

export function handView(studio, usual) {
  const { model, painter, state } = studio;
  const [height, width, channels] = model.about.x_shape;
  const pens = channels === 1;
  let lift = () => {};

  const [wide, high] = padSize(painter);
  const pad = el("canvas.pad", {
    width: wide, height: high, tabIndex: 0, role: "application", "aria-label": t("pad"),
  });
  const hint = el("p.hint", {}, pens ? t(model.digits ? "drawDigit" : "drawHere") : t("noDraw"));
  const seen = el("canvas.seen", { "aria-label": t("sees"), role: "img" });
  const words = el("p.words", { "aria-live": "polite" });
  const file = el("input", { type: "file", accept: "image/*", hidden: true });
  const title = el("h2");

  const conditions = () => {
    const sweep = model.condition.sweep(state.y);
    return sweep && sweep.length <= MOST ? sweep : null;
  };
  const start = conditions();
  const grid = tiles({
    count: start ? start.length : LIKE,
    painter,
    label: t("yours"),
    onclick: (k) => {
      const sweep = conditions();
      const style = last.style || new Float32Array(model.dim);
      studio.change({ view: "dial", y: sweep ? sweep[k][1] : state.y, style, temperature: 1 });
    },
  });
  const reading = choice({
    label: t("readAs"),
    options: [t("automatic"), ...(start || []).map(([label]) => label)],
    oninput: (k) => studio.change({ reading: k - 1 }),
  });
  const pen = slider({
    label: t("pen"), min: 1, max: 5, step: 0.1, value: state.pen,
    show: (v) => v.toFixed(1), oninput: (value) => studio.change({ pen: value }),
  });
  const centred = toggle({
    label: t("centre"), value: state.centred, oninput: (on) => studio.change({ centred: on }),
  });
  const plainly = model.condition.kind === "categorical" && start;
  const controls = plainly ? null : conditionControls(model.condition, {
    get: () => state.y, set: (y) => studio.change({ y }), compact: true,
  });
  const tools = el("div.row", {},
    pens ? button(t("undo"), () => studio.change({ strokes: state.strokes.slice(0, -1) })) : null,
    button(t("clear"), () => studio.change({ strokes: [], picture: null, reading: -1 })),
    button(t("example"), example),
    button(t("open"), () => file.click()), file);

  const last = { style: null, reading: -1, cost: 0, when: 0, shares: null };
  let idle = 0;

  // Drawing.

  const place = (event) => {
    const box = pad.getBoundingClientRect();
    const at = (v) => Math.round(PAD * Math.min(1, Math.max(0, v)));
    return [at((event.clientX - box.left) / box.width), at((event.clientY - box.top) / box.height)];
  };
  const add = (stroke, x, y) => {
    const n = stroke.length;
    if (n && Math.hypot(stroke[n - 2] - x, stroke[n - 1] - y) < 2) return;
    stroke.push(x, y);
  };
  if (pens) {
    dragging(pad, (event, first) => {
      const [x, y] = place(event);
      if (first) studio.state.strokes = [...state.strokes, []];
      add(state.strokes[state.strokes.length - 1], x, y);
      studio.change({ picture: null });
    }, () => lift());
  }
  const cursor = { x: 128, y: 128, down: false, shown: false };
  pad.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by && pens) {
      const far = event.shiftKey ? 3 : 9;
      cursor.x = Math.min(PAD, Math.max(0, cursor.x + far * by[0]));
      cursor.y = Math.min(PAD, Math.max(0, cursor.y + far * by[1]));
      cursor.shown = true;
      if (cursor.down) add(state.strokes[state.strokes.length - 1], cursor.x, cursor.y);
    } else if (event.key === " " && pens) {
      cursor.down = !cursor.down;
      cursor.shown = true;
      if (cursor.down) studio.state.strokes = [...state.strokes, [cursor.x, cursor.y]];
    } else if (event.key.toLowerCase() === "u") studio.state.strokes = state.strokes.slice(0, -1);
    else if (event.key === "Delete" || event.key === "Backspace") studio.state.strokes = [];
    else return;
    event.preventDefault();
    studio.change({ picture: null });
  });
  pad.addEventListener("blur", () => {
    Object.assign(cursor, { down: false, shown: false });
    paintPad();
  });

  const take = async (blob) => {
    const picture = await opened(blob, model.about.x_shape, model.digits && state.centred);
    studio.change({ picture, strokes: [], reading: -1 });
  };
  file.addEventListener("change", () => file.files[0] && take(file.files[0]));
  pad.addEventListener("dragover", (event) => event.preventDefault());
  pad.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });

  let examples = 0;
  function example() {
    const sweep = conditions(), seed = state.seed + 17 * ++examples;
    const y = sweep ? sweep[seed % sweep.length][1] : state.y;
    const x = model.generate([y], normals(model.dim, seed, 5), { sample: painter.range && model.likelihood.binary ? null : seed });
    const [low, high] = painter.range;
    const picture = Uint8Array.from(x, (v) => Math.round((255 * (Math.min(high, Math.max(low, v)) - low)) / (high - low)));
    studio.change({ picture, strokes: [], reading: -1 });
  }

  /** What the model is given; null where nothing is drawn. */
  function x() {
    if (state.picture) {
      const [low, high] = painter.range;
      return Float32Array.from(state.picture, (v) => low + (v / 255) * (high - low));
    }
    const drawn = state.strokes.some((stroke) => stroke.length);
    return drawn ? rasterise(state.strokes, [height, width], state.pen, state.centred) : null;
  }

  function paintPad() {
    const context = pad.getContext("2d"), style = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, wide, high);
    if (state.picture) {
      const small = el("canvas");
      painter.paint(small, x());
      context.drawImage(small, 0, 0, wide, high);
    }
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--ink");
    Object.assign(context, { lineWidth: state.pen * 15, lineCap: "round", lineJoin: "round" });
    for (const stroke of state.strokes) {
      context.beginPath();
      for (let i = 0; i < stroke.length; i += 2) {
        context[i ? "lineTo" : "moveTo"]((stroke[i] * wide) / PAD, (stroke[i + 1] * high) / PAD);
      }
      if (stroke.length === 2) context.lineTo((stroke[0] * wide) / PAD + 0.1, (stroke[1] * high) / PAD);
      context.stroke();
    }
    if (cursor.shown) {
      context.strokeStyle = style.getPropertyValue("--accent");
      context.lineWidth = cursor.down ? 8 : 3;
      context.beginPath();
      context.arc((cursor.x * wide) / PAD, (cursor.y * high) / PAD, 18, 0, 7);
      context.stroke();
    }
    hint.hidden = Boolean(state.picture || state.strokes.length);
  }

  /** Read x under every condition, or quickly under the one it was last read as. */
  function read(picture, sweep) {
    const labels = sweep ? sweep.map(([, y]) => y) : [state.y];
    const now = performance.now();
    const whole = state.reading < 0 && sweep;
    if (whole && (last.cost < 6 || now - last.when > 5 * last.cost)) {
      const found = model.score(repeated(picture, labels.length), labels);
      last.shares = softmax(found.elbo);
      last.reading = last.shares.indexOf(Math.max(...last.shares));
      last.style = found.style.slice(last.reading * model.dim, (last.reading + 1) * model.dim);
      last.cost = performance.now() - now;
      last.when = performance.now();
      return;
    }
    if (!whole) {
      last.reading = Math.max(state.reading, 0);
      last.shares = null;
    }
    last.style = model.infer(picture, [labels[Math.max(last.reading, 0)]]).style;
  }

  function update() {
    const sweep = conditions(), picture = x();
    reading.set(state.reading + 1);
    reading.root.hidden = !sweep;
    if (controls) controls.update();
    pen.set(state.pen);
    centred.set(state.centred);
    paintPad();
    seen.hidden = !picture;
    clearTimeout(idle);
    const classes = model.condition.kind === "categorical";
    title.textContent = t(sweep ? (classes ? "yours" : "yourSweep") : "yourDraws");
    if (!picture) {
      Object.assign(last, { style: null, shares: null, reading: -1, when: -1e9 });
      words.textContent = t(pens ? "average" : "averagePicture");
    } else {
      painter.paint(seen, picture);
      read(picture, sweep);
      idle = setTimeout(() => describe(picture, sweep), 220);
      if (last.shares) words.textContent = reads(sweep);
    }
    paintGrid(picture, sweep);
  }

  function paintGrid(picture, sweep) {
    const many = sweep ? sweep.map(([, y]) => y) : new Array(LIKE).fill(state.y);
    const labels = sweep ? sweep.map(([label]) => label) : [];
    let styles = repeated(last.style || new Float32Array(model.dim), many.length);
    if (!sweep) {
      styles = normals(LIKE * model.dim, state.seed, 11);
      if (picture) styles = model.infer(repeated(picture, LIKE), many, styles).style;
    }
    shown = { all: model.generate(many, styles), labels };
    grid.set(shown.all, labels, sweep && picture ? last.reading : -1, t("takeHand"));
  }
  let shown = { all: null, labels: [] };

  const reads = (sweep) => {
    const best = last.shares[last.reading];
    const sure = best > 0.995 ? "> 99 %" : `${Math.round(100 * best)} %`;
    return t("reads", sweep[last.reading][0], sure);
  };

  /** In words what the picture is, once the pen rests. */
  function describe(picture, sweep) {
    if (state.reading < 0 && sweep) {
      last.when = -1e9;
      read(picture, sweep);
      paintGrid(picture, sweep);
    }
    const y = sweep ? sweep[last.reading][1] : state.y;
    const { binary, settled } = model.likelihood;
    const exact = model.settled(picture);
    const found = model.infer(exact, [y]), kl = found.kl[0];
    const lines = [];
    if (last.shares) lines.push(reads(sweep));
    else if (sweep) lines.push(t("readsGiven", sweep[last.reading][0]));
    if (usual.known) {
      const [low, high] = usual.range("kl");
      const kind = kl > high ? "styleRare" : kl < low ? "stylePlain" : "styleUsual";
      lines.push(`${t("style", said(kl))} ${t(kind, said(kl > high ? high : low, 0))}`);
    }
    const logP = model.logProb(exact, y, 48, state.seed);
    const given = model.condition.words(y), [value, error] = logP;
    let text = t("logP", given ? ` | ${given}` : "", said(value), said(Math.max(error, 0.05)));
    if (settled) text += t(binary ? "binarised" : "rounded");
    if (usual.known) {
      const [low, high] = usual.range("logP");
      text += t(value < low ? "logPLow" : value > high ? "logPHigh" : "logPUsual");
    }
    lines.push(text);
    words.textContent = lines.join(" ");
    usual.find(() => studio.state.view === "hand" && update());
  }
  lift = () => studio.change({});

  const root = el("section.view.hand", {},
    el("div.left", {}, el("div.paper", {}, pad, hint, seen), tools,
      el("div.row", {}, pens ? pen.root : null, pens ? centred.root : null, reading.root),
      controls ? controls.root : null),
    el("div.right", {}, title, grid.root, words, el("p.quiet", {}, t("clickTile"))));
  return {
    root,
    update,
    name: "hand",
    sheet: () => {
      const picture = x(), all = [...rows(shown.all, model.size)];
      return painter.sheet(picture ? [picture, ...all] : all,
        picture ? ["✎", ...shown.labels] : shown.labels, picture ? 11 : 10);
    },
  };
}

/** The rows of numbers that lie flat. */
export function rows(flat, size) {
  return Array.from({ length: flat.length / size }, (_, r) => flat.subarray(r * size, (r + 1) * size));
}

/** Width and height of a pad's canvas, as the pictures are. */
export function padSize({ aspect }) {
  return aspect > 1 ? [512, Math.round(512 / aspect)] : [Math.round(512 * aspect), 512];
}
