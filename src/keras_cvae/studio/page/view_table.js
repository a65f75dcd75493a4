// A table: any columns are fixed, and the distributions of the others follow.

import { button, choice, copy, el } from "./elements.js";
import { uniforms } from "./numbers.js";
import { said, t } from "./words.js";

const BARS = 8, BINS = 36, AT_ONCE = 20, SLICE = 12; // rows, milliseconds

export function tableView(studio) {
  const { model, state } = studio;
  const words = el("p.words", { "aria-live": "polite" });
  const start = () => new Array(model.parts.length).fill(-1);

  // What is fixed stands in the state as text: part.level_part.level_...
  const fixed = () => {
    const known = start();
    for (const one of state.table.split("_").filter(Boolean)) {
      const [i, level] = one.split(".").map(Number);
      if (model.parts[i] && level >= 0 && level < model.parts[i].size) known[i] = level;
    }
    return known;
  };
  const fix = (column, levels) => {
    const known = fixed();
    column.about.parts.forEach((part, k) => (known[part.place] = levels ? levels[k] : -1));
    forget();
    studio.change({
      table: known.map((level, i) => [i, level]).filter(([, level]) => level >= 0)
        .map((one) => one.join(".")).join("_"),
    });
  };

  const none = start();
  const usual = model.logits([none]).slice();
  const cards = model.shown.map((column) => card(column, (i) => model.law(i, usual, 0, none), fix));

  let rows = [], drawing = 0;
  const forget = () => {
    rows = [];
    clearTimeout(drawing);
    root.classList.remove("busy");
  };
  const body = el("tbody"), count = choice({
    label: "", options: ["20", "100", "500"], oninput: (k) => (wanted = [20, 100, 500][k]),
  });
  let wanted = 20;
  const table = el("div.rows", {}, el("table", {},
    el("thead", {}, el("tr", {}, model.shown.map((column) => el("th", {}, column.name)))), body));
  table.hidden = true;

  function drawRows() {
    const known = fixed(), seed = state.seed, within = uniforms(seed, 43);
    forget();
    body.replaceChildren();
    table.hidden = false;
    const some = () => model.drawing(known, Math.min(AT_ONCE, wanted - rows.length), seed + rows.length);
    let steps = some();
    const more = () => {
      const until = performance.now() + SLICE;
      let drawn = null;
      while (!drawn && performance.now() < until) drawn = steps.next().value;
      for (const levels of drawn || []) {
        const texts = model.shown.map((column) =>
          column.text(column.about.parts.map((part) => levels[part.place]), within()));
        rows.push(texts);
        copyRows.disabled = false;
        body.append(el("tr", {}, texts.map((text) => el("td", {}, text))));
      }
      if (drawn) steps = some();
      if (drawn && rows.length === drawn.length) table.scrollIntoView({ block: "nearest" });
      if (rows.length < wanted) drawing = setTimeout(more, 0);
      else root.classList.remove("busy");
    };
    root.classList.add("busy");
    more();
    studio.state.seed = seed + 1;
  }
  const csv = () => {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const all = [model.shown.map((column) => column.name), ...rows];
    return `${all.map((row) => row.map(quoted).join(",")).join("\n")}\n`;
  };

  const copyRows = button(t("copyCsv"), () => copy(csv(), t("csvCopied")));

  function update() {
    copyRows.disabled = !rows.length;
    const known = fixed();
    // What is fixed shows how it would be if it alone were free.
    const freed = cards.filter(({ column }) => known[column.first] >= 0).map(({ column }) => {
      const left = [...known];
      for (const part of column.about.parts) left[part.place] = -1;
      return left;
    });
    const all = [known, ...freed], logits = model.logits(all);
    let next = 0;
    for (const one of cards) {
      const r = known[one.column.first] >= 0 ? ++next : 0;
      one.update(known, (i) => model.law(i, logits, r, all[r]));
    }
    const some = known.some((level) => level >= 0);
    words.textContent = t("fixColumns");
    if (some) {
      const logP = model.logProb(known), one = Math.exp(-logP);
      const often = one < 1e7 ? Math.round(one).toLocaleString("en") : one.toExponential(1);
      words.textContent = t("together", often, said(logP));
    }
    if (!rows.length) table.hidden = true;
  }

  const root = el("section.table", {}, words,
    el("div.cards", {}, cards.map((one) => one.root)),
    el("div.row", {}, button(t("rows"), drawRows), count.root,
      copyRows,
      button(t("freeAll"), () => {
        forget();
        studio.change({ table: "" });
      })),
    table);
  return { root, update, name: "table", sheet: () => sheet(cards) };
}

/** One column: its distribution, and how it is fixed. */
function card(column, usual, fix) {
  const free = button("×", () => fix(column, null), { class: "free", "aria-label": t("free") });
  const head = el("h3", {}, el("span", {}, column.name), free);
  const inner = column.numeric || column.dated
    ? histogram(column, usual, fix)
    : bars(column, usual, fix);
  const root = el("article.card", {}, head, inner.root);
  return {
    root,
    column,
    update: (known, law) => {
      const on = known[column.first] >= 0;
      root.classList.toggle("fixed", on);
      free.hidden = !on;
      inner.update(law(column.first), on ? column.about.parts.map((part) => known[part.place]) : null);
    },
    canvas: inner.canvas,
  };
}

const percent = (share) => (share >= 0.0995 ? `${Math.round(100 * share)} %` : `${(100 * share).toFixed(1)} %`);

