"""Weights as text for a page: whole numbers times a step, deflated, in 85 characters."""

import base64
import zlib
from typing import NamedTuple

import numpy as np

SAFE = str.maketrans("<", ",")  # no tag can begin in it; the page knows
STEPS = 1024  # in an array's root mean square: about what float16 has there, in 12 bits


class Packed(NamedTuple):
    """Arrays as a page has them.

    Args:
        text: All of them, for the page.
        length: Of what the text stands for, in bytes.
        sizes: How many numbers each has.
        steps: What the whole numbers of each are to be multiplied by.
        arrays: What it comes to, float32.
    """

    text: str
    length: int
    sizes: list[int]
    steps: list[float]
    arrays: list[np.ndarray]


def pack(arrays: list[np.ndarray], steps: int = STEPS) -> Packed:
    """Round arrays and write them as text.

    First bytes and second bytes of all numbers lie apart, since only the first ones repeat.

    Args:
        arrays: The arrays.
        steps: How many steps are in each array's root mean square; fewer where 16 bits are not
            enough.
    """
    found, widths = [np.zeros(0, "int16")], []
    for array in arrays:
        size = max(float(np.sqrt(np.mean(np.square(array, dtype="float64")))), 1e-30)
        step = max(size / steps, float(np.abs(array).max()) / 32767)
        widths.append(float(np.float32(step)))
        found.append(np.round(array.ravel() / widths[-1]).clip(-32767, 32767).astype("int16"))
    whole = np.concatenate(found)
    folded = ((whole.astype("int32") << 1) ^ (whole.astype("int32") >> 31)).astype("<u2")
    planes = folded.view("uint8").reshape(-1, 2).T[::-1]
    squeezed = zlib.compress(planes.tobytes(), 9)
    text = base64.b85encode(squeezed, pad=True).decode().translate(SAFE)
    kept = [
        (part * np.float32(width)).reshape(array.shape)
        for part, width, array in zip(found[1:], widths, arrays, strict=True)
    ]
    return Packed(text, len(squeezed), [array.size for array in arrays], widths, kept)
