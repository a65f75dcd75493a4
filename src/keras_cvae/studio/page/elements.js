// Elements of the page, and the controls: sliders, dials, chips.

import { clamp } from "./numbers.js";
import { t } from "./words.js";

/** An element: `el("button.big", {onclick}, children...)`; attributes that are null are left out. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else if (value !== null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A number on a line; `set(value)` shows another one. */
export function slider({ label, hint = "", name = null, min, max, step = "any", value, show, oninput }) {
  const input = el("input", {
    type: "range", min: String(min), max: String(max), step: String(step), "aria-label": name,
  });
  const output = el("b");
  const write = (v) => {
    const text = (show ? show(v) : v.toFixed(2)).replace("-", "−");
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
    input.style.setProperty("--at", `${(100 * (clamp(v, min, max) - min)) / (max - min)}%`);
  };
  input.addEventListener("input", () => {
    write(Number(input.value));
    oninput(Number(input.value));
  });
  const root = el("label.slider", { title: hint }, el("span", {}, label), output, input);
  const set = (v) => {
    input.value = String(v);
    write(v);
  };
  set(value);
  return { root, set, input };
}

/** Several that are on or off. */
export function chips({ labels, label, oninput, single = false, titles = [] }) {
  const buttons = labels.map((text, k) =>
    el("button.chip", { type: "button", title: titles[k] || null, onclick: () => oninput(k) }, text),
  );
  const root = el("div.chips", { role: "group", "aria-label": label }, buttons);
  return {
    root,
    set: (on) =>
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(on.includes(k)))),
    single,
  };
}

export function toggle({ label, hint = "", value, oninput }) {
  const input = el("input", { type: "checkbox", checked: value });
  input.addEventListener("input", () => oninput(input.checked));
  const root = el("label.toggle", { title: hint }, input, el("span", {}, label));
  return { root, set: (on) => (input.checked = on), input };
}

export function choice({ label, options, oninput }) {
  const select = el("select", { "aria-label": label },
    options.map((text, k) => el("option", { value: String(k) }, text)));
  select.addEventListener("input", () => oninput(Number(select.value)));
  const root = el("label.choice", {}, el("span", {}, label), select);
  return { root, set: (k) => (select.value = String(k)), select };
}

export function button(label, onclick, about = {}) {
  return el("button", { type: "button", onclick, ...about }, label);
}

/**
 * A dial: marks on a ring, and a hand that turns. The value is a place on the ring, from 0 to the
 * number of marks; near a mark it snaps.
 */
export function dial({ marks, label, value, oninput, words, snap = 0.14, centre = null, step = 1 }) {
  const count = marks.length, middle = 200, radius = 168;
  const at = (place, r = radius) => {
    const angle = (2 * Math.PI * place) / count - Math.PI / 2;
    return [middle + r * Math.cos(angle), middle + r * Math.sin(angle)];
  };
  const hand = svg("rect", { class: "hand" });
  const longest = Math.max(...marks.map((mark) => mark.length));
  const size = longest <= 2 ? 24 : longest <= 6 ? 17 : 13;
  const texts = marks.map((mark, k) => {
    const [x, y] = at(k);
    const text = svg("text", { x, y, "font-size": size, class: "mark" });
    text.append(mark.length > 11 ? `${mark.slice(0, 10)}…` : mark);
    return text;
  });
  const ring = svg("svg", { viewBox: "0 0 400 400", "aria-hidden": "true" },
    svg("circle", { class: "ring", cx: middle, cy: middle, r: radius }), hand, ...texts);
  const root = el("div.dial", {
    role: "slider", tabIndex: 0, "aria-label": label,
    "aria-valuemin": "0", "aria-valuemax": String(count),
  }, ring, centre);
  let now = value;
  const set = (place) => {
    now = ((place % count) + count) % count;
    const [x, y] = at(now), on = marks[Math.round(now) % count].slice(0, 11);
    const high = count > 14 ? 32 : 48, wide = Math.max(high, on.length * size * 0.6 + 22);
    const shape = { x: x - wide / 2, y: y - high / 2, width: wide, height: high, rx: high / 2 };
    for (const [name, length] of Object.entries(shape)) hand.setAttribute(name, length);
    texts.forEach((text, k) => {
      const apart = Math.min(Math.abs(now - k), count - Math.abs(now - k));
      text.classList.toggle("on", apart < 0.5);
    });
    root.setAttribute("aria-valuenow", now.toFixed(2));
    root.setAttribute("aria-valuetext", words(now));
  };
  const turn = (place) => {
    const whole = Math.round(place);
    set(Math.abs(place - whole) < snap ? whole : place);
    oninput(now);
  };
  const point = (event) => {
    const box = ring.getBoundingClientRect();
    const x = event.clientX - box.left - box.width / 2, y = event.clientY - box.top - box.height / 2;
    if (event.type === "pointerdown" && Math.hypot(x, y) < box.width * 0.3) return false;
    turn(((Math.atan2(y, x) + Math.PI / 2) / (2 * Math.PI)) * count);
    return true;
  };
  root.addEventListener("pointerdown", (event) => {
    if (!point(event)) return;
    event.preventDefault();
    root.focus({ preventScroll: true });
    root.setPointerCapture(event.pointerId);
    const move = (moved) => point(moved);
    root.addEventListener("pointermove", move);
    const stop = () => root.removeEventListener("pointermove", move);
    root.addEventListener("pointerup", stop, { once: true });
    root.addEventListener("pointercancel", stop, { once: true });
  });
  root.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (by) {
      const small = event.shiftKey ? 0.1 : 1;
      set(event.shiftKey ? now + by * small * step : Math.round((now + by * step) * 1e6) / 1e6);
    } else if (event.key === "Home") set(0);
    else if (event.key === "End") set(count - 1);
    else return;
    event.preventDefault();
    oninput(now);
  });
  root.addEventListener("wheel", (event) => {
    event.preventDefault();
    turn(now + Math.sign(event.deltaY) * Math.max(snap + 0.02, 0.1) * step);
  }, { passive: false });
  set(value);
  return { root, set };
}

