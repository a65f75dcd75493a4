// Pictures on canvases: grey or coloured ones, signals as lines, vectors as bars.

import { clamp } from "./numbers.js";

export const looks = { ink: true, smooth: true };

/** How x of a model are shown. */
export class Painter {
  constructor(model) {
    const { x_shape: shape, likelihood } = model.about;
    this.kind = shape.length === 3 ? "picture" : shape.length === 2 ? "signal" : "vector";
    this.shape = shape;
    this.channels = shape[shape.length - 1];
    this.range = model.likelihood.range;
    if (!this.range && this.kind === "picture") this.range = [0, 1];
    this.aspect = this.kind === "picture" ? shape[1] / shape[0] : this.kind === "signal" ? 1.6 : 1;
    this.spread = likelihood.kind === "gaussian" ? likelihood : null;
  }

  /** Paint x on a canvas, whose size on the screen is the style's. */
  paint(canvas, x) {
    if (this.kind === "picture") this.picture(canvas, x);
    else this.chart(canvas, x);
  }

  picture(canvas, x) {
    const [height, width] = this.shape;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    this.pixels(image.data, x);
    context.putImageData(image, 0, 0);
    canvas.style.imageRendering = looks.smooth ? "auto" : "pixelated";
  }

  pixels(data, x) {
    const [low, high] = this.range, [paper, ink] = tones();
    for (let i = 0, p = 0; p < data.length; i++, p += 4) {
      for (let k = 0; k < 3; k++) {
        if (this.channels === 3) data[p + k] = 255 * clamp((x[3 * i + k] - low) / (high - low), 0, 1);
        else {
          const value = clamp((x[i] - low) / (high - low), 0, 1);
          data[p + k] = looks.ink ? paper[k] + value * (ink[k] - paper[k]) : 255 * value;
        }
      }
      data[p + 3] = 255;
    }
  }

  chart(canvas, x) {
    const scale = Math.min(devicePixelRatio || 1, 2);
    const width = Math.max(Math.round((canvas.clientWidth || 120) * scale), 60);
    const height = Math.max(Math.round((canvas.clientHeight || width / scale) * scale), 40);
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink"), accent = style.getPropertyValue("--accent");
    const [low, high] = this.limits(x), margin = 6 * scale;
    const y = (value) => height - margin - ((value - low) / (high - low)) * (height - 2 * margin);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = style.getPropertyValue("--rule");
    context.lineWidth = scale;
    context.beginPath();
    context.moveTo(0, y(clamp(0, low, high)));
    context.lineTo(width, y(clamp(0, low, high)));
    context.stroke();
    if (this.kind === "vector") {
      const step = (width - 2 * margin) / x.length, base = y(clamp(0, low, high));
      context.fillStyle = ink;
      x.forEach((value, i) => {
        const top = y(this.standard(value, i));
        const left = margin + i * step + step * 0.12;
        context.fillRect(left, Math.min(top, base), Math.max(step * 0.76, 1), Math.abs(base - top) || 1);
      });
      return;
    }
    const length = this.shape[0];
    for (let channel = 0; channel < this.channels; channel++) {
      context.strokeStyle = channel ? accent : ink;
      context.globalAlpha = channel > 1 ? 0.5 : 1;
      context.lineWidth = 1.6 * scale;
      context.beginPath();
      for (let i = 0; i < length; i++) {
        const value = this.standard(x[i * this.channels + channel], channel);
        const at = margin + (i / Math.max(length - 1, 1)) * (width - 2 * margin);
        context[i ? "lineTo" : "moveTo"](at, y(value));
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /** Values of a Gaussian in standard deviations of the data, so that all fit on one axis. */
  standard(value, i) {
    const { spread } = this;
    return spread ? (value - spread.mean[i]) / spread.scale[i] : value;
  }

  limits(x) {
    if (this.spread) return [-3, 3];
    if (this.range) return this.range;
    return [0, Math.max(...x, 1e-6)];
  }

  /** Several pictures with their labels as one PNG. */
  sheet(pictures, labels, columns) {
    const single = pictures.length === 1;
    const scale = this.kind === "picture" ? Math.max(1, Math.round((single ? 560 : 140) / this.shape[0])) : 1;
    const [h, w] = this.kind === "picture" ? this.shape.map((n) => n * scale) : [180, 240];
    const gap = Math.round(h / 12), text = labels.some(Boolean) ? 26 : 0;
    const rows = Math.ceil(pictures.length / columns);
    const canvas = document.createElement("canvas"), style = getComputedStyle(document.documentElement);
    canvas.width = columns * (w + gap) + gap;
    canvas.height = rows * (h + gap + text) + gap;
    const context = canvas.getContext("2d");
    context.fillStyle = style.getPropertyValue("--paper");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.font = "16px system-ui, sans-serif";
    context.textAlign = "center";
    pictures.forEach((x, i) => {
      const left = gap + (i % columns) * (w + gap);
      const top = gap + Math.floor(i / columns) * (h + gap + text);
      const one = document.createElement("canvas");
      if (this.kind !== "picture") {
        one.style.width = `${w}px`;
        one.style.height = `${h}px`;
      }
      this.paint(one, x);
      context.imageSmoothingEnabled = looks.smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(one, left, top, w, h);
      context.fillStyle = style.getPropertyValue("--ink");
      if (labels[i]) context.fillText(labels[i], left + w / 2, top + h + 20, w + gap);
    });
    return canvas;
  }
}

let remembered = null;

/** Colours of paper and ink, as three numbers each. */
function tones() {
  const style = getComputedStyle(document.documentElement);
  const key = style.getPropertyValue("--sheet") + style.getPropertyValue("--ink");
  if (!remembered || remembered.key !== key) {
    const read = (name) => {
      const text = style.getPropertyValue(name).trim().slice(1);
      return [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16));
    };
    remembered = { key, both: [read("--sheet"), read("--ink")] };
  }
  return remembered.both;
}
