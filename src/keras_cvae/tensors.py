"""What tensors are called in signatures, how those of different lengths are joined, and what all
rows of a batch have in common where this device computes some of them."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import keras
from keras import ops

# Of whichever backend runs, symbolic or not: no type that mypy knows covers them.
Tensor: TypeAlias = Any


def first(features: Tensor | None, width: int) -> Tensor | None:
    """Return the first `width` of features `(..., width or more)`; None if there are none."""
    if features is None or not width:
        return None
    return features if features.shape[-1] == width else features[..., :width]


def concatenate(parts: Iterable[Tensor | None]) -> Tensor:
    """Join `(..., batch, n)` tensors on the last axis; None is skipped, leading axes broadcast."""
    tensors = [ops.convert_to_tensor(part) for part in parts if part is not None]
    if len(tensors) == 1:
        return tensors[0]
    longest = max(tensors, key=lambda part: len(part.shape))
    lead = ops.shape(longest)[:-1]
    dtype = keras.backend.result_type(*(part.dtype for part in tensors))
    joined = [
        ops.broadcast_to(ops.cast(part, dtype), (*lead, part.shape[-1]))
        if len(part.shape) < len(longest.shape)
        else ops.cast(part, dtype)
        for part in tensors
    ]
    return ops.concatenate(joined, axis=-1)


class Part(Protocol):
    """Some rows of a batch, the others of which other devices compute at the same time."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the devices of what each has."""

    def own(self, draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int], axis: int) -> Any:
        """Of what is drawn for the whole batch, what belongs to the rows of this device."""


PART: ContextVar[Part | None] = ContextVar("PART", default=None)  # set while a step is traced


def over_devices(value: Tensor) -> Tensor:
    """Average what was computed from some rows of a batch over all devices that share the batch.

    Each has as many rows, so that a mean over them becomes the mean over the batch. A device that
    has all rows has that already, and gets it back.
    """
    part = PART.get()
    return value if part is None else part.mean(value)


def drawn_rows(
    draw: Callable[[Sequence[int]], Tensor], shape: Sequence[Any], axis: int = 0
) -> Tensor:
    """Draw random numbers for the rows of a batch: the same whatever device computes a row.

    Args:
        draw: Draws an array of a shape.
        shape: That of the rows which are computed here.
        axis: Which of its axes goes along the rows.
    """
    part = PART.get()
    return draw(shape) if part is None else part.own(draw, shape, axis)
