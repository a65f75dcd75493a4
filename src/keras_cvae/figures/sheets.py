"""Sheets of images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_cvae.figures.pixels import as_pixels, upscale
from keras_cvae.figures.style import (
    DPI,
    PAGE,
    SMALL,
    STYLE,
    TEXT,
    as_strings,
    ascending,
    at_least_one,
    finish_page,
    text_points,
    wrap,
)


class _Sheet:
    """Images and words placed on a white page, in dots; becomes a Figure without resampling.

    x grows to the right and y downwards from the first image's top left corner; the page grows to
    hold whatever is placed, so labels need no reserved margins.
    """

    def __init__(self, shape: Sequence[int], columns: int, *, tile: int = 64, gap: int = 2):
        """``shape`` ends in (h, w, c); ``columns`` images abreast should fit on one page."""
        h, w = shape[-3:-1]
        room = (PAGE - (columns - 1) * gap) // (columns * w)
        self.scale = max(1, min(round(tile / max(h, w)), room))
        self.h, self.w, self.gap = h * self.scale, w * self.scale, gap
        # images too large for the page keep every pixel and are printed finer
        self.dpi = DPI * math.ceil(columns * self.w / (1.5 * PAGE))
        self.x_ticks: list[float] = []
        self.y_ticks: list[float] = []
        self._tiles: list[tuple[NDArray[np.uint8], int, int]] = []
        self._words: list[tuple[str, float, float, dict[str, Any]]] = []

    def dots(self, points: float) -> int:
        return math.ceil(points * self.dpi / 72)

    def points(self, dots: float) -> float:
        return dots * 72 / self.dpi

    def put(self, image: NDArray[np.uint8], x: int, y: int) -> None:
        """Place an (h, w, c) image with its top left corner at (x, y)."""
        self._tiles.append((image, x, y))

    def put_grid(self, images: NDArray[np.uint8], x: int = 0, y: int = 0) -> None:
        """Place (rows, columns, h, w, c) images with the sheet's gap between them."""
        for i, row in enumerate(images):
            for j, image in enumerate(row):
                self.put(image, x + j * (self.w + self.gap), y + i * (self.h + self.gap))

    def write(self, text: str, x: float, y: float, **style: Any) -> None:
        """Write ``text`` anchored at (x, y); ``style`` is matplotlib's."""
        if text:
            self._words.append((text, x, y, {"parse_math": False, "fontsize": SMALL} | style))

    def figure(self, title: str | None, caption: str | None) -> Figure:
        width = max(x for _, x, _ in self._tiles) + self.w
        height = max(y for _, _, y in self._tiles) + self.h
        canvas = np.full((height, width, 3), 255, np.uint8)
        for image, left, top in self._tiles:
            canvas[top : top + self.h, left : left + self.w] = upscale(image, self.scale)
        figure = Figure(figsize=(width / self.dpi, height / self.dpi), dpi=self.dpi)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.imshow(
            canvas,
            extent=(0, width, height, 0),
            interpolation="none" if self.dpi == DPI else "auto",
            aspect="auto",
        )
        axes.spines[:].set_visible(False)
        for axis, ticks in ((axes.xaxis, self.x_ticks), (axes.yaxis, self.y_ticks)):
            axis.set_ticks(ticks, [""] * len(ticks))
        for text, x, y, style in self._words:
            axes.text(x, y, text, clip_on=False, linespacing=1.15, **style)
        return finish_page(figure, axes, title, caption)


def near_square(count: int, single: int = 1) -> int:
    """Columns of a grid: one row up to ``single`` images, else near-square with few holes."""
    if count <= single:
        return count
    side = math.ceil(math.sqrt(count))
    return min(range(side, int(1.6 * side) + 1), key=lambda columns: (-count % columns, columns))


def _grid(images: NDArray[np.uint8], columns: int) -> Iterator[NDArray[np.uint8]]:
    """Split (n, h, w, c) into rows of at most ``columns`` images."""
    return (images[start : start + columns] for start in range(0, len(images), columns))


