"""Signals as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from keras_cvae.figures.style import DPI, PALETTE, QUIET, SMALL, STYLE, TEXT, wrap

REAL = "#a8aeb8"
CHANNELS = 3  # that are shown


@rc_context(STYLE)
def signals(
    rows: Mapping[str, tuple[ArrayLike, ArrayLike]], *, caption: str | None = None
) -> Figure:
    """Draws of signals and real ones: a row for each condition, a column for each channel.

    Of one channel the two stand side by side; of several, draws lie over real ones, which are grey.

    Args:
        rows: Name of the condition -> real signals `(m, length, channels)` (grey), and draws
            `(n, length, channels)`.
        caption: What is shown, below.

    Raises:
        ValueError: No rows, or arrays of other ranks.
    """
    both = {name: [np.asarray(one, float) for one in pair] for name, pair in rows.items()}
    ranks = {one.ndim for pair in both.values() for one in pair}
    if ranks != {3}:
        raise ValueError(
            f"rows must hold pairs of arrays (n, length, channels). Received: {len(both)} rows, "
            f"arrays of {sorted(ranks)} axes."
        )
    channels = min(CHANNELS, next(iter(both.values()))[1].shape[2])
    # Of one channel real ones and draws side by side; of several one over the other.
    beside = channels == 1 and any(len(real) for real, _ in both.values())
    columns = 2 if beside else channels
    size = (7.0, 0.95 * len(both) + 0.8)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    sharey: Any = "row" if beside else "col"
    grid = figure.subplots(len(both), columns, squeeze=False, sharex=True, sharey=sharey)
    titles = ["real", "draws"] if beside else [f"channel {i + 1}" for i in range(channels)]
    for i, (name, (real, drawn)) in enumerate(both.items()):
        for column, axes in enumerate(grid[i]):
            channel = 0 if beside else column
            if not beside or column == 0:
                _lines(axes, real[:, :, channel], REAL if not beside else QUIET)
            if not beside or column == 1:
                _lines(axes, drawn[:, :, channel], PALETTE[0])
            axes.tick_params(labelsize=5.5)
            axes.locator_params(axis="y", nbins=3)
            axes.margins(x=0)
            if column == 0:
                axes.set_ylabel(name[:18], fontsize=SMALL, parse_math=False)
            if i == 0 and columns > 1:
                axes.set_title(titles[column], fontsize=SMALL, color=QUIET)
            if i == len(both) - 1:
                axes.set_xlabel("step", fontsize=SMALL)
    if caption:
        text = wrap(caption, size[0] * 72 - 12, TEXT)
        below = figure.supxlabel(text, x=0.01, ha="left", fontsize=TEXT, color=QUIET)
        below.set_parse_math(False)
    return figure


def _lines(axes: Axes, values: NDArray[np.float64], color: str) -> None:
    axes.plot(values.T, color=color, lw=0.7, alpha=0.9)
