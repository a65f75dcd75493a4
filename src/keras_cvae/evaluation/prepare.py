"""Data and draws as the metrics take them."""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from keras_cvae import masks
from keras_cvae.data.batches import Batches, CompletionBatches
from keras_cvae.data.containers import Data, Split, shortened
from keras_cvae.data.images import ImageFiles
from keras_cvae.errors import DataError
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli
from keras_cvae.probability.likelihoods.counts import Counts
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.trees import take

Binarize = Literal["none", "dynamic"]
LARGE = 2**28  # bytes that are held of examples in files
PART = 1024  # examples that are read together


def tested(data: Data) -> tuple[Split, str]:
    """The split that a model is measured on, and its name: test, or validation without a test."""
    if data.test is not None:
        return data.test, "test"
    if not len(data.validation):
        raise DataError(
            "The model was trained on all examples (--validation 0), so none are left to measure "
            "it on. Expected other data."
        )
    return data.validation, "validation"


def check_fits(model: Any, data: Data) -> None:
    """Refuse data that are not of a model's kind.

    Raises:
        DataError: Saying what the model knows and what came.
    """
    if tuple(data.x_shape) != tuple(model.x_shape):
        theirs, ours = ("x".join(map(str, s)) for s in (data.x_shape, model.x_shape))
        raise DataError(
            f"One example of '{data.name}' is {theirs}; the model knows examples of {ours}. "
            "Expected data like those that it was trained on."
        )
    classes = model.condition.spec.classes
    if classes is None or not model.condition.width:
        return
    if isinstance(data.train.y, dict) or data.train.y is None:
        came = "no classes" if data.train.y is None else "named conditions"
        raise DataError(
            f"The model draws classes ({shortened(classes.names)}); '{data.name}' has {came}."
        )
    if data.class_names is not None and tuple(data.class_names) != tuple(classes.names):
        raise DataError(
            f"The classes of '{data.name}' are {shortened(data.class_names)}; the model knows "
            f"{shortened(classes.names)}. Expected the same."
        )


def varying(train: Split) -> np.ndarray:
    """Find which values of x are not the same in all training examples, `(*x_shape)` booleans.

    A measure that divides by how much a value varies cannot take the others: the rounding of a draw
    would outweigh all else. All of a picture's count as varying, as nothing divides by theirs.
    """
    x = train.x
    if isinstance(x, ImageFiles) or x.ndim > 3 or not len(x):
        return np.ones(x.shape[1:], bool)
    return np.asarray((x != x[:1]).any(axis=0))


def without(x: Any, varies: np.ndarray) -> Any:
    """Put 0 in place of values of x that do not vary, `(*x_shape)`, which no measure then sees."""
    return x if varies.all() else np.where(varies, x, 0).astype(x.dtype)


