"""Arrays in, figures out.

Every picture is built on matplotlib's object-oriented ``Figure`` (nothing touches pyplot, nothing
needs a display) or on PIL, and knows nothing of the model. Conventions, everywhere:

- Images are floats in [0, 1] (clipped) or uint8 in [0, 255], channels last, one channel (grey) or
  three (colour). 0 is drawn black and 1 white; the page is white.
- A pixel of an image is a whole number of dots at 160 dpi, the default of :func:`save`.
- Files are written under a temporary name and moved into place, so a reader never sees half of one
  and a failure leaves nothing behind.
"""

from __future__ import annotations

import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray
from PIL import Image

__all__ = [
    "PALETTE",
    "animate",
    "bars",
    "default_images",
    "history",
    "image_grid",
    "latent_plane",
    "manifold",
    "reconstructions",
    "reliability",
    "samples_by_class",
    "save",
    "save_image",
    "save_tiles",
    "terminal",
    "terminal_row",
    "transition",
]

#: Ten colours that stay apart on white and under colour-vision deficiencies (Petroff 2021).
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_MARKERS = "os^Dv*P<X>"  # past ten classes, the shape tells apart what the colour repeats

_DPI = 160  # dots per inch at which one image pixel is a whole number of dots
_PAGE = 1120  # dots of a page's text width: 7 inches
_INK, _QUIET = "#222222", "#5a5a5a"
_SMALL, _TEXT, _TITLE = 7.0, 8.0, 9.5  # points

_STYLE: Any = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": _TEXT,
    "text.color": _INK,
    "text.usetex": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.labelsize": _TEXT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": _TITLE,
    "axes.titlelocation": "left",
    "axes.grid": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": _SMALL,
    "ytick.labelsize": _SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "legend.frameon": False,
    "legend.fontsize": _SMALL,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "svg.hashsalt": "keras-cvae",
}


# --- checks ---------------------------------------------------------------------------------------


def _pixels(images: ArrayLike, *shapes: str, name: str = "images") -> NDArray[np.uint8]:
    """Check that ``images`` has one of ``shapes`` ("n h w c", ...); return it as uint8."""
    array = np.asarray(images)
    expected = " or ".join(f"({', '.join(shape.split())})" for shape in shapes)
    if array.ndim not in {len(shape.split()) for shape in shapes} or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"{name} must have shape {expected}, with c = 1 (grey) or 3 (colour). "
            f"Received: shape {array.shape}."
        )
    if not array.size:
        raise ValueError(f"{name} must not be empty. Received: shape {array.shape}.")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind in "iuOSUcmM":
        raise ValueError(
            f"{name} must be floats in [0, 1] or uint8 in [0, 255]. Received: dtype {array.dtype}."
        )
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite. Received: NaN or infinite pixels.")
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)


def _strings(labels: Sequence[Any] | None, count: int, name: str) -> list[str]:
    """Return ``count`` labels as text; none at all for None."""
    if labels is None:
        return []
    if isinstance(labels, str) or len(labels) != count:
        raise ValueError(
            f"{name} must be a sequence of {count} labels. "
            f"Received: {labels!r:.80} of length {len(labels)}."
        )
    return ["" if label is None else str(label) for label in labels]


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and (int(value) != value or value < 1):
        raise ValueError(f"{name} must be a whole number, 1 or more. Received: {value!r}.")


def _upscale(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Repeat each pixel of (..., h, w, c) ``scale`` times in both directions."""
    return pixels.repeat(scale, -3).repeat(scale, -2)


# --- words ----------------------------------------------------------------------------------------


def _points(text: str, size: float) -> float:
    """Width in points of one line of text."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width)


def _wrap(text: str, width: float, size: float, lines: int | None = None) -> str:
    """Break ``text`` into lines of at most ``width`` points; what does not fit ends in '…'."""
    rows: list[str] = []
    for paragraph in text.split("\n"):
        row = ""
        for word in re.split(r"(?<=[\s_/-])", paragraph):
            if row and _points((row + word).rstrip(), size) > width:
                rows.append(row.rstrip())
                row = ""
            row += word
        rows.append(row.rstrip())
    if lines is not None and len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1] + "…"]
    for i, row in enumerate(rows):
        while len(row) > 1 and _points(row, size) > width:
            row = row.rstrip("…")[:-1] + "…"
        rows[i] = row
    return "\n".join(rows)


def _page(figure: Figure, axes: Axes, title: str | None, caption: str | None) -> Figure:
    """Fit the page to the only axes, which fill it, and to all that sticks out of them.

    The axes keep their size to the dot; the title goes above everything, the caption below.
    """
    dpi = figure.dpi
    renderer = FigureCanvasAgg(figure).get_renderer()
    inner = axes.bbox.frozen()

    def outer() -> Bbox:
        box = axes.get_tightbbox(renderer)
        assert box is not None
        return Bbox.union([inner, box])

    def write(text: str, top: float, size: float, **style: Any) -> None:
        corner = (page.x0 - inner.x0) * 72 / dpi, (top - inner.y0) * 72 / dpi
        axes.annotate(
            _wrap(text, max(page.width * 72 / dpi, 200.0), size),
            (0, 0),
            corner,
            xycoords="axes fraction",
            textcoords="offset points",
            annotation_clip=False,
            fontsize=size,
            linespacing=1.15,
            parse_math=False,
            **style,
        )

    page = outer()
    if title:
        write(title, page.y1 + 5 * dpi / 72, _TITLE, va="bottom")
    if caption:
        write(caption, page.y0 - 6 * dpi / 72, _TEXT, va="top", color=_QUIET)
    page = outer()
    margin = math.ceil(4 * dpi / 72)
    x0, y0 = math.floor(page.x0) - margin, math.floor(page.y0) - margin
    wide, high = math.ceil(page.x1) + margin - x0, math.ceil(page.y1) + margin - y0
    figure.set_size_inches(wide / dpi, high / dpi)
    axes.set_position((-x0 / wide, -y0 / high, inner.width / wide, inner.height / high))
    return figure