/** A square on which a point is dragged; places are from 0 to 1. */
export function plane({ label, oninput, onkey, canvas }) {
  const knob = el("div.knob");
  const root = el("div.plane", { role: "application", tabIndex: 0, "aria-label": label }, canvas, knob);
  const point = (event) => {
    const box = root.getBoundingClientRect();
    oninput(
      clamp((event.clientX - box.left) / box.width, 0, 1),
      clamp((event.clientY - box.top) / box.height, 0, 1),
    );
  };
  dragging(root, point);
  root.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    onkey(by.map((one) => one * (event.shiftKey ? 0.1 : 0.02)));
  });
  return {
    root,
    set: (x, y) => {
      knob.style.left = `${100 * clamp(x, 0, 1)}%`;
      knob.style.top = `${100 * clamp(y, 0, 1)}%`;
    },
  };
}

/** Calls `point` while the pointer is down on an element; `done` when it is lifted. */
export function dragging(root, point, done = () => {}) {
  root.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    event.preventDefault();
    root.focus({ preventScroll: true });
    root.setPointerCapture(event.pointerId);
    point(event, true);
    const move = (moved) => {
      for (const one of moved.getCoalescedEvents?.() || [moved]) point(one, false);
    };
    const stop = () => {
      root.removeEventListener("pointermove", move);
      done();
    };
    root.addEventListener("pointermove", move);
    root.addEventListener("pointerup", stop, { once: true });
    root.addEventListener("pointercancel", stop, { once: true });
  });
}

/** Pictures in a grid, each a button with a label; `set` paints them. */
export function tiles({ count, painter, onclick, label }) {
  const made = Array.from({ length: count }, (_, k) => {
    const canvas = el("canvas"), text = el("span");
    const root = el("button.tile", { type: "button", onclick: () => onclick?.(k) }, canvas, text);
    if (!onclick) root.disabled = true;
    return { root, canvas, text };
  });
  const root = el("div.tiles", { role: "group", "aria-label": label }, made.map((one) => one.root));
  return {
    root,
    set: (x, labels = [], on = -1, hint = "") => {
      const size = x.length / count;
      made.forEach((one, k) => {
        painter.paint(one.canvas, x.subarray(k * size, (k + 1) * size));
        if (one.text.textContent !== (labels[k] || "")) one.text.textContent = labels[k] || "";
        one.root.classList.toggle("on", k === on);
        one.root.title = [labels[k], hint].filter(Boolean).join(" · ");
      });
    },
  };
}

let toastTimer = 0;

/** A short message. */
export function toast(text, ...more) {
  const box = document.getElementById("toast");
  box.replaceChildren(text, ...more);
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), more.length ? 20000 : 2600);
}

/** Copy text, or show it where the browser forbids that. */
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    const field = el("input", { value: text, readOnly: true, "aria-label": t("copyThis") });
    toast(t("copyThis"), field);
    field.select();
  }
}

export function saved(canvas, name) {
  const link = el("a", { href: canvas.toDataURL("image/png"), download: `${name}.png` });
  link.click();
  toast(t("save"));
}
