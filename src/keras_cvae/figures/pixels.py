"""Images as bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_pixels(images: ArrayLike, *shapes: str, name: str = "images") -> NDArray[np.uint8]:
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


def upscale(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Repeat each pixel of (..., h, w, c) ``scale`` times in both directions."""
    return pixels.repeat(scale, -3).repeat(scale, -2)