/** Categories, the most frequent first; those beyond are in a list. */
function bars(column, usual, fix) {
  const { parts, labels, missing } = column.about, law = usual(column.first);
  const pairs = parts.length > 1;
  const label = (k) =>
    column.empty(k) ? "∅" : pairs ? `${labels[column.value[k * column.base]]} …` : labels[k];
  const order = law.map((_, k) => k).sort((a, b) => law[b] - law[a]);
  const shown = labels.length === 2 || order.length <= BARS ? [...order].sort((a, b) => a - b) : order.slice(0, BARS);
  const made = shown.map((k) => {
    const bar = el("i"), before = el("u"), number = el("span.share");
    before.style.width = `${100 * law[k]}%`;
    const root = el("button.bar", { type: "button", title: label(k), onclick: () => !pairs && fix(column, [k]) },
      before, bar, el("span", {}, label(k)), number);
    root.disabled = pairs;
    return { k, bar, number, root };
  });
  const every = pairs ? column.value.map((value, place) => [labels[value], [Math.floor(place / column.base), place % column.base]])
    : order.map((k) => [label(k), [k]]);
  const list = order.length > shown.length || pairs
    ? choice({ label: "", options: [t("anotherValue"), ...every.map(([text]) => text)],
        oninput: (k) => fix(column, k ? every[k - 1][1] : null) })
    : null;
  if (list) list.select.setAttribute("aria-label", column.name);
  return {
    root: el("div", {}, made.map((one) => one.root), list ? list.root : null),
    update: (now, levels) => {
      for (const { k, bar, number, root } of made) {
        bar.style.width = `${100 * now[k]}%`;
        number.textContent = percent(now[k]);
        root.setAttribute("aria-pressed", String(Boolean(levels) && levels[0] === k));
      }
      if (list) {
        const at = levels ? every.findIndex(([, one]) => one.every((v, i) => v === levels[i])) : -1;
        list.set(at + 1);
      }
    },
    missing,
  };
}

/** Numbers and dates; a click fixes the value there. */
function histogram(column, usual, fix) {
  const intervals = column.numeric ? column.intervals : column.week;
  const law = usual(column.first), range = intervals.range(law);
  const whole = intervals.whole && range[1] - range[0] < 2 * BINS;
  const count = whole ? range[1] - range[0] + 1 : BINS;
  const span = whole ? [range[0], range[1] + 1] : range;
  const before = intervals.bins(law, span, count);
  const canvas = el("canvas", { width: 480, height: 150 });
  const name = (value) => (column.numeric ? column.number(value) : new Date(value * 7 * 864e5).toISOString().slice(0, 10));
  const ends = el("div.axis", {}, el("span", {}, name(range[0])), el("span"), el("span", {}, name(range[1])));
  const input = el("input", {
    type: "range", min: "0", max: String(intervals.size - 1), step: "1", "aria-label": column.name,
    value: String(Math.floor(intervals.size / 2)),
  });
  input.addEventListener("input", () => column.numeric && fix(column, [Number(input.value)]));
  input.hidden = !column.numeric;
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const value = span[0] + ((event.clientX - box.left) / box.width) * (span[1] - span[0]);
    if (column.numeric) fix(column, [intervals.holding(whole ? Math.floor(value) : value)]);
  });
  return {
    canvas,
    root: el("div.histogram", {}, canvas, ends, input),
    update: (now, levels) => {
      const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
      const bins = intervals.bins(now, span, count), most = Math.max(...before, ...bins, 1e-9);
      const step = canvas.width / count;
      context.clearRect(0, 0, canvas.width, canvas.height);
      const draw = (values, colour, inset) => {
        context.fillStyle = colour;
        values.forEach((value, k) => {
          const height = (value / most) * (canvas.height - 4);
          context.fillRect(k * step + inset, canvas.height - height, step - 2 * inset, height);
        });
      };
      draw(before, style.getPropertyValue("--rule"), 0.5);
      draw(bins, style.getPropertyValue(levels ? "--accent" : "--ink"), step * 0.16);
      const [, middle] = ends.children;
      if (!levels) {
        const at = now.reduce((best, share, k) => best + share * k, 0);
        middle.textContent = "";
        if (document.activeElement !== input) input.value = String(Math.round(at));
      } else if (column.empty(levels[0])) middle.textContent = "∅";
      else {
        const [low, high] = [intervals.value(levels[0], 0), intervals.value(levels[0], 1)];
        middle.textContent = name(low) === name(high) ? name(low) : `${name(low)} – ${name(high)}`;
        input.value = String(levels[0]);
      }
      input.style.setProperty("--at", `${(100 * input.value) / Math.max(intervals.size - 1, 1)}%`);
      const missing = column.about.missing ? now[now.length - 1] : 0;
      ends.title = missing > 0.0005 ? `∅ ${percent(missing)}` : "";
    },
  };
}

/** The histograms as one picture. */
function sheet(cards) {
  const all = cards.filter((one) => one.canvas), style = getComputedStyle(document.documentElement);
  const canvas = el("canvas", { width: 520, height: 210 * Math.max(all.length, 1) });
  const context = canvas.getContext("2d");
  context.fillStyle = style.getPropertyValue("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.font = "18px system-ui, sans-serif";
  all.forEach((one, k) => {
    context.fillStyle = style.getPropertyValue("--ink");
    context.fillText(one.root.querySelector("h3 span").textContent, 20, 210 * k + 28);
    context.drawImage(one.canvas, 20, 210 * k + 40);
  });
  return canvas;
}
