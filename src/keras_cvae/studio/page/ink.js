// Strokes to pixels, centred and scaled as the digits of MNIST are.

import { clamp } from "./numbers.js";

export const PAD = 255; // strokes are whole numbers from 0 to this, x and y by turns

/**
 * Rows of grey levels of strokes.
 *
 * With `centred` the strokes are scaled to 20 of 28 parts of the picture's size, and their centre
 * of mass is put in the middle, as MNIST was made; else they stay where they are.
 */
export function rasterise(strokes, [height, width], pen, centred) {
  const size = Math.min(height, width), unit = size / 28;
  const thick = Math.max(pen * unit, 0.8);
  const points = strokes.flat();
  if (!points.length) return new Float32Array(height * width);
  let place = (x, y) => [(x / PAD) * width, (y / PAD) * height];
  if (centred) {
    const xs = points.filter((_, i) => i % 2 === 0).map((x) => (x / PAD) * width);
    const ys = points.filter((_, i) => i % 2 === 1).map((y) => (y / PAD) * height);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const longest = Math.max(right - left, bottom - top, 1e-3);
    const box = (size < 16 ? 1 : 20 / 28) * size;
    const scale = Math.min((box - thick) / longest, 3);
    const middle = [(left + right) / 2, (top + bottom) / 2];
    place = (x, y) => [
      ((x / PAD) * width - middle[0]) * scale + width / 2,
      ((y / PAD) * height - middle[1]) * scale + height / 2,
    ];
    const [dx, dy] = mass(draw(strokes, height, width, thick, place), height, width);
    const before = place;
    place = (x, y) => {
      const [u, v] = before(x, y);
      return [u + width / 2 - dx, v + height / 2 - dy];
    };
  }
  return draw(strokes, height, width, thick, place);
}

function draw(strokes, height, width, thick, place) {
  const out = new Float32Array(height * width), reach = thick / 2 + 1;
  for (const stroke of strokes) {
    for (let s = 0; s < Math.max(stroke.length - 2, 2); s += 2) {
      const [x0, y0] = place(stroke[s], stroke[s + 1]);
      const [x1, y1] = s + 3 < stroke.length ? place(stroke[s + 2], stroke[s + 3]) : [x0, y0];
      const [dx, dy] = [x1 - x0, y1 - y0], square = dx * dx + dy * dy || 1e-9;
      const rows = [Math.min(y0, y1) - reach, Math.max(y0, y1) + reach];
      const columns = [Math.min(x0, x1) - reach, Math.max(x0, x1) + reach];
      for (let i = Math.max(0, Math.floor(rows[0])); i < Math.min(height, rows[1]); i++) {
        for (let j = Math.max(0, Math.floor(columns[0])); j < Math.min(width, columns[1]); j++) {
          const [px, py] = [j + 0.5 - x0, i + 0.5 - y0];
          const along = clamp((px * dx + py * dy) / square, 0, 1);
          const far = Math.hypot(px - along * dx, py - along * dy);
          const value = clamp((thick / 2 + 0.6 - far) / 1.2, 0, 1);
          if (value > out[i * width + j]) out[i * width + j] = value;
        }
      }
    }
  }
  return out;
}

/** The centre of mass, [x, y]. */
function mass(picture, height, width) {
  let [total, x, y] = [0, 0, 0];
  picture.forEach((value, i) => {
    total += value;
    x += value * ((i % width) + 0.5);
    y += value * (Math.floor(i / width) + 0.5);
  });
  return total ? [x / total, y / total] : [width / 2, height / 2];
}

/**
 * Bytes of a picture that a user opened, of the model's shape: grey ones light on dark, as data are.
 *
 * With `centred` what is written in it is found, and centred and scaled as MNIST's digits are.
 */
export async function opened(file, [height, width, channels], centred) {
  const bitmap = await createImageBitmap(file);
  const fitted = (wide, high, scale) => {
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    return drawn(wide, high, "#fff", bitmap, [(wide - w) / 2, (high - h) / 2, w, h]);
  };
  if (channels === 1 && centred) {
    const scale = 160 / Math.max(bitmap.width, bitmap.height);
    const [w, h] = [bitmap.width, bitmap.height].map((n) => Math.max(Math.round(n * scale), 2));
    const found = written(fitted(w, h, scale), height, width);
    if (found) return found;
  }
  const canvas = fitted(width, height, Math.max(width / bitmap.width, height / bitmap.height));
  if (channels === 1) return light(canvas);
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return Uint8Array.from({ length: 3 * height * width }, (_, i) => data[4 * Math.floor(i / 3) + (i % 3)]);
}

/** A canvas with a part of an image on it: [left, top, width, height], or eight numbers. */
function drawn(width, height, ground, image, places) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, ...places);
  return canvas;
}

/** Grey levels of a canvas, light on dark: where the edge is bright it was the other way round. */
function light(canvas) {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const grey = Uint8Array.from({ length: width * height }, (_, i) =>
    Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]));
  const edge = grey.filter((_, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    return row % (height - 1) === 0 || column % (width - 1) === 0;
  });
  const bright = edge.reduce((sum, v) => sum + v, 0) / edge.length > 127;
  return bright ? grey.map((v) => 255 - v) : grey;
}

/** The writing on a canvas, centred and scaled; null where there is none. */
function written(canvas, height, width) {
  const { width: w, height: h } = canvas, grey = light(canvas);
  const sorted = Uint8Array.from(grey).sort();
  const [low, high] = [sorted[Math.floor(0.5 * sorted.length)], sorted[Math.floor(0.995 * sorted.length)]];
  if (high - low < 24) return null;
  const ink = Array.from(grey, (v) => clamp((v - low) / (high - low) * 1.15 - 0.1, 0, 1));
  const there = ink.flatMap((v, i) => (v > 0.4 ? [i] : []));
  const xs = there.map((i) => i % w), ys = there.map((i) => Math.floor(i / w));
  const least = (all) => all.reduce((a, b) => Math.min(a, b)), most = (all) => all.reduce((a, b) => Math.max(a, b));
  const [left, right, top, bottom] = [least(xs), most(xs) + 1, least(ys), most(ys) + 1];
  const size = Math.min(height, width), box = (size < 16 ? 1 : 20 / 28) * size;
  const scale = box / Math.max(right - left, bottom - top);
  const image = new ImageData(w, h);
  ink.forEach((v, i) => image.data.set([255 * v, 255 * v, 255 * v, 255], 4 * i));
  const clean = drawn(w, h, "#000", canvas, [0, 0]);
  clean.getContext("2d").putImageData(image, 0, 0);
  const put = (x, y) => {
    const part = [left, top, right - left, bottom - top];
    const places = [x, y, part[2] * scale, part[3] * scale];
    const { data } = drawn(width, height, "#000", clean, [...part, ...places])
      .getContext("2d").getImageData(0, 0, width, height);
    return Uint8Array.from({ length: height * width }, (_, i) => data[4 * i]);
  };
  const middle = [(width - (right - left) * scale) / 2, (height - (bottom - top) * scale) / 2];
  const [x, y] = mass(put(...middle), height, width);
  return put(middle[0] + width / 2 - x, middle[1] + height / 2 - y);
}
