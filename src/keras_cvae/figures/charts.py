"""Curves, bars and points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from keras_cvae.figures.style import (
    DPI,
    INK,
    MARKERS,
    PALETTE,
    QUIET,
    SMALL,
    STYLE,
    TEXT,
    TITLE,
    as_strings,
    finish_page,
    wrap,
)

NAMED = 100  # classes that are told apart by name


@rc_context(STYLE)
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
    figure = Figure(figsize=(3.5, 3.5), dpi=DPI)
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
    return finish_page(figure, axes, title, caption)


def _scatter_classes(
    axes: Axes,
    codes: NDArray[np.float64],
    groups: NDArray[np.int_],
    class_names: Sequence[Any] | str | None,
    order: NDArray[np.int_],
    dots: dict[str, Any],
) -> None:
    """Scatter (n, 2) codes by class; a legend beside the plane has up to `NAMED` classes."""
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
    marker = np.array([MARKERS[k // len(PALETTE) % len(MARKERS)] for k in range(count)])
    if count > len(PALETTE):
        dots = dots | {"s": dots["s"] * 1.6}
    for shape in dict.fromkeys(marker):
        some = order[marker[groups[order]] == shape]
        x, y = codes[some].T
        axes.scatter(x, y, c=colors[groups[some]], marker=shape, **dots)
    if count > NAMED:
        return
    handles = [
        Line2D([], [], ls="", marker=marker[k], color=colors[k], markersize=4.5, mew=0)
        for k in range(count)
    ]
    legend = axes.legend(
        handles,
        [wrap(str(name), 110, SMALL, 1) for name in names],
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        ncols=math.ceil(count / 20),
        handletextpad=0.1,
        columnspacing=0.8,
        borderaxespad=0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


@rc_context(STYLE)
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
    names = as_strings(labels, len(heights), "labels")
    sizes = [len(heights)] if groups is None else list(groups)
    if sum(sizes) != len(heights):
        raise ValueError(f"groups must add up to {len(heights)} values. Received: {sizes}.")
    colors = np.repeat([PALETTE[i % 2] for i in range(len(sizes))], sizes).tolist()
    figure = Figure(figsize=(min(7.0, max(3.5, 0.32 * len(heights) + 1)), 2.2), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    where = np.arange(len(heights))
    if zero:
        axes.bar(where, heights, color=colors, width=0.75)
    else:
        axes.scatter(where, heights, c=colors, s=22, zorder=3)
    if errors is not None:
        style: dict[str, Any] = {"fmt": "none", "ecolor": INK, "elinewidth": 0.8, "capsize": 2}
        axes.errorbar(where, heights, yerr=np.asarray(errors, float), **style)
    if line is not None:
        axes.axhline(line, color=QUIET, lw=0.8, ls=(0, (4, 3)), zorder=0)
    if names:
        axes.set_xticks(where, [wrap(name, 90, SMALL, 1) for name in names])
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
    return finish_page(figure, axes, title, caption)


@rc_context(STYLE)
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
    figure = Figure(figsize=(2.8, 2.8), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.plot([0, 1], [0, 1], color=QUIET, lw=0.8, ls=(0, (4, 3)))
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
    return finish_page(figure, axes, title, caption)


_CURVES = {"loss": "Loss", "reconstruction": "Reconstruction", "kl": "KL"}


@rc_context(STYLE)
def history(
    history: Mapping[str, Sequence[float]],
    *,
    kept: int | None = None,
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
        kept: the epoch whose weights were kept, from 1: a dotted line.
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
        figsize=(2.45 * len(panels), 2.1), dpi=DPI, layout=ConstrainedLayoutEngine(wspace=0.06)
    )
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        note = _curves(axes, curves.get(name), curves.get(f"val_{name}"), epochs)
        axes.set(xlabel=f"epoch\n{note}" if note else "epoch", title=_CURVES[name])
        axes.title.set_fontsize(TEXT)
        if kept is not None:
            axes.axvline(kept, color=QUIET, lw=0.9, ls=(0, (1, 2)), zorder=0)
    figure.axes[0].set_ylabel("nats per example")
    if any(key.startswith("val_") for key in curves):
        handles = [Line2D([], [], color=color, lw=1.3, label=label) for label, color, *_ in _SERIES]
        figure.axes[0].legend(handles=handles, loc="best", handlelength=1.4)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=TITLE).set_parse_math(False)
    if caption:
        text = wrap(caption, figure.get_figwidth() * 72 - 12, TEXT)
        below = figure.supxlabel(text, x=0.01, ha="left", fontsize=TEXT, color=QUIET)
        below.set_parse_math(False)
    return figure


_SERIES = (("training", PALETTE[8], 1.0), ("validation", PALETTE[0], 1.3))


def _curves(
    axes: Axes,
    training: NDArray[np.float64] | None,
    validation: NDArray[np.float64] | None,
    epochs: int,
) -> str:
    """Draw one panel: curves (epochs,), robust limits, the last value; return what is beyond."""
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
        axes.text(0.5, 0.5, "no finite value", ha="center", transform=axes.transAxes, color=QUIET)
        axes.set_yticks([])
        return ""
    note = _limit(axes, present)
    x_last, y_last, text, color = last
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL}
    axes.annotate(
        text, (x_last, y_last), (5, 0), va="center", annotation_clip=False, color=INK, **style
    )
    return note


def _broken(curve: NDArray[np.float64]) -> str:
    """Say that a curve ends in values that are not finite."""
    return "" if np.isfinite(curve[-1]) else ", then not finite"


def _short(value: float) -> str:
    if abs(value) >= 1e5:
        return f"{value:.1e}"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}".replace("-", "−")


def _limit(axes: Axes, curves: list[tuple[NDArray[np.int_], NDArray[np.float64]]]) -> str:
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
    if not beyond:
        return ""
    peak, epoch = max(beyond)
    return f"above: {_short(peak)} at epoch {epoch}"
