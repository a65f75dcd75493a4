"""Which part of a picture is known: masks by name, arrays, random ones; pictures with holes.

A mask is True where x is known. A picture with holes is x with NaN where it is unknown: it says
both what is known and where, and is what a `KnownPart` condition takes as y.
"""

from typing import Any

import numpy as np

from keras_cvae.columns import as_array
from keras_cvae.errors import listed, nearest

RANDOM = "random"


_QUADRANTS = {  # name -> (lower half, right half)
    "top-left": (0, 0),
    "top-right": (0, 1),
    "bottom-left": (1, 0),
    "bottom-right": (1, 1),
}


_KNOWN: dict[str, tuple[str, ...]] = {name: (name,) for name in _QUADRANTS}


_KNOWN |= {
    half: tuple(q for q in _QUADRANTS if half in q.split("-"))
    for half in ("top", "bottom", "left", "right")
}


_KNOWN |= {f"all-but-{name}": tuple(q for q in _QUADRANTS if q != name) for name in _QUADRANTS}


NAMES = tuple(_KNOWN)


PROTOCOL = {1: "bottom-left", 2: "left", 3: "all-but-bottom-right"}  # Pyro's 1, 2, 3 quadrants


def check_name(name: str) -> str:
    """The name of a mask as it stands in `NAMES`; spaces and capitals do not matter.

    1, 2 and 3 are those of `PROTOCOL`.

    Raises:
        ValueError: There is no such mask.
    """
    if name in map(str, PROTOCOL):
        return PROTOCOL[int(name)]
    wanted = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    if wanted not in NAMES:
        raise ValueError(
            f"Unknown mask {name!r}. Known are {listed(NAMES, 20)}.{nearest(wanted, NAMES)}"
        )
    return wanted


def known(mask: Any, x_shape: tuple[int, ...]) -> np.ndarray:
    """True where x is known, of `x_shape` or, for a mask each, `(n, *x_shape)`.

    Args:
        mask: A name from `NAMES`; or an array of booleans (or zeros and ones), `x_shape` or
            `(height, width)` for one mask, either with `(n, ...)` before it for many.
        x_shape: Shape of one example.

    Raises:
        ValueError: An unknown name, a name where x is no picture, another shape, other values.
    """
    if isinstance(mask, str):
        if len(x_shape) != 3:
            raise ValueError(
                f"The mask {mask!r} is a part of a picture; x has the shape {x_shape}. Expected an "
                "array of booleans of that shape."
            )
        return _named(check_name(mask), x_shape)
    mask = np.asarray(mask)
    mask = np.array(mask.tolist()) if mask.dtype.kind == "O" else mask
    if mask.dtype != bool:
        numbers = mask.dtype.kind in "iuf"
        if not numbers or not np.isin(mask, (0, 1)).all():
            picture = numbers and mask.max() > 1
            hint = " Of a picture that is white where x is known: mask > 128." if picture else ""
            raise ValueError(
                "mask: received values other than 0 and 1. Expected True (or 1) where x is known "
                f"and False (or 0) where it is not.{hint}"
            )
        mask = mask.astype(bool)
    plane = x_shape[:-1] if len(x_shape) == 3 else None
    if plane is not None and mask.shape[-2:] == plane and mask.shape[-3:] != x_shape:
        mask = mask[..., None]
    if mask.ndim - len(x_shape) in (0, 1):
        lead = mask.shape[: mask.ndim - len(x_shape)]
        if all(m in (1, s) for m, s in zip(mask.shape[len(lead) :], x_shape, strict=True)):
            return np.broadcast_to(mask, (*lead, *x_shape))
    raise ValueError(
        f"mask has the shape {mask.shape}. Expected {x_shape}"
        f"{f' or {plane}' if plane else ''}, or one such mask for each example."
    )


def _named(name: str, x_shape: tuple[int, ...]) -> np.ndarray:
    height, width, _ = x_shape
    mask = np.zeros(x_shape, bool)
    for quadrant in _KNOWN[name]:
        lower, right = _QUADRANTS[quadrant]
        rows = slice(height // 2, None) if lower else slice(height // 2)
        columns = slice(width // 2, None) if right else slice(width // 2)
        mask[rows, columns] = True
    return mask


def random(n: int, x_shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Masks for training on any part, `(n, *x_shape)`: a third each of three kinds.

    - a rectangle is known, or unknown, with corners anywhere;
    - some of the quadrants are known;
    - single values are known, each with a probability that is drawn for the mask.

    For vectors all masks are of the last kind. All channels of a pixel are known, or none.
    """
    plane = x_shape[:-1] if len(x_shape) == 3 else x_shape
    single = rng.random((n, *plane)) < rng.random((n, *[1] * len(plane)))
    if len(x_shape) != 3:
        return single
    height, width = plane

    def between(size: int) -> np.ndarray:  # (n, size): two cuts, True in between
        cuts = np.sort(rng.integers(0, size + 1, (n, 2)), axis=1)
        place = np.arange(size)
        return (place >= cuts[:, :1]) & (place < cuts[:, 1:])

    rectangle = between(height)[:, :, None] & between(width)[:, None, :]
    rectangle ^= rng.random((n, 1, 1)) < 0.5
    chosen = rng.random((n, 2, 2)) < 0.5
    lower, right = (np.arange(size) >= size // 2 for size in plane)
    quadrants = chosen[:, lower.astype(int)][:, :, right.astype(int)]
    kind = rng.integers(0, 3, (n, 1, 1))
    mask = np.select([kind == 0, kind == 1], [rectangle, quadrants], single)
    return np.broadcast_to(mask[..., None], (n, *x_shape))


def bare(x: Any) -> np.ndarray:
    """x as an array, with NaN where a NumPy mask of its own hides it."""
    return np.ma.filled(x.astype("float32"), np.nan) if np.ma.is_masked(x) else as_array(x, "x")


def holes(x: Any, mask: Any, x_shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Pictures with holes: x with NaN where `mask` says that it is unknown, `(n, *x_shape)`.

    Args:
        x: `(n, *x_shape)`.
        mask: As in `known`.
        x_shape: Shape of one example; that of x by default.

    Raises:
        ValueError: A mask that does not fit x.
    """
    x = bare(x).astype("float32", copy=False)
    mask = known(mask, x.shape[1:] if x_shape is None else x_shape)
    if mask.ndim == x.ndim and len(mask) not in (1, len(x)):
        raise ValueError(
            f"Received {len(mask)} masks for {len(x)} examples. Expected one, or one for each."
        )
    return np.where(mask, x, np.float32(np.nan))
