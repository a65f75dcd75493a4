"""Figures, images and animations as files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from keras_cvae.figures.pixels import as_pixels, upscale
from keras_cvae.figures.sheets import near_square
from keras_cvae.figures.style import DPI, STYLE, at_least_one
from keras_cvae.files import atomic

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


def save(figure: Figure, path: str | os.PathLike[str], dpi: float = DPI) -> None:
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
    with atomic(path) as temporary, rc_context(STYLE):
        figure.savefig(temporary, format=suffix[1:], dpi=dpi, metadata=_FIGURES[suffix])


def as_picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Bytes `(h, w, c)` as a Pillow image."""
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
    pixels = as_pixels(image, "h w c", name="image")
    at_least_one("scale", scale)
    with atomic(path) as temporary:
        as_picture(upscale(pixels, scale)).save(temporary, **_IMAGES[suffix])


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
    pixels = as_pixels(images, "n h w c")
    at_least_one("columns", columns)
    at_least_one("scale", scale)
    if gap < 0:
        raise ValueError(f"gap must be 0 or more. Received: {gap}.")
    n, h, w, c = pixels.shape
    columns = min(columns or near_square(n), n)
    scale = scale or max(1, math.ceil(64 / min(h, w)), math.ceil(160 / (columns * w)))
    h, w = h * scale, w * scale
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), 255, np.uint8)
    for i, image in enumerate(pixels):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        canvas[y : y + h, x : x + w] = upscale(image, scale)
    with atomic(path) as temporary:
        as_picture(canvas).save(temporary, **_IMAGES[suffix])


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
    pixels = as_pixels(frames, "n h w c", name="frames")
    at_least_one("milliseconds", milliseconds)
    at_least_one("scale", scale)
    n, h, w, c = pixels.shape
    scale = scale or max(1, math.ceil(160 / max(h, w)))
    if suffix == ".gif" and c == 3:  # one palette for all frames: colours do not flicker
        stack = Image.fromarray(pixels.reshape(n * h, w, c)).quantize(dither=Image.Dither.NONE)
        palette = stack.getpalette()
        pictures = []
        for frame in upscale(np.asarray(stack).reshape(n, h, w, 1), scale):
            picture = Image.fromarray(frame[..., 0])
            picture.putpalette(palette or [])
            pictures.append(picture)
    else:
        pictures = [as_picture(frame) for frame in upscale(pixels, scale)]
    first, *rest = pictures
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": rest,
        "duration": milliseconds,
        "loop": 0,
    }
    with atomic(path) as temporary:
        first.save(temporary, **options, **_ANIMATIONS[suffix])
