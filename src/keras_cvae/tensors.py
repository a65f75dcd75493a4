"""What tensors are called in signatures, and how those of different lengths are joined."""

from collections.abc import Iterable
from typing import Any, TypeAlias

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