# --- sheets of images -----------------------------------------------------------------------------


class _Sheet:
    """Images and words placed on a white page, in dots; becomes a Figure without resampling.

    x grows to the right and y downwards from the first image's top left corner; the page grows to
    hold whatever is placed, so labels need no reserved margins.
    """

    def __init__(self, shape: Sequence[int], columns: int, *, tile: int = 64, gap: int = 2):
        """``shape`` ends in (h, w, c); ``columns`` images abreast should fit on one page."""
        h, w = shape[-3:-1]
        room = (_PAGE - (columns - 1) * gap) // (columns * w)
        self.scale = max(1, min(round(tile / max(h, w)), room))
        self.h, self.w, self.gap = h * self.scale, w * self.scale, gap
        # images too large for the page keep every pixel and are printed finer
        self.dpi = _DPI * math.ceil(columns * self.w / (1.5 * _PAGE))
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
            self._words.append((text, x, y, {"parse_math": False, "fontsize": _SMALL} | style))

    def write_below(self, text: str, x: int, y: int) -> None:
        """Write lines centred below the image at (x, y), on baselines shared along its row."""
        for i, line in enumerate(text.split("\n")):
            base = y + self.h + self.dots(2.5 + (0.8 + 1.2 * i) * _SMALL)
            self.write(line, x + self.w / 2, base, ha="center", va="baseline")

    def figure(self, title: str | None, caption: str | None) -> Figure:
        width = max(x for _, x, _ in self._tiles) + self.w
        height = max(y for _, _, y in self._tiles) + self.h
        canvas = np.full((height, width, 3), 255, np.uint8)
        for image, left, top in self._tiles:
            canvas[top : top + self.h, left : left + self.w] = _upscale(image, self.scale)
        figure = Figure(figsize=(width / self.dpi, height / self.dpi), dpi=self.dpi)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.imshow(
            canvas,
            extent=(0, width, height, 0),
            interpolation="none" if self.dpi == _DPI else "auto",
            aspect="auto",
        )
        axes.spines[:].set_visible(False)
        for axis, ticks in ((axes.xaxis, self.x_ticks), (axes.yaxis, self.y_ticks)):
            axis.set_ticks(ticks, [""] * len(ticks))
        for text, x, y, style in self._words:
            axes.text(x, y, text, clip_on=False, linespacing=1.15, **style)
        return _page(figure, axes, title, caption)


def _near_square(count: int, single: int = 1) -> int:
    """Columns of a grid: one row up to ``single`` images, else near-square with few holes."""
    if count <= single:
        return count
    side = math.ceil(math.sqrt(count))
    return min(range(side, int(1.6 * side) + 1), key=lambda columns: (-count % columns, columns))


def _grid(images: NDArray[np.uint8], columns: int) -> Iterator[NDArray[np.uint8]]:
    """Split (n, h, w, c) into rows of at most ``columns`` images."""
    return (images[start : start + columns] for start in range(0, len(images), columns))


@rc_context(_STYLE)
def image_grid(
    images: ArrayLike,
    *,
    columns: int | None = None,
    row_labels: Sequence[Any] | None = None,
    column_labels: Sequence[Any] | None = None,
    title: str | None = None,
    caption: str | None = None,
) -> Figure:
    """Images in rows and columns.

    Args:
        images: (n, h, w, c), filled row by row, or (rows, columns, h, w, c).
        columns: images abreast, for the first form; default: one row up to eight, then near-square.
        row_labels: one a row, at the left.
        column_labels: one a column, on top; slanted when they would not fit.
        title: a line above.
        caption: what is shown, below.

    Raises:
        ValueError: wrong rank, channels or number of labels; no images.
    """
    pixels = _pixels(images, "n h w c", "rows columns h w c")
    _at_least_one("columns", columns)
    if pixels.ndim == 5:
        if columns not in (None, pixels.shape[1]):
            raise ValueError(
                f"columns must be None or {pixels.shape[1]} for images of shape {pixels.shape}. "
                f"Received: {columns}."
            )
        rows = list(pixels)
    else:
        rows = list(_grid(pixels, min(columns or _near_square(len(pixels), 8), len(pixels))))
    names, heads = (
        _strings(row_labels, len(rows), "row_labels"),
        _strings(column_labels, len(rows[0]), "column_labels"),
    )
    sheet = _Sheet(pixels.shape, len(rows[0]))
    for i, row in enumerate(rows):
        sheet.put_grid(row[None], y=i * (sheet.h + sheet.gap))
    _name_rows(sheet, names)
    _name_columns(sheet, heads)
    return sheet.figure(title, caption)


def _name_rows(sheet: _Sheet, names: Sequence[str], x: int = 0) -> None:
    """Write ``names`` at the left of the rows that start at ``x``."""
    for i, name in enumerate(names):
        middle = i * (sheet.h + sheet.gap) + sheet.h / 2
        text = _wrap(name, 144, _SMALL, max(1, int(sheet.points(sheet.h) / (1.2 * _SMALL))))
        sheet.write(text, x - sheet.dots(3), middle, ha="right", va="center_baseline")


