"""Whether a model that was trained is one that can draw."""

import math
from typing import Any

import numpy as np

from keras_cvae.data.containers import Split
from keras_cvae.models.cvae import ConditionalVAE

DRAWN = 100  # conditions that are tried, at most
WORSE, TIMES = 100.0, 10.0  # nats for each number of x and z, and times the untrained loss


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


def exploded(model: ConditionalVAE, loss: float, untrained: float | None) -> str:
    """Says that a loss is far above that of the untrained model; nothing if it is not.

    It may be above it by 100 nats for each number of x and z, a difference of log-densities, which
    no unit of x changes; and by ten times that loss, for likelihoods that are far off by nature,
    such as a normal with a tiny fixed scale, or Poisson counts of a million.

    Args:
        model: The model.
        loss: Of an epoch, or of a part of it, in nats.
        untrained: The loss before anything was learned, if it is known.
    """
    if untrained is None:
        return ""
    most = WORSE * (math.prod(model.x_shape) + model.latent_dim) + TIMES * abs(untrained)
    if loss - untrained <= most:
        return ""
    return f"the loss is {loss:.3g} nats, and was {untrained:.3g} before anything was learned"
