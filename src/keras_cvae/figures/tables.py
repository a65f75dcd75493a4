"""Real and synthetic tables over each other: marginals, and how columns depend on each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_cvae.figures.style import DPI, INK, PALETTE, QUIET, SMALL, STYLE, TEXT, wrap

REAL, SYNTHETIC = "#c9ced6", PALETTE[0]
BARS = 10  # categories that are shown, the most frequent


@rc_context(STYLE)
def marginals(
    real: Mapping[str, ArrayLike],
    synthetic: Mapping[str, ArrayLike],
    scores: Mapping[str, float],
    *,
    columns: int = 4,
    written: Mapping[str, Callable[[float], str]] | None = None,
    drawn: str = "synthetic",
    caption: str | None = None,
) -> Figure:
    """Every column's values, real filled and synthetic as a line, in the order of `scores`.

    Args:
        real: Column -> its values: floats (NaN where missing), or text.
        synthetic: The same columns.
        scores: Column -> how alike the two are, 1 at best; written above it.
        columns: Plots in a row.
        written: Column -> what stands at the axis for a number, such as a date.
        drawn: What the synthetic ones are called.
        caption: What is shown, below.
    """
    rows = math.ceil(len(scores) / columns)
    figure = Figure(figsize=(7.0, 1.35 * rows + 0.3), dpi=DPI, layout="constrained")
    for i, (name, score) in enumerate(scores.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        values = [np.asarray(table[name]) for table in (real, synthetic)]
        if values[0].dtype.kind == "f":
            _numbers(axes, values[0], values[1], (written or {}).get(name))
        else:
            _words(axes, *values)
        axes.set_title(f"{_short(name)}  {score:.3f}", fontsize=SMALL, color=INK, parse_math=False)
        axes.set_yticks([])
        axes.tick_params(labelsize=5.5)
        axes.spines["left"].set_visible(False)
    if figure.axes:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        known = dict(zip(labels, handles, strict=True))
        lines = [known[name] for name in ("real", "synthetic")]
        figure.legend(lines, ["real", drawn], loc="outside upper right", ncols=2)
    _caption(figure, caption)
    return figure


def _caption(figure: Figure, caption: str | None) -> None:
    if caption:
        text = wrap(caption, figure.get_figwidth() * 72 - 12, TEXT)
        below = figure.supxlabel(text, x=0.01, ha="left", fontsize=TEXT, color=QUIET)
        below.set_parse_math(False)


def _numbers(
    axes: Axes,
    real: NDArray[Any],
    synthetic: NDArray[Any],
    written: Callable[[float], str] | None = None,
) -> None:
    present = real[~np.isnan(real)]
    low, high = np.quantile(present, [0.005, 0.995]) if len(present) else (0.0, 1.0)
    distinct = np.unique(present[(present >= low) & (present <= high)])
    if _between(synthetic, distinct):
        edges = _around(low, high, synthetic[~np.isnan(synthetic)])
    elif len(distinct) <= 40 and len(distinct) > 1:
        edges = np.append(distinct, 2 * distinct[-1] - distinct[-2])
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, 41)
        if np.all(distinct % 1 == 0) and high > low:  # as many whole numbers in each
            edges = np.arange(low, high + 41, math.ceil((high - low + 1) / 40))[:41] - 0.5
            edges = edges[: np.searchsorted(edges, high) + 1]
    edges = edges.astype(float)
    shares = [np.histogram(x, edges)[0] / max(len(x), 1) for x in (real, synthetic)]
    axes.stairs(shares[0], edges, fill=True, color=REAL, label="real")
    axes.stairs(shares[1], edges, color=SYNTHETIC, linewidth=1.0, label="synthetic")
    axes.set_ylim(0, max(map(np.max, shares)) * 1.05 or 1.0)
    if written is None:
        axes.locator_params(axis="x", nbins=4)
        return
    ticks = np.linspace(low, high, 2)
    axes.set_xticks(ticks, [written(tick) for tick in ticks])


def _between(synthetic: NDArray[Any], distinct: NDArray[Any]) -> bool:
    """Whether real values are few and synthetic ones lie between them, as those of a density do."""
    drawn = synthetic[~np.isnan(synthetic)]
    whole = not (distinct % 1).any() and not (drawn % 1).any()
    if whole or not 0 < len(distinct) <= 40:
        return False
    if len(distinct) > 1:
        drawn = drawn[(drawn > distinct[0]) & (drawn < distinct[-1])]
    away = np.abs(drawn[:, None] - distinct).min(axis=1)
    return bool((away > 1e-6 * np.abs(distinct).max()).any())


def _around(low: float, high: float, drawn: NDArray[Any]) -> NDArray[Any]:
    """Edges of bins from `low` to `high`, each in the middle of one, and on to what was drawn."""
    least, most = np.quantile(drawn, [0.005, 0.995])
    step = (high - low or max(low - least, most - low) or 1.0) / 40
    below, above = (
        int(np.clip(np.ceil(away / step), 0, 40)) for away in (low - least, most - high)
    )
    inside = round((high - low) / step)
    return low + step * (np.arange(-below, inside + above + 2) - 0.5)


def _words(axes: Axes, real: NDArray[Any], synthetic: NDArray[Any]) -> None:
    names, counts = np.unique(real.astype(str), return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:BARS]
    place = np.arange(len(names))
    shares = [[np.mean(x.astype(str) == name) for name in names] for x in (real, synthetic)]
    axes.bar(place, shares[0], 0.9, color=REAL, label="real")
    axes.step(
        np.append(place - 0.45, place[-1] + 0.45),
        np.append(shares[1], shares[1][-1]),
        where="post",
        color=SYNTHETIC,
        linewidth=1.0,
        label="synthetic",
    )
    axes.set_xticks(place, [_middle(name, 16) for name in names], rotation=60, ha="right")


@rc_context(STYLE)
def dependence(
    names: Sequence[str],
    real: ArrayLike,
    synthetic: ArrayLike,
    *,
    drawn: str = "synthetic",
    measure: str = "|correlation| or Cramér's V",
) -> Figure:
    """How strongly each pair of columns depends on each other, real beside synthetic.

    Args:
        names: The columns.
        real: |correlation| or Cramer's V of each pair, `(n, n)`.
        synthetic: The same of synthetic rows.
        drawn: What the synthetic ones are called.
        measure: What is shown, at the scales.
    """
    tables = [np.asarray(real, float), np.asarray(synthetic, float)]
    tables.append(tables[1] - tables[0])
    n = len(names)
    side = min(7.0 / 3, 0.6 + 0.11 * n)
    figure = Figure(figsize=(7.0, side + 1.1), dpi=DPI, layout="constrained")
    for i, (table, title) in enumerate(
        zip(tables, ("real", drawn, f"{drawn} − real"), strict=True)
    ):
        axes = figure.add_subplot(1, 3, i + 1)
        shown = np.where(np.eye(n, dtype=bool), np.nan, table)
        how = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.0}
        if i == 2:
            how = {"cmap": "RdBu_r", "vmin": -0.2, "vmax": 0.2}
        image = axes.imshow(shown, **how)  # type: ignore[arg-type]
        place: dict[str, Any] = {"orientation": "horizontal", "shrink": 0.8, "pad": 0.02}
        beyond = "both" if i == 2 and np.nanmax(np.abs(shown), initial=0.0) > 0.2 else "neither"
        bar = figure.colorbar(image, ax=axes, extend=beyond, **place)
        bar.set_label("difference" if i == 2 else measure, fontsize=SMALL)
        bar.ax.tick_params(labelsize=5.5)
        axes.set_title(title, fontsize=SMALL, color=QUIET)
        size = float(np.clip(90 / max(n, 1), 2.5, 5.5))
        axes.set_xticks(range(n), [_short(name) for name in names], rotation=90, fontsize=size)
        labels = [_short(name) for name in names] if i == 0 else [""] * n
        axes.set_yticks(range(n), labels, fontsize=size)
    return figure


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _middle(name: str, most: int) -> str:
    """A name of a category without its middle: both ends tell it from others."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