@rc_context(STYLE)
def image_grid(
    images: ArrayLike,
    *,
    columns: int | None = None,
    row_labels: Sequence[Any] | None = None,
    column_labels: Sequence[Any] | None = None,
    together: int | None = None,
    title: str | None = None,
    caption: str | None = None,
) -> Figure:
    """Images in rows and columns.

    Args:
        images: (n, h, w, c), filled row by row, or (rows, columns, h, w, c).
        columns: images abreast, for the first form; default: one row up to eight, then near-square.
        row_labels: one a row, at the left.
        column_labels: one a column, on top; slanted when they would not fit.
        together: rows that belong together, with some room below them; default: all.
        title: a line above.
        caption: what is shown, below.

    Raises:
        ValueError: wrong rank, channels or number of labels; no images.
    """
    pixels = as_pixels(images, "n h w c", "rows columns h w c")
    at_least_one("columns", columns)
    at_least_one("together", together)
    if pixels.ndim == 5:
        if columns not in (None, pixels.shape[1]):
            raise ValueError(
                f"columns must be None or {pixels.shape[1]} for images of shape {pixels.shape}. "
                f"Received: {columns}."
            )
        rows = list(pixels)
    else:
        rows = list(_grid(pixels, min(columns or near_square(len(pixels), 8), len(pixels))))
    names = as_strings(row_labels, len(rows), "row_labels")
    heads = as_strings(column_labels, len(rows[0]), "column_labels")
    sheet = _Sheet(pixels.shape, len(rows[0]))
    for i, row in enumerate(rows):
        y = i * (sheet.h + sheet.gap) + i // (together or len(rows)) * sheet.dots(7)
        sheet.put_grid(row[None], y=y)
        if names:
            lines = max(1, int(sheet.points(sheet.h) / (1.2 * SMALL)))
            text = wrap(names[i], 144, SMALL, lines)
            sheet.write(text, -sheet.dots(3), y + sheet.h / 2, ha="right", va="center_baseline")
    _name_columns(sheet, heads)
    return sheet.figure(title, caption)


def _name_columns(sheet: _Sheet, names: Sequence[str]) -> None:
    """Write ``names`` above the columns; slanted where they do not fit in two lines."""
    room = sheet.points(sheet.w) - 1
    texts = [wrap(name, room, SMALL, 2) for name in names]
    slanted = any("…" in text for text in texts)
    for j, (name, text) in enumerate(zip(names, texts, strict=True)):
        middle = j * (sheet.w + sheet.gap) + sheet.w / 2
        style: dict[str, Any] = {"va": "bottom", "rotation_mode": "anchor"}
        if slanted:
            style |= {"ha": "left", "rotation": 40}
            text = wrap(name, 110, SMALL, 1)
        else:
            style |= {"ha": "center"}
        sheet.write(text, middle, -sheet.dots(2.5), **style)


def reconstructions(
    originals: ArrayLike, reconstructed: ArrayLike, *, caption: str | None = None
) -> Figure:
    """Each original with its reconstruction right below it.

    Args:
        originals: (n, h, w, c).
        reconstructed: (n, h, w, c), of the same shape.
        caption: what is shown, below.

    Raises:
        ValueError: wrong rank or channels, shapes that differ.
    """
    above = as_pixels(originals, "n h w c", name="originals")
    below = as_pixels(reconstructed, "n h w c", name="reconstructed")
    if above.shape != below.shape:
        raise ValueError(
            "originals and reconstructed must have the same shape. "
            f"Received: {above.shape} and {below.shape}."
        )
    n, *shape = above.shape
    blocks = math.ceil(n / 12)
    columns = math.ceil(n / blocks)
    pairs = np.full((2, blocks * columns, *shape), 255, np.uint8)  # white where there is no more
    pairs[:, :n] = above, below
    rows = pairs.reshape(2, blocks, columns, *shape).swapaxes(0, 1).reshape(-1, columns, *shape)
    return image_grid(rows, row_labels=["data", "model"] * blocks, together=2, caption=caption)