def _name_columns(sheet: _Sheet, names: Sequence[str], y: int = 0) -> None:
    """Write ``names`` above the columns of the row that starts at ``y``."""
    room = sheet.points(sheet.w) - 1
    texts = [_wrap(name, room, _SMALL, 2) for name in names]
    slanted = any("…" in text for text in texts)
    for j, (name, text) in enumerate(zip(names, texts, strict=True)):
        middle = j * (sheet.w + sheet.gap) + sheet.w / 2
        style: dict[str, Any] = {"va": "bottom", "rotation_mode": "anchor"}
        if slanted:
            style |= {"ha": "left", "rotation": 40}
            text = _wrap(name, 110, _SMALL, 1)
        else:
            style |= {"ha": "center"}
        sheet.write(text, middle, y - sheet.dots(2.5), **style)


@rc_context(_STYLE)
def reconstructions(
    originals: ArrayLike,
    reconstructed: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    caption: str | None = None,
) -> Figure:
    """Each original with its reconstruction right below it.

    Args:
        originals: (n, h, w, c).
        reconstructed: (n, h, w, c), of the same shape.
        labels: one a pair, above it.
        caption: what is shown, below.

    Raises:
        ValueError: wrong rank or channels, shapes that differ, another number of labels.
    """
    above = _pixels(originals, "n h w c", name="originals")
    below = _pixels(reconstructed, "n h w c", name="reconstructed")
    if above.shape != below.shape:
        raise ValueError(
            "originals and reconstructed must have the same shape. "
            f"Received: {above.shape} and {below.shape}."
        )
    names = _strings(labels, len(above), "labels")
    blocks = math.ceil(len(above) / 12)
    columns = math.ceil(len(above) / blocks)
    sheet = _Sheet(above.shape, columns)
    y = 0
    for start in range(0, len(above), columns):
        some = slice(start, start + columns)
        sheet.put_grid(np.stack([above[some], below[some]]), y=y)
        if names:
            _name_columns(sheet, names[some], y)
        for i, name in enumerate(("data", "model")):
            middle = y + i * (sheet.h + sheet.gap) + sheet.h / 2
            sheet.write(name, -sheet.dots(3), middle, ha="right", va="center_baseline")
        y += 2 * (sheet.h + sheet.gap) + sheet.dots(20 if names else 7)
    return sheet.figure(None, caption)


@rc_context(_STYLE)
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
    pixels = _pixels(images, "rows columns h w c")
    rows, columns = pixels.shape[:2]
    second = _ascending(values, rows, "values")
    if column_values is None:
        first = _ascending(values, columns, "values")
    else:
        first = _ascending(column_values, columns, "column_values")
    sheet = _Sheet(pixels.shape, columns, gap=0, tile=56)
    sheet.put_grid(pixels[::-1])
    width, height, tick = columns * sheet.w, rows * sheet.h, sheet.dots(4.5)

    across, texts = _ticks(first)
    wide = max(_points(text, _SMALL) for text in texts)
    across = across[:: math.ceil((wide + 5) / sheet.points(sheet.w))]
    for j in across:
        sheet.write(texts[j], (j + 0.5) * sheet.w, height + tick, ha="center", va="top")
    upwards, texts = _ticks(second)
    upwards = upwards[:: math.ceil((_SMALL + 4) / sheet.points(sheet.h))]
    tall = max(_points(text, _SMALL) for text in texts)
    for i in upwards:
        middle = height - (i + 0.5) * sheet.h
        sheet.write(texts[i], -tick, middle, ha="right", va="center_baseline")
    name = {"fontsize": _TEXT, "ha": "center", "parse_math": True}
    sheet.write(axis_labels[0], width / 2, height + tick + sheet.dots(11.5), va="top", **name)
    aside = -tick - sheet.dots(tall + 5)
    sheet.write(axis_labels[1], aside, height / 2, va="bottom", rotation=90, **name | _ANCHORED)

    sheet.x_ticks = [(j + 0.5) * sheet.w for j in across]
    sheet.y_ticks = [height - (i + 0.5) * sheet.h for i in upwards]
    return sheet.figure(title, caption)


_ANCHORED = {"rotation_mode": "anchor"}


