"""Hold examples out of the training data."""

from __future__ import annotations

from typing import Literal

import numpy as np

from keras_cvae.data.containers import Data, Split
from keras_cvae.errors import DataError


def split_data(
    name: str,
    train: Split,
    test: Split | None,
    class_names: tuple[str, ...] | None,
    validation: float | Literal["test"],
    seed: int,
) -> Data:
    """Hold a validation set out of train, none of it, or take the test set for it."""
    check_validation(validation)
    if isinstance(validation, str):
        if test is None:
            raise DataError(
                f"validation='test' needs a test set, and {name} has none. Give a fraction of the "
                "training data instead, e.g. validation=0.1."
            )
        return Data(name, train, test, test, class_names)
    if not validation:
        return Data(name, train, train.take(slice(0, 0)), test, class_names)
    kept, held = hold_out(train.y if class_names else None, len(train), validation, seed)
    return Data(name, train.take(kept), train.take(held), test, class_names)


def check_validation(validation: float | str) -> None:
    """Refuse a validation that is neither a fraction, 0 for none, nor 'test'."""
    is_number = isinstance(validation, int | float) and not isinstance(validation, bool)
    if validation != "test" and not (is_number and 0 <= float(validation) < 1):
        raise DataError(
            "Expected validation to be a fraction between 0 and 1, or 'test'. "
            f"Received: {validation!r}"
        )


def hold_out(
    y: np.ndarray | None, n: int, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices `(kept, held out)`, each sorted; classes keep their shares to within one example."""
    y = np.zeros(n, np.int32) if y is None else y
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(y[order], kind="stable")]  # shuffled within each class
    # The first of each class stays: a class that is only in validation cannot be learned.
    free = order[1:][np.diff(y[order]) == 0]
    if not len(free):
        raise DataError(
            f"No validation set can be held out of {n} example(s) with one per class. "
            "Add examples, or use a source with a test set and validation='test'."
        )
    count = min(max(1, round(n * fraction)), len(free))
    held = free[((np.arange(count) + 0.5) * len(free) / count).astype(int)]
    mask = np.zeros(n, bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)