@rc_context(STYLE)
def manifold(
    images: ArrayLike,
    values: ArrayLike,
    *,
    column_values: ArrayLike | None = None,
    title: str | None = None,
    caption: str | None = None,
    axis_labels: tuple[str, str] = ("$z_1$", "$z_2$"),
) -> Figure:
    """A plane of the latent space, as the images it decodes to.

    ``images[i, j]`` is the image at z2 = ``values[i]``, z1 = ``values[j]``. It is drawn as a plot
    reads: z1 grows to the right and z2 grows UPWARDS, so ``images[0, 0]``, the smallest of both, is
    the bottom left tile, and ``images[-1]`` is the top row.

    Args:
        images: (rows, columns, h, w, c), drawn without gaps.
        values: (rows,), ascending: latent values or quantiles; also those of the columns.
        column_values: (columns,), ascending, where z1 takes other values than z2.
        title: a line above.
        caption: what is shown, below.
        axis_labels: names of (z1, z2); may hold mathtext.

    Raises:
        ValueError: wrong rank or channels; values of the wrong number or not ascending.
    """
    pixels = as_pixels(images, "rows columns h w c")
    rows, columns = pixels.shape[:2]
    second = ascending(values, rows, "values")
    if column_values is None:
        first = ascending(values, columns, "values")
    else:
        first = ascending(column_values, columns, "column_values")
    sheet = _Sheet(pixels.shape, columns, gap=0, tile=56)
    sheet.put_grid(pixels[::-1])
    width, height, tick = columns * sheet.w, rows * sheet.h, sheet.dots(4.5)

    across, texts = _ticks(first)
    wide = max(text_points(text, SMALL) for text in texts)
    across = across[:: math.ceil((wide + 5) / sheet.points(sheet.w))]
    for j in across:
        sheet.write(texts[j], (j + 0.5) * sheet.w, height + tick, ha="center", va="top")
    upwards, texts = _ticks(second)
    upwards = upwards if rows > 1 else upwards[:0]
    upwards = upwards[:: math.ceil((SMALL + 4) / sheet.points(sheet.h))]
    tall = max(text_points(text, SMALL) for text in texts)
    for i in upwards:
        middle = height - (i + 0.5) * sheet.h
        sheet.write(texts[i], -tick, middle, ha="right", va="center_baseline")
    name = {"fontsize": TEXT, "ha": "center", "parse_math": True}
    sheet.write(axis_labels[0], width / 2, height + tick + sheet.dots(11.5), va="top", **name)
    aside = -tick - sheet.dots(tall + 5)
    if axis_labels[1]:
        sheet.write(axis_labels[1], aside, height / 2, va="bottom", rotation=90, **name | _ANCHORED)

    sheet.x_ticks = [(j + 0.5) * sheet.w for j in across]
    sheet.y_ticks = [height - (i + 0.5) * sheet.h for i in upwards]
    return sheet.figure(title, caption)


_ANCHORED = {"rotation_mode": "anchor"}


def _ticks(values: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    """Indices of ``values`` and their text, exact to a twentieth of the smallest step."""
    step = float(np.diff(values).min()) if len(values) > 1 else 1.0
    decimals = 1
    while decimals < 6 and (abs(values.round(decimals) - values) > step / 20).any():
        decimals += 1
    return list(range(len(values))), [
        f"{value + 0.0:.{decimals}f}".replace("-", "−") for value in values.round(decimals)
    ]


@rc_context(STYLE)
def transition(
    frames: ArrayLike,
    *,
    labels: Sequence[Any] | Mapping[int, Any] | None = None,
    caption: str | None = None,
) -> Figure:
    """A strip of frames, read from left to right and wrapped onto several rows if long.

    Args:
        frames: (n, h, w, c).
        labels: n labels, None for a frame without; or a mapping of key frames to labels, where
            negative indices count from the end. Written under the frames.
        caption: what is shown, below.

    Raises:
        ValueError: wrong rank or channels, another number of labels, a key that is no frame.
    """
    pixels = as_pixels(frames, "n h w c", name="frames")
    count = len(pixels)
    if isinstance(labels, Mapping):
        wrong = [key for key in labels if not -count <= key < count]
        if wrong:
            raise ValueError(f"labels must name frames 0 to {count - 1}. Received: {wrong}.")
        named = {key % count: str(label) for key, label in labels.items()}
    else:
        named = {i: text for i, text in enumerate(as_strings(labels, count, "labels")) if text}
    columns = math.ceil(count / math.ceil(count / 16))
    sheet = _Sheet(pixels.shape, columns, gap=1)
    apart = min([*np.diff(sorted(named)).tolist(), columns])
    room = sheet.points(apart * (sheet.w + sheet.gap)) - 3
    texts = {i: wrap(text, room, SMALL, 3) for i, text in named.items()}
    lines = max((text.count("\n") + 1 for text in texts.values()), default=0)
    pitch = sheet.h + sheet.dots(6 + 1.25 * SMALL * lines)
    for i, image in enumerate(pixels):
        row, column = divmod(i, columns)
        x, y = column * (sheet.w + sheet.gap), row * pitch
        sheet.put(image, x, y)
        for k, line in enumerate(texts.get(i, "").split("\n")):  # on baselines that a row shares
            base = y + sheet.h + sheet.dots(2.5 + (0.8 + 1.2 * k) * SMALL)
            sheet.write(line, x + sheet.w / 2, base, ha="center", va="baseline")
    return sheet.figure(None, caption)
