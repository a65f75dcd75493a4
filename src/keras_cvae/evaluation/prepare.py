"""Data and draws as the figures take them."""

from typing import Literal

import numpy as np

from keras_cvae import masks
from keras_cvae.data.batches import Batches, CompletionBatches
from keras_cvae.data.containers import Split
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.trees import take


def prepared(model, split: Split, binarize: Literal["none", "dynamic"] = "none") -> np.ndarray:
    """x as the likelihood expects it, `(n, *x_shape)` float32; binarised by one fixed draw."""
    batches = Batches(split, 1000, binarize=binarize)
    x = np.concatenate([batches[i][0] for i in range(len(batches))])
    if isinstance(model.likelihood, CategoricalValues) and is_image(model):
        low, high = model.likelihood.low, model.likelihood.high
        return low + x * (high - low)
    return x


def known_part(
    model, split: Split, binarize: Literal["none", "dynamic"] = "none"
) -> tuple[np.ndarray, np.ndarray]:
    """x, and the part of it that is known to a model that completes; random parts by one draw."""
    fixed = model.condition.fixed
    mask = masks.RANDOM if fixed is None else fixed
    batches = CompletionBatches(split, 1000, mask, binarize=binarize)
    x, y = zip(*(batches[i] for i in range(len(batches))), strict=True)
    return np.concatenate(x), np.concatenate(y)


def drawn(model, y, n: int, seed: int, output: str = "mean", guidance: float = 1.0) -> np.ndarray:
    """n draws, one for each condition if there are any; images as uint8, 0..255.

    Args:
        model: A `ConditionalVAE`.
        y: Conditions `(n, ...)` or None.
        n: How many.
        seed: Of the draws.
        output: "mean" or "sample".
        guidance: As in `ConditionalVAE.generate`.
    """
    image, parts = is_image(model), []
    for start in range(0, n, 5000):
        stop = min(start + 5000, n)
        count = stop - start if y is None else 1
        some = take(y, slice(start, stop))
        x = model.generate(some, count, seed=seed + start, output=output, guidance=guidance)
        parts.append(_as_uint8(model, x) if image else x)
    return np.concatenate(parts)


def _as_uint8(model, x: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(brightness(model, x), 0, 1) * 255).astype("uint8")


def brightness(model, x: np.ndarray) -> np.ndarray:
    """Undo `prepared`'s scale: images in 0..1, whatever values the likelihood counts in."""
    low = getattr(model.likelihood, "low", 0.0)
    return (x - low) / (getattr(model.likelihood, "high", 1.0) - low)


def is_continuous(model) -> bool:
    """Whether p(x | z, y) is a density, not a probability."""
    return not (model.likelihood.discrete or isinstance(model.likelihood, Bernoulli))


def is_image(model) -> bool:
    """Whether x has the rank of a picture."""
    return len(model.x_shape) == 3
