"""Signals as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from keras_cvae.figures.style import DPI, PALETTE, QUIET, SMALL, STYLE, TEXT, wrap

REAL = "#a8aeb8"
CHANNELS = 3  # that are shown


@rc_context(STYLE)
def signals(
    rows: Mapping[str, tuple[ArrayLike, ArrayLike]], *, caption: str | None = None
) -> Figure:
    """Draws of signals over real ones: a row for each condition, a column for each channel.

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
    size = (7.0, 0.95 * len(both) + 0.7)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(both), channels, squeeze=False, sharex=True, sharey="col")
    for axes_of_row, (name, (real, drawn)) in zip(grid, both.items(), strict=True):
        for channel, axes in enumerate(axes_of_row):
            style: dict[str, Any] = {"lw": 0.7, "alpha": 0.9}
            axes.plot(real[:, :, channel].T, color=REAL, **style)
            axes.plot(drawn[:, :, channel].T, color=PALETTE[0], **style)
            axes.tick_params(labelsize=5.5)
            axes.locator_params(axis="y", nbins=3)
            if channel == 0:
                axes.set_ylabel(name[:18], fontsize=SMALL, parse_math=False)
    if channels > 1:
        for channel, axes in enumerate(grid[0]):
            axes.set_title(f"channel {channel + 1}", fontsize=SMALL, color=QUIET)
    if caption:
        text = wrap(caption, size[0] * 72 - 12, TEXT)
        below = figure.supxlabel(text, x=0.01, ha="left", fontsize=TEXT, color=QUIET)
        below.set_parse_math(False)
    return figure
