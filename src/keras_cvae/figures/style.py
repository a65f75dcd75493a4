"""Colours, sizes, captions: what all figures share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

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


MARKERS = "os^Dv*P<X>"  # past ten classes, the shape tells apart what the colour repeats


DPI = 160  # dots per inch at which one image pixel is a whole number of dots


PAGE = 1120  # dots of a page's text width: 7 inches


INK, QUIET = "#222222", "#5a5a5a"


SMALL, TEXT, TITLE = 7.0, 8.0, 9.5  # points


# Fonts with letters that the first one lacks, of which those count that are installed.
FONTS = ["DejaVu Sans"]
FONTS += sorted(
    {
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Source Han Sans SC",
        "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei",
        "PingFang SC",
        "Hiragino Sans GB",
        "Microsoft YaHei",
        "Malgun Gothic",
        "Arial Unicode MS",
    }.intersection(get_font_names())
)


STYLE: Any = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "font.family": FONTS,
    "font.size": TEXT,
    "text.color": INK,
    "text.usetex": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": TITLE,
    "axes.titlelocation": "left",
    "axes.grid": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "svg.hashsalt": "keras-cvae",
}


def as_strings(labels: Sequence[Any] | None, count: int, name: str) -> list[str]:
    """Return ``count`` labels as text; none at all for None."""
    if labels is None:
        return []
    if isinstance(labels, str) or len(labels) != count:
        raise ValueError(
            f"{name} must be a sequence of {count} labels. "
            f"Received: {labels!r:.80} of length {len(labels)}."
        )
    return ["" if label is None else str(label) for label in labels]


def at_least_one(name: str, value: int | None) -> None:
    """Refuse a number that is not whole, or below 1."""
    if value is not None and (int(value) != value or value < 1):
        raise ValueError(f"{name} must be a whole number, 1 or more. Received: {value!r}.")


def text_points(text: str, size: float) -> float:
    """Width in points of one line of text."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width)


def wrap(text: str, width: float, size: float, lines: int | None = None) -> str:
    """Break ``text`` into lines of at most ``width`` points; what does not fit ends in '…'."""
    rows: list[str] = []
    for paragraph in text.split("\n"):
        row = ""
        for word in re.split(r"(?<=[\s_/-])", paragraph):
            if row and text_points((row + word).rstrip(), size) > width:
                rows.append(row.rstrip())
                row = ""
            row += word
        rows.append(row.rstrip())
    if lines is not None and len(rows) > lines:
        rows = [*rows[: lines - 1], rows[lines - 1] + "…"]
    for i, row in enumerate(rows):
        while len(row) > 1 and text_points(row, size) > width:
            row = row.rstrip("…")[:-1] + "…"
        rows[i] = row
    return "\n".join(rows)


def finish_page(figure: Figure, axes: Axes, title: str | None, caption: str | None) -> Figure:
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
            wrap(text, max(page.width * 72 / dpi, 200.0), size),
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
        write(title, page.y1 + 5 * dpi / 72, TITLE, va="bottom")
    if caption:
        write(caption, page.y0 - 6 * dpi / 72, TEXT, va="top", color=QUIET)
    page = outer()
    margin = math.ceil(4 * dpi / 72)
    x0, y0 = math.floor(page.x0) - margin, math.floor(page.y0) - margin
    wide, high = math.ceil(page.x1) + margin - x0, math.ceil(page.y1) + margin - y0
    figure.set_size_inches(wide / dpi, high / dpi)
    axes.set_position((-x0 / wide, -y0 / high, inner.width / wide, inner.height / high))
    return figure


def ascending(values: ArrayLike, count: int, name: str) -> NDArray[np.float64]:
    """Check that values are `count` rising numbers."""
    array = np.asarray(values, float)
    if array.shape != (count,) or not (np.diff(array) > 0).all():
        raise ValueError(
            f"{name} must be {count} ascending numbers, one for each of the images' rows or "
            f"columns. Received: {array.tolist()!r:.80} of shape {array.shape}."
        )
    return array
