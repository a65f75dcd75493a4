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

/** Rows of levels of a picture that a user opened: scaled to the model's shape. */
export async function opened(file, [height, width, channels]) {
  const bitmap = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, width, height);
  const x = new Uint8Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
    if (channels === 3) x.set([red, green, blue], 3 * i);
    else x[i] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
  }
  return channels === 1 && bright(x, height, width) ? x.map((value) => 255 - value) : x;
}

/** Whether a grey picture is dark on light, by its edge: the models' data are light on dark. */
function bright(x, height, width) {
  let [sum, count] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const [row, column] = [Math.floor(i / width), i % width];
    if (row % (height - 1) === 0 || column % (width - 1) === 0) [sum, count] = [sum + x[i], count + 1];
  }
  return sum / count > 127;
}
