"""Whether a model that was trained is one that can draw."""

from typing import Any

import numpy as np

from keras_cvae.data.containers import Split
from keras_cvae.models.cvae import ConditionalVAE

DRAWN = 100  # conditions that are tried, at most


def not_drawn(model: ConditionalVAE, split: Split) -> str:
    """Says of which conditions draws are not finite; nothing if all are.

    Args:
        model: The model.
        split: Examples, whose conditions are tried: one of each class, or the first.
    """
    if model.condition.knows_part:  # what it draws depends on a picture, not on a class
        return ""
    y: Any = split.spread(DRAWN).y if model.condition.width else None
    if (
        y is not None
        and isinstance(split.y, np.ndarray)
        and split.y.dtype.kind in "iu"
        and split.y.ndim == 1
    ):
        y = np.unique(split.y)[:DRAWN]
    x = model.generate(seed=0) if y is None else model.generate(y, seed=0)
    wrong = ~np.isfinite(x).reshape(len(x), -1).all(axis=1)
    return f"{wrong.sum()} of {len(x)} draws are not finite" if wrong.any() else ""
