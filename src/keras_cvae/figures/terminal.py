"""Images in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from keras_cvae.figures.pixels import as_pixels
from keras_cvae.figures.style import as_strings, at_least_one
from keras_cvae.figures.writing import as_picture

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
    return "\n".join(_lines(as_pixels(image, "h w c", name="image"), width, color))


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
    pixels = as_pixels(images, "n h w c")
    names = as_strings(labels, len(pixels), "labels")
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
    at_least_one("width", width)
    h, w, _ = pixels.shape
    across = width or _characters(w)
    down = max(1, round(across * h / w / 2))
    picture = as_picture(pixels)
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