class Streamed:
    """x as the likelihood expects it, of pictures in files: looks like an array `(n, *x_shape)`.

    Rows are read when they are asked for; a part that was read is at hand for the next ones.

    Args:
        batches: Of `PART` examples.
        changed: What is made of them.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, batches: Batches, changed: Callable[[np.ndarray], np.ndarray]):
        self.batches, self.changed = batches, changed
        self.shape = (len(batches.split), *batches.split.x.shape[1:])
        self._part: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """`(m, *x_shape)` float32 of a slice, a mask, or numbers of rows."""
        rows = np.arange(len(self))[rows]
        parts, found = rows // PART, np.empty((len(rows), *self.shape[1:]), self.dtype)
        for part in np.unique(parts):
            if self._part is None or self._part[0] != part:
                self._part = part, self.changed(self.batches[int(part)][0])
            here = parts == part
            found[here] = self._part[1][rows[here] - part * PART]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def in_parts(x: Any) -> Iterator[np.ndarray]:
    """Arrays as they are; what is in files part by part."""
    starts = range(0, len(x), PART)
    return (x[start : start + PART] for start in starts) if isinstance(x, Streamed) else iter([x])


def at_most(x: Any, count: int, held: int = 4) -> int:
    """Bound how many examples are held at once: of pictures in files no more than `LARGE`.

    Args:
        x: Examples.
        count: How many are wanted.
        held: Bytes that are held for each of their values.
    """
    if not isinstance(x, ImageFiles | Streamed):
        return count
    return max(1, min(count, LARGE // (held * math.prod(x.shape[1:]))))


def digest(x: Any) -> str:
    """A short name of examples, the same for the same."""
    about = hashlib.sha256()
    for part in in_parts(x):
        about.update(np.ascontiguousarray(part, "float32").tobytes())
    return about.hexdigest()[:16]


def judged_as(model: Any) -> str:
    """What x are to whatever judges them: "pictures", "signals" or "vectors"."""
    return {1: "vectors", 2: "signals"}.get(len(model.x_shape), "pictures")


def coding(model: Any) -> str:
    """What a likelihood is of: "binary" values, "counts", "levels", or a "density"."""
    if is_binary(model):
        return "binary"
    if isinstance(model.likelihood, Counts):
        return "counts"
    return "levels" if model.likelihood.discrete else "density"


def examples(model: Any, split: Split, binarize: Binarize = "none") -> tuple[Any, Any]:
    """x as the likelihood expects it, `(n, *x_shape)` float32, and its condition.

    The condition is the known part of x for a model that completes (random parts are one fixed
    draw), None for a model without a condition, and the split's for all others. Of more pictures in
    files than `LARGE` x is `Streamed`, but for a model that completes.

    Args:
        model: A `ConditionalVAE`.
        split: The examples.
        binarize: "dynamic": x ~ Bernoulli(pixel), one fixed draw. "none": x as it is.
    """
    if model.condition.knows_part:
        fixed = model.condition.spec.fixed
        mask = masks.RANDOM if fixed is None else fixed
        completing = CompletionBatches(split, 1000, mask, binarize=binarize)
        x, y = zip(*(completing[i] for i in range(len(completing))), strict=True)
        return np.concatenate(x), np.concatenate(y)
    batches = Batches(split, PART, binarize=binarize)

    def changed(x: np.ndarray) -> np.ndarray:
        if isinstance(model.likelihood, CategoricalValues) and is_image(model):
            low, high = model.likelihood.low, model.likelihood.high
            return low + x * (high - low)
        return x

    y = split.y if model.condition.width else None
    if len(split) > at_most(split.x, len(split)):
        return Streamed(batches, changed), y
    return changed(np.concatenate([batches[i][0] for i in range(len(batches))])), y


def drawn(
    model: Any,
    condition: Any,
    n: int,
    seed: int,
    output: str = "mean",
    temperature: float = 1.0,
    guidance: float = 1.0,
    progress: Callable | None = None,
) -> np.ndarray:
    """Draw n examples, one for each condition if there are any; images as uint8, 0..255.

    Args:
        model: A `ConditionalVAE`.
        condition: Conditions `(n, ...)` or None.
        n: How many.
        seed: Of the draws.
        output: "mean" or "sample".
        temperature: As in `ConditionalVAE.generate`.
        guidance: As there.
        progress: Wraps the loop over parts, as `progress(iterable, total=, description=)`.
    """
    image, parts = is_image(model), []
    starts: Any = range(0, n, 5000)
    if progress is not None:
        starts = progress(starts, total=len(starts), description="draws")
    for start in starts:
        stop = min(start + 5000, n)
        count = stop - start if condition is None else 1
        some = take(condition, slice(start, stop))
        x = model.generate(some, count, temperature, seed + start, output=output, guidance=guidance)
        parts.append(_as_uint8(model, x) if image else x)
    return np.concatenate(parts)


def _as_uint8(model: Any, x: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(brightness(model, x), 0, 1) * 255).astype("uint8")


def brightness(model: Any, x: np.ndarray) -> np.ndarray:
    """Images in 0..1, from whatever values the likelihood counts in: undoes their scale."""
    low = getattr(model.likelihood, "low", 0.0)
    return (x - low) / (getattr(model.likelihood, "high", 1.0) - low)


def is_binary(model: Any) -> bool:
    """Whether p(x | z, y) is a probability of zeros and ones."""
    likelihood = getattr(model.likelihood, "likelihood", model.likelihood)  # of a masked one
    return isinstance(likelihood, Bernoulli)


def is_continuous(model: Any) -> bool:
    """Whether p(x | z, y) is a density, not a probability."""
    return coding(model) == "density"


def is_image(model: Any) -> bool:
    """Whether x has the rank of a picture."""
    return len(model.x_shape) == 3
