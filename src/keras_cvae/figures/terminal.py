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


def terminal_row(
    images: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    width: int | None = None,
    color: bool = False,
    gap: int = 2,
) -> str:
    """Draw images side by side as text, for a dark terminal.

    A character is taken to be twice as high as wide.

    Args:
        images: (n, h, w, c).
        labels: one an image, centred below it.
        width: characters a line of one image; default: one or more a pixel, 16 at least and 80 at
            most.
        color: True for half blocks in 24-bit ANSI colours, two pixels a character; False for the
            shades " ░▒▓█". Whether the terminal shows colours is the caller's to know.
        gap: spaces between images.

    Returns:
        Lines of n * width + (n - 1) * gap characters (and escapes), without a last newline.

    Raises:
        ValueError: wrong rank or channels, width below 1, another number of labels.
    """
    pixels = as_pixels(images, "n h w c")
    names = as_strings(labels, len(pixels), "labels")
    at_least_one("width", width)
    _, h, w, _ = pixels.shape
    across = width or min(w * max(1, math.ceil(16 / w)), 80)
    down = max(1, round(across * h / w / 2))
    draw = _half_blocks if color else _shades
    blocks = [draw(as_picture(image), across, down) for image in pixels]
    if names:
        blocks = [
            [*block, name[:across].center(across)]
            for block, name in zip(blocks, names, strict=True)
        ]
    return "\n".join((" " * gap).join(line) for line in zip(*blocks, strict=True))


def _shades(picture: Image.Image, across: int, down: int) -> list[str]:
    grey = np.asarray(picture.convert("L").resize((across, down), Image.Resampling.BOX))
    return ["".join(row) for row in _SHADES[grey.astype(int) * len(_SHADES) // 256]]


def _half_blocks(picture: Image.Image, across: int, down: int) -> list[str]:
    fine = picture.convert("RGB").resize((across, 2 * down), Image.Resampling.BOX)
    pairs = np.asarray(fine).reshape(down, 2, across, 3)
    return ["".join(map(_half_block, top, bottom)) + "\x1b[0m" for top, bottom in pairs]


def _half_block(top: NDArray[np.uint8], bottom: NDArray[np.uint8]) -> str:
    colors = ";".join(map(str, top)), ";".join(map(str, bottom))
    return "\x1b[38;2;{};48;2;{}m▀".format(*colors)