def _ascending(values: ArrayLike, count: int, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    if array.shape != (count,) or not (np.diff(array) > 0).all():
        raise ValueError(
            f"{name} must be {count} ascending numbers, one for each of the images' rows or "
            f"columns. Received: {array.tolist()!r:.80} of shape {array.shape}."
        )
    return array


def _ticks(values: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    """Indices of ``values`` and their text, exact to a twentieth of the smallest step."""
    step = float(np.diff(values).min()) if len(values) > 1 else 1.0
    decimals = 1
    while decimals < 6 and (abs(values.round(decimals) - values) > step / 20).any():
        decimals += 1
    return list(range(len(values))), [
        f"{value + 0.0:.{decimals}f}".replace("-", "−") for value in values.round(decimals)
    ]


@rc_context(_STYLE)
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
    pixels = _pixels(frames, "n h w c", name="frames")
    count = len(pixels)
    if isinstance(labels, Mapping):
        wrong = [key for key in labels if not -count <= key < count]
        if wrong:
            raise ValueError(f"labels must name frames 0 to {count - 1}. Received: {wrong}.")
        named = {key % count: str(label) for key, label in labels.items()}
    else:
        named = {i: text for i, text in enumerate(_strings(labels, count, "labels")) if text}
    columns = math.ceil(count / math.ceil(count / 16))
    sheet = _Sheet(pixels.shape, columns, gap=1)
    apart = min([*np.diff(sorted(named)).tolist(), columns])
    room = sheet.points(apart * (sheet.w + sheet.gap)) - 3
    texts = {i: _wrap(text, room, _SMALL, 3) for i, text in named.items()}
    lines = max((text.count("\n") + 1 for text in texts.values()), default=0)
    pitch = sheet.h + sheet.dots(6 + 1.25 * _SMALL * lines)
    for i, image in enumerate(pixels):
        row, column = divmod(i, columns)
        x, y = column * (sheet.w + sheet.gap), row * pitch
        sheet.put(image, x, y)
        if i in texts:
            sheet.write_below(texts[i], x, y)
    return sheet.figure(None, caption)


@rc_context(_STYLE)
def samples_by_class(
    images: ArrayLike,
    class_names: Sequence[Any],
    *,
    title: str | None = None,
    caption: str | None = None,
) -> Figure:
    """One row of samples a class, its name at the left; many classes stand in several columns.

    Args:
        images: (classes, n, h, w, c).
        class_names: one name a class.
        title: a line above.
        caption: what is shown, below.

    Raises:
        ValueError: wrong rank or channels, another number of names.
    """
    pixels = _pixels(images, "classes n h w c")
    classes, count = pixels.shape[:2]
    names = _strings(class_names, classes, "class_names")
    aside = max(min(_points(name, _SMALL), 144.0) for name in names) * _DPI / 72
    sheet, blocks = _Sheet(pixels.shape, count), 1
    while blocks < classes and sheet.h * math.ceil(classes / blocks) > 1.25 * _PAGE:
        blocks += 1
        sheet = _Sheet(pixels.shape, count * blocks + math.ceil(blocks * aside / 40), tile=40)
    rows = math.ceil(classes / blocks)
    step = count * (sheet.w + sheet.gap) + sheet.dots(10) + round(aside * sheet.dpi / _DPI)
    for block in range(math.ceil(classes / rows)):
        some = slice(block * rows, (block + 1) * rows)
        sheet.put_grid(pixels[some], x=block * step)
        _name_rows(sheet, names[some], x=block * step)
    return sheet.figure(title, caption)


@rc_context(_STYLE)
def default_images(
    images: ArrayLike,
    class_names: Sequence[Any],
    caption: str | None = None,
    *,
    columns: int | None = None,
) -> Figure:
    """One image a class, such as the decoded mean of its prior, with the class's name below.

    Args:
        images: (classes, h, w, c).
        class_names: one name a class.
        caption: what is shown, below.
        columns: images abreast; default: one row up to ten classes, then a wide grid.

    Raises:
        ValueError: wrong rank or channels, another number of names.
    """
    pixels = _pixels(images, "classes h w c")
    names = _strings(class_names, len(pixels), "class_names")
    _at_least_one("columns", columns)
    count = len(pixels)
    columns = min(columns or (count if count <= 10 else max(10, _near_square(count))), count)
    sheet = _Sheet(pixels.shape, columns, gap=0)
    # a column is as wide as its image, or as the longest word if that is not much wider
    longest = max(_points(w, _SMALL) for name in names for w in re.split(r"(?<=[\s_/-])", name))
    cell = max(sheet.w + sheet.dots(3), min(sheet.dots(longest + 4), round(1.6 * sheet.w)))
    texts = [_wrap(name, sheet.points(cell) - 3, _SMALL, 2) for name in names]
    lines = max(text.count("\n") + 1 for text in texts)
    pitch = sheet.h + sheet.dots(5 + 1.25 * _SMALL * lines)
    for i, (image, text) in enumerate(zip(pixels, texts, strict=True)):
        row, column = divmod(i, columns)
        x, y = column * cell, row * pitch
        sheet.put(image, x, y)
        sheet.write_below(text, x, y)
    return sheet.figure(None, caption)


# --- charts ---------------------------------------------------------------------------------------


@rc_context(_STYLE)
def latent_plane(
    z: ArrayLike,
    labels: ArrayLike | None,
    class_names: Sequence[Any] | str | None,
    *,
    title: str | None = None,
    caption: str | None = None,
    axis_labels: tuple[str, str] = ("$z_1$", "$z_2$"),
) -> Figure:
    """Codes in a plane of the latent space, coloured by their condition.

    Points are drawn in a shuffled (fixed) order, so that no class hides another by coming last.

    Args:
        z: (n, 2) codes.
        labels: (n,) class indices, for a legend; (n,) floats, for a colour bar (NaN is drawn grey);
            or None, for one colour.
        class_names: one name a class; for floats, the name of the quantity, or None.
        title: a line above.
        caption: what is shown, below.
        axis_labels: names of the axes; may hold mathtext.

    Raises:
        ValueError: wrong shapes, codes that are not finite, indices without a name.
    """
    codes = np.asarray(z, float)
    if codes.ndim != 2 or codes.shape[1] != 2 or not len(codes):
        raise ValueError(f"z must have shape (n, 2), n at least 1. Received: shape {codes.shape}.")
    if not np.isfinite(codes).all():
        raise ValueError("z must be finite. Received: NaN or infinite codes.")
    groups = None if labels is None else np.asarray(labels)
    if groups is not None and (groups.shape != codes.shape[:1] or groups.dtype.kind not in "iubf"):
        raise ValueError(
            f"labels must be {len(codes)} class indices or floats. "
            f"Received: shape {groups.shape}, dtype {groups.dtype}."
        )
    figure = Figure(figsize=(3.5, 3.5), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    size = float(np.clip(15_000 / len(codes), 2, 16))
    dots: dict[str, Any] = {
        "s": size,
        "alpha": 0.75,
        "linewidths": 0,
        "rasterized": len(codes) > 2000,
    }
    order = np.random.default_rng(0).permutation(len(codes))
    if groups is None:
        axes.scatter(codes[:, 0], codes[:, 1], color=PALETTE[0], **dots)
    elif groups.dtype.kind == "f":
        known = order[np.isfinite(groups[order])]
        other = codes[~np.isfinite(groups)]
        axes.scatter(other[:, 0], other[:, 1], color="#d0d0d0", **dots)
        x, y = codes[known].T
        points = axes.scatter(x, y, c=groups[known], cmap="viridis", **dots)
        if len(known):
            bar = figure.colorbar(points, cax=axes.inset_axes((1.04, 0.1, 0.035, 0.8)))
            bar.outline.set_visible(False)
            bar.solids.set(alpha=1)  # type: ignore[union-attr]
            bar.set_label("" if class_names is None else str(class_names))
    else:
        _scatter_classes(axes, codes, groups.astype(int), class_names, order, dots)

    low, high = codes.min(0), codes.max(0)
    half = 0.53 * float((high - low).max()) or 1.0
    x_middle, y_middle = (low + high) / 2
    axes.set_xlim(x_middle - half, x_middle + half)
    axes.set_ylim(y_middle - half, y_middle + half)
    axes.set_aspect("equal")
    axes.locator_params(nbins=6)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    return _page(figure, axes, title, caption)


def _scatter_classes(
    axes: Axes,
    codes: NDArray[np.float64],
    groups: NDArray[np.int_],
    class_names: Sequence[Any] | str | None,
    order: NDArray[np.int_],
    dots: dict[str, Any],
) -> None:
    """Scatter (n, 2) codes by class, and tell the classes apart in a legend beside the plane."""
    if isinstance(class_names, str):
        raise ValueError(f"class_names must be one name a class. Received: {class_names!r}.")
    top = int(groups.max())
    names = list(range(top + 1)) if class_names is None else list(class_names)
    if groups.min() < 0 or top >= len(names):
        raise ValueError(
            f"labels must lie in 0 to {len(names) - 1}, for {len(names)} class_names. "
            f"Received: {groups.min()} to {top}."
        )
    count = len(names)
    colors = np.array([to_rgb(PALETTE[k % len(PALETTE)]) for k in range(count)])
    marker = np.array([_MARKERS[k // len(PALETTE) % len(_MARKERS)] for k in range(count)])
    if count > len(PALETTE):
        dots = dots | {"s": dots["s"] * 1.6}
    for shape in dict.fromkeys(marker):
        some = order[marker[groups[order]] == shape]
        x, y = codes[some].T
        axes.scatter(x, y, c=colors[groups[some]], marker=shape, **dots)
    handles = [
        Line2D([], [], ls="", marker=marker[k], color=colors[k], markersize=4.5, mew=0)
        for k in range(count)
    ]
    legend = axes.legend(
        handles,
        [_wrap(str(name), 110, _SMALL, 1) for name in names],
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        ncols=math.ceil(count / 20),
        handletextpad=0.1,
        columnspacing=0.8,
        borderaxespad=0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


@rc_context(_STYLE)
def bars(
    values: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    errors: ArrayLike | None = None,
    groups: Sequence[int] | None = None,
    line: float | None = None,
    ylabel: str | None = None,
    xlabel: str | None = None,
    zero: bool = True,
    title: str | None = None,
    caption: str | None = None,
) -> Figure:
    """One bar a value, or with ``zero=False`` one dot a value on an axis that need not show zero.

    Args:
        values: (n,).
        labels: one a value, below it; default: none.
        errors: (n,) half lengths of error bars.
        groups: sizes of consecutive groups, which take turns in colour.
        line: a level to compare with.
        ylabel: what is shown, and its unit.
        xlabel: what the values belong to.
        zero: whether the axis starts at zero.
        title: a line above.
        caption: what is shown, below.

    Raises:
        ValueError: not (n,) finite numbers; another number of labels; groups of another total.
    """
    heights = np.asarray(values, float)
    if heights.ndim != 1 or not len(heights) or not np.isfinite(heights).all():
        raise ValueError(f"values must be (n,) finite numbers. Received: shape {heights.shape}.")
    names = _strings(labels, len(heights), "labels")
    sizes = [len(heights)] if groups is None else list(groups)
    if sum(sizes) != len(heights):
        raise ValueError(f"groups must add up to {len(heights)} values. Received: {sizes}.")
    colors = np.repeat([PALETTE[i % 2] for i in range(len(sizes))], sizes).tolist()
    figure = Figure(figsize=(min(7.0, max(3.5, 0.32 * len(heights) + 1)), 2.2), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    where = np.arange(len(heights))
    if zero:
        axes.bar(where, heights, color=colors, width=0.75)
    else:
        axes.scatter(where, heights, c=colors, s=22, zorder=3)
    if errors is not None:
        style: dict[str, Any] = {"fmt": "none", "ecolor": _INK, "elinewidth": 0.8, "capsize": 2}
        axes.errorbar(where, heights, yerr=np.asarray(errors, float), **style)
    if line is not None:
        axes.axhline(line, color=_QUIET, lw=0.8, ls=(0, (4, 3)), zorder=0)
    if names:
        axes.set_xticks(where, [_wrap(name, 90, _SMALL, 1) for name in names])
        if max(map(len, names)) * len(names) > 75:
            axes.tick_params(axis="x", labelrotation=40)
            for text in axes.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
        for text in axes.get_xticklabels():
            text.set_parse_math(False)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.set(xlabel=xlabel or "", ylabel=ylabel or "", xlim=(-0.7, len(heights) - 0.3))
    return _page(figure, axes, title, caption)


@rc_context(_STYLE)
def reliability(
    curves: Mapping[str, Mapping[str, ArrayLike]],
    *,
    title: str | None = None,
    caption: str | None = None,
) -> Figure:
    """How often a class is right, against how sure the model was: on the diagonal if calibrated.

    Args:
        curves: by name, "confidence", "accuracy_in_bin" and "count" of each bin, (bins,).
        title: a line above.
        caption: what is shown, below.

    Raises:
        ValueError: no curves, or parts of different lengths.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve. Received: none.")
    figure = Figure(figsize=(2.8, 2.8), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.plot([0, 1], [0, 1], color=_QUIET, lw=0.8, ls=(0, (4, 3)))
    for i, (name, curve) in enumerate(curves.items()):
        x, y, count = (
            np.asarray(curve[key], float) for key in ("confidence", "accuracy_in_bin", "count")
        )
        if not len(x) == len(y) == len(count):
            raise ValueError(
                f"The parts of {name!r} must have one length. Received: {curve!r:.80}."
            )
        color = PALETTE[(0, 3, 1, 2)[i % 4]]
        size = 6 + 60 * np.sqrt(count / max(count.sum(), 1))
        axes.plot(x, y, color=color, lw=1.1, label=name, zorder=3 - i / 8)
        axes.scatter(x, y, s=size, color=color, lw=0, zorder=3 - i / 8)
    axes.legend(loc="upper left", handlelength=1.4)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    axes.set_aspect("equal")
    return _page(figure, axes, title, caption)


_CURVES = {"loss": "Loss", "reconstruction": "Reconstruction", "kl": "KL"}


@rc_context(_STYLE)
def history(
    history: Mapping[str, Sequence[float]],
    *,
    title: str | None = None,
    caption: str | None = None,
) -> Figure:
    """Loss, reconstruction and KL by epoch, training against validation.

    The last validation value (training, without validation) is written at the end of its curve.
    The limits follow the bulk of the curve; a value beyond them is named, not hidden. Epochs that
    are NaN or infinite are left out, and a curve that ends in them says so.

    Args:
        history: nats per example for each epoch under "loss", "reconstruction", "kl" and the same
            with "val_"; at least one of the first three. All of one length; NaN for an epoch
            without validation. Other keys are not drawn.
        title: a line above.
        caption: what is shown, below.

    Raises:
        ValueError: no known key, no epochs, curves of different lengths.
    """
    curves = {
        key: np.asarray(history[key], float)
        for name in _CURVES
        for key in (name, f"val_{name}")
        if key in history
    }
    panels = [name for name in _CURVES if name in curves or f"val_{name}" in curves]
    if not panels:
        raise ValueError(
            f"history must hold one of {list(_CURVES)}, or these with 'val_'. "
            f"Received: {sorted(history)}."
        )
    shapes = {key: curve.shape for key, curve in curves.items()}
    epochs = next(iter(curves.values())).size
    if set(shapes.values()) != {(epochs,)} or not epochs:
        raise ValueError(
            "history must hold one number an epoch under each key, NaN where there is none. "
            f"Received: shapes {shapes}."
        )
    figure = Figure(
        figsize=(2.45 * len(panels), 2.1), dpi=_DPI, layout=ConstrainedLayoutEngine(wspace=0.06)
    )
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _curves(axes, curves.get(name), curves.get(f"val_{name}"), epochs)
        axes.set(xlabel="epoch", title=_CURVES[name])
        axes.title.set_fontsize(_TEXT)
    figure.axes[0].set_ylabel("nats per example")
    if any(key.startswith("val_") for key in curves):
        handles = [Line2D([], [], color=color, lw=1.3, label=label) for label, color, *_ in _SERIES]
        figure.axes[0].legend(handles=handles, loc="best", handlelength=1.4)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=_TITLE).set_parse_math(False)
    if caption:
        text = _wrap(caption, figure.get_figwidth() * 72 - 12, _TEXT)
        below = figure.supxlabel(text, x=0.01, ha="left", fontsize=_TEXT, color=_QUIET)
        below.set_parse_math(False)
    return figure


_SERIES = (("training", PALETTE[8], 1.0), ("validation", PALETTE[0], 1.3))


def _curves(
    axes: Axes,
    training: NDArray[np.float64] | None,
    validation: NDArray[np.float64] | None,
    epochs: int,
) -> None:
    """Draw one panel: curves (epochs,), robust limits, the last value."""
    axis = np.arange(1, epochs + 1)
    last: tuple[float, float, str, str] | None = None
    present = []
    for curve, (_, color, width) in zip((training, validation), _SERIES, strict=True):
        if curve is None:
            continue
        good = np.isfinite(curve)
        x, y = axis[good], curve[good]
        few = "o" if len(x) <= 12 else ""
        axes.plot(x, y, color=color, lw=width, marker=few, ms=2.2, solid_capstyle="round")
        if len(x):
            present.append((x, y))
            broken = "" if curve is validation and good[-1] else _broken(curve)
            last = float(x[-1]), float(y[-1]), f"{_short(float(y[-1]))}{broken}", color
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    pad = 0.03 * (epochs - 1) or 0.5
    axes.set_xlim(1 - pad, epochs + pad)
    if last is None:
        axes.text(0.5, 0.5, "no finite value", ha="center", transform=axes.transAxes, color=_QUIET)
        axes.set_yticks([])
        return
    _limit(axes, present)
    x_last, y_last, text, color = last
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": _SMALL}
    axes.annotate(
        text, (x_last, y_last), (5, 0), va="center", annotation_clip=False, color=_INK, **style
    )


def _broken(curve: NDArray[np.float64]) -> str:
    """Say that a curve ends in values that are not finite."""
    return "" if np.isfinite(curve[-1]) else ", then not finite"


def _short(value: float) -> str:
    if abs(value) >= 1e5:
        return f"{value:.1e}"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}".replace("-", "−")


def _limit(axes: Axes, curves: list[tuple[NDArray[np.int_], NDArray[np.float64]]]) -> None:
    """Limit y to the bulk of the curves, and name the largest value that this leaves out."""
    values = np.concatenate([y for _, y in curves])
    later = np.concatenate([y[x > 1] for x, y in curves])
    low, high = float(values.min()), float(values.max())
    if later.size:
        bulk = np.quantile(later, [0.05, 0.95])
        spread = max(float(np.ptp(bulk)), 0.02 * float(np.abs(bulk).max()), 1e-6)
        floor, ceiling = bulk[0] - 3 * spread, bulk[1] + 3 * spread
        inside = values[(values >= floor) & (values <= ceiling)]
        if inside.size:
            low, high = float(inside.min()), float(inside.max())
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    axes.set_ylim(low - room, high + room)
    beyond = [(float(y.max()), int(x[y.argmax()])) for x, y in curves if y.max() > high + room]
    if beyond:
        peak, epoch = max(beyond)
        note = f"↑ {_short(peak)} at epoch {epoch}"
        axes.set_title(note, loc="right", fontsize=6, color=_QUIET)


# --- files ----------------------------------------------------------------------------------------

_FIGURES: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}
_IMAGES: dict[str, dict[str, Any]] = {
    ".png": {},
    ".webp": {"lossless": True},
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
}
_ANIMATIONS: dict[str, dict[str, Any]] = {
    ".gif": {},
    ".webp": {"lossless": True},
    ".png": {},
}


def _suffix(path: str | os.PathLike[str], supported: Mapping[str, Any]) -> str:
    """Return the suffix of ``path`` in small letters."""
    suffix = Path(path).suffix.lower()
    if suffix not in supported:
        raise ValueError(f"path must end in one of {', '.join(supported)}. Received: {str(path)!r}")
    return suffix


@contextmanager
def _atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; move it there on success, remove it on failure."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {str(path.parent)!r} of {path.name!r} does not exist.")
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(figure: Figure, path: str | os.PathLike[str], dpi: float = _DPI) -> None:
    """Write a figure; the same figure always gives the same bytes.

    Args:
        figure: any matplotlib figure.
        path: its suffix decides the format: .png, .pdf or .svg. Replaced if it exists.
        dpi: dots per inch; multiples of 160 keep image pixels square and even.

    Raises:
        ValueError: another suffix; nothing is written.
        FileNotFoundError: the folder does not exist.
    """
    suffix = _suffix(path, _FIGURES)
    with _atomic(path) as temporary, rc_context(_STYLE):
        figure.savefig(temporary, format=suffix[1:], dpi=dpi, metadata=_FIGURES[suffix])


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_image(image: ArrayLike, path: str | os.PathLike[str], scale: int = 1) -> None:
    """Write one image as it is, each pixel ``scale`` x ``scale``.

    Args:
        image: (h, w, c).
        path: its suffix decides the format: .png, .webp (lossless), .jpg or .jpeg.
        scale: whole number, 1 or more.

    Raises:
        ValueError: wrong rank or channels, scale below 1, another suffix; nothing is written.
        FileNotFoundError: the folder does not exist.
    """
    suffix = _suffix(path, _IMAGES)
    pixels = _pixels(image, "h w c", name="image")
    _at_least_one("scale", scale)
    with _atomic(path) as temporary:
        _picture(_upscale(pixels, scale)).save(temporary, **_IMAGES[suffix])


def save_tiles(
    images: ArrayLike,
    path: str | os.PathLike[str],
    *,
    columns: int | None = None,
    scale: int | None = None,
    gap: int = 2,
) -> None:
    """Write images as tiles of one picture, row by row, without axes or words.

    Args:
        images: (n, h, w, c).
        path: its suffix decides the format: .png, .webp (lossless), .jpg or .jpeg.
        columns: tiles abreast; default: near-square.
        scale: each pixel becomes ``scale`` x ``scale``; default: tiles of at least 64 pixels, and a
            picture at least 160 wide.
        gap: white pixels between tiles, not scaled.

    Raises:
        ValueError: wrong rank or channels, numbers out of range, another suffix; nothing written.
        FileNotFoundError: the folder does not exist.
    """
    suffix = _suffix(path, _IMAGES)
    pixels = _pixels(images, "n h w c")
    _at_least_one("columns", columns)
    _at_least_one("scale", scale)
    if gap < 0:
        raise ValueError(f"gap must be 0 or more. Received: {gap}.")
    n, h, w, c = pixels.shape
    columns = min(columns or _near_square(n), n)
    scale = scale or max(1, math.ceil(64 / min(h, w)), math.ceil(160 / (columns * w)))
    h, w = h * scale, w * scale
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), 255, np.uint8)
    for i, image in enumerate(pixels):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        canvas[y : y + h, x : x + w] = _upscale(image, scale)
    with _atomic(path) as temporary:
        _picture(canvas).save(temporary, **_IMAGES[suffix])


def animate(
    frames: ArrayLike,
    path: str | os.PathLike[str],
    *,
    milliseconds: int = 80,
    scale: int | None = None,
) -> None:
    """Write frames as an animation that loops for ever.

    Frames equal to the one before are stored as a longer duration.

    Args:
        frames: (n, h, w, c).
        path: its suffix decides the format: .gif, .webp (lossless) or .png (APNG).
        milliseconds: how long a frame is shown; GIF counts in steps of 10.
        scale: each pixel becomes ``scale`` x ``scale``; default: at least 160 pixels.

    Raises:
        ValueError: wrong rank or channels, numbers out of range, another suffix; nothing written.
        FileNotFoundError: the folder does not exist.
    """
    suffix = _suffix(path, _ANIMATIONS)
    pixels = _pixels(frames, "n h w c", name="frames")
    _at_least_one("milliseconds", milliseconds)
    _at_least_one("scale", scale)
    n, h, w, c = pixels.shape
    scale = scale or max(1, math.ceil(160 / max(h, w)))
    if suffix == ".gif" and c == 3:  # one palette for all frames: colours do not flicker
        stack = Image.fromarray(pixels.reshape(n * h, w, c)).quantize(dither=Image.Dither.NONE)
        palette = stack.getpalette()
        pictures = []
        for frame in _upscale(np.asarray(stack).reshape(n, h, w, 1), scale):
            picture = Image.fromarray(frame[..., 0])
            picture.putpalette(palette or [])
            pictures.append(picture)
    else:
        pictures = [_picture(frame) for frame in _upscale(pixels, scale)]
    first, *rest = pictures
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": rest,
        "duration": milliseconds,
        "loop": 0,
    }
    with _atomic(path) as temporary:
        first.save(temporary, **options, **_ANIMATIONS[suffix])


# --- terminals ------------------------------------------------------------------------------------

_SHADES = np.array(list(" ░▒▓█"))


def terminal(image: ArrayLike, *, width: int | None = None, color: bool | None = None) -> str:
    """Draw an image as text, for a dark terminal.

    A character is taken to be twice as high as wide.

    Args:
        image: (h, w, c).
        width: characters a line; default: one or more a pixel, 16 at least and 80 at most.
        color: True for half blocks in 24-bit ANSI colours, two pixels a character; otherwise the
            shades " ░▒▓█". Whether the terminal shows colours is the caller's to know.

    Returns:
        Lines of ``width`` characters (and escapes), without a newline at the end.

    Raises:
        ValueError: wrong rank or channels, width below 1.
    """
    return "\n".join(_lines(_pixels(image, "h w c", name="image"), width, color))


def terminal_row(
    images: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    width: int | None = None,
    color: bool | None = None,
    gap: int = 2,
) -> str:
    """Draw images side by side as text, for a dark terminal.

    Args:
        images: (n, h, w, c).
        labels: one an image, centred below it.
        width: characters a line of ONE image, as in :func:`terminal`.
        color: as in :func:`terminal`.
        gap: spaces between images.

    Returns:
        Lines of n * width + (n - 1) * gap characters (and escapes), without a last newline.

    Raises:
        ValueError: wrong rank or channels, width below 1, another number of labels.
    """
    pixels = _pixels(images, "n h w c")
    names = _strings(labels, len(pixels), "labels")
    pictures = [_lines(image, width, color) for image in pixels]
    lines = [(" " * gap).join(row) for row in zip(*pictures, strict=True)]
    if names:
        across = width or _characters(pixels.shape[2])
        lines.append((" " * gap).join(name[:across].center(across) for name in names))
    return "\n".join(lines)


def _characters(w: int) -> int:
    """Characters a line for an image of ``w`` pixels."""
    return min(w * max(1, math.ceil(16 / w)), 80)


def _lines(pixels: NDArray[np.uint8], width: int | None, color: bool | None) -> list[str]:
    _at_least_one("width", width)
    h, w, _ = pixels.shape
    across = width or _characters(w)
    down = max(1, round(across * h / w / 2))
    picture = _picture(pixels)
    if not color:
        grey = np.asarray(picture.convert("L").resize((across, down), Image.Resampling.BOX))
        return ["".join(row) for row in _SHADES[grey.astype(int) * len(_SHADES) // 256]]
    fine = picture.convert("RGB").resize((across, 2 * down), Image.Resampling.BOX)
    halves = np.asarray(fine).reshape(down, 2, across, 3)
    lines = []
    for top, bottom in halves:
        line, now = [], None
        for pair in zip(map(tuple, top.tolist()), map(tuple, bottom.tolist()), strict=True):
            if pair != now:
                (r, g, b), (s, t, u) = pair
                line.append(f"\x1b[38;2;{r};{g};{b};48;2;{s};{t};{u}m")
                now = pair
            line.append("▀")
        lines.append("".join(line) + "\x1b[0m")
    return lines
