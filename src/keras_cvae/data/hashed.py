"""Counter-based random numbers: binarised and moved pictures, the same bits in NumPy and in JAX."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of NumPy or JAX


def binarized(x: Array, rows: Array, key: Array, xp: Any = np) -> Array:
    """x ~ Bernoulli(x) as float32, by a counter-based generator.

    A pixel's draw is a function of the key, the row and the pixel alone, so it does not matter who
    computes it, in which order or how many at once: NumPy and JAX agree bit for bit. The
    probability is right to 2^-16, and exact for 0 and 1.

    Args:
        x: `(m, ...)`, bytes that stand for 0..1, or floats within 0..1.
        rows: Numbers of these examples in their data set, `(m,)`.
        key: Two uint32, `(2,)`.
        xp: NumPy, or what looks like it.
    """
    flat = x.reshape((x.shape[0], -1))
    width = flat.shape[1]
    rows = rows.astype(np.uint32)[:, None]
    first, second = _mixed(rows ^ key[0]), _mixed(_mixed(rows + _GOLDEN) ^ key[1])
    counter = xp.arange(-(-width // 2), dtype=np.uint32)[None] * _GOLDEN
    words = _mixed(_mixed(counter + first) ^ second)
    uniform = xp.concatenate([words & np.uint32(0xFFFF), words >> np.uint32(16)], 1)[:, :width]
    if flat.dtype == np.uint8:
        below = uniform * np.uint32(255) < flat.astype(np.uint32) << np.uint32(16)
    else:
        below = (uniform.astype(np.float32) + np.float32(0.5)) * np.float32(2**-16) < flat
    return below.astype(np.float32).reshape(x.shape)


def moved(x: Array, rows: Array, how: Array, xp: Any = np) -> Array:
    """Pictures moved by whole pixels; what leaves the frame is lost, what enters it is 0.

    Counter-based like `binarized`: where a picture goes is a function of `how` and its row alone.

    Args:
        x: `(m, height, width, channels)`.
        rows: Numbers of these pictures in their data set, `(m,)`.
        how: Four uint32: a key of two, the pixels at most along each axis, and the share of the
            pictures that are moved, times 2^16.
        xp: NumPy, or what looks like it.
    """
    reach, share = how[2], how[3]
    word = _mixed(_mixed(rows.astype(np.uint32) ^ how[1]) + how[0])
    stays, side = word >> np.uint32(16) >= share, 2 * reach + np.uint32(1)
    word = _mixed(word + _GOLDEN)
    inside = xp.ones((len(x), 1, 1, 1), bool)
    for axis, draw in ((1, word & np.uint32(0xFFFF)), (2, word >> np.uint32(16))):
        by = xp.where(stays, 0, (draw % side).astype(np.int32) - reach.astype(np.int32))
        n, others = x.shape[axis], tuple({1, 2, 3} - {axis})
        place = xp.expand_dims(xp.arange(n, dtype=np.int32) - by[:, None], others)
        inside = inside & (place >= 0) & (place < n)
        x = xp.take_along_axis(x, xp.clip(place, 0, n - 1), axis)
    return xp.where(inside, x, xp.zeros((), x.dtype))


_GOLDEN = np.uint32(0x9E3779B9)


def _mixed(h: Array) -> Array:
    """A 32-bit integer hash without measurable bias (Wellons' lowbias32)."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


def unit(x: Array) -> Array:
    """Bytes / 255 as NumPy rounds it; XLA's own division is up to one ulp off on a CPU."""
    x = x.astype(np.float32)
    return x * _HEAD + x * _TAIL


_HEAD = np.float32(0x010101 * 2**-24)  # x * _HEAD is exact for a byte x


_TAIL = np.float32(1 / 255 - 0x010101 * 2**-24)
