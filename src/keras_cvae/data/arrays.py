"""Arrays at hand, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from keras_cvae.columns import as_array
from keras_cvae.data.containers import Data, Split, as_floats, shortened
from keras_cvae.data.images import Color, Fit, checked_size, recolored, resized
from keras_cvae.data.splits import split_data
from keras_cvae.errors import DataError


def from_arrays(
    x: Any,
    y: Any = None,
    *,
    test: tuple | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    validation: float | Literal["test"] = 0.1,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    color: Color = "auto",
    counts: bool = False,
    signals: bool = False,
    unlabelled: bool = False,
) -> Data:
    """Check arrays and make a `Data` of them.

    Args:
        x: `(n, h, w)`, `(n, h, w, c)` or `(n, d)`, or a DataFrame of numbers. uint8 stays (0..255;
            `Split.floats` divides by 255), and so do integer images within 0..255; integers that
            are all 0 or 1 are binary and become 0 and 255, and so do booleans; everything else
            becomes float32 unscaled.
        y: None; integers, booleans or strings, `(n,)` or `(n, 1)`: classes, numbered in sorted
            order; floats `(n,)` or `(n, k)`, or integers `(n, k)` with k > 1: numbers. A dict of
            arrays by name stays as it is, but for its lengths: the model's condition says what it
            means.
        test: `(x, y)` of the test set; every class in it must be in train.
        class_names: With integer y: the name of label i, or of the i-th distinct label. With
            string y: the order of the labels.
        name: What to call the data.
        validation: The fraction of train that is held out, stratified by class, at least one
            example; "test": the test set serves as validation and train stays whole.
        seed: Chooses the held-out examples.
        image_size: Side, or `(h, w)`, in pixels that images get; None: they stay.
        fit: What is done to images of another shape, as in `images.fitted`.
        color: "grey" (1 channel), "rgb" (3 channels), or "auto": images stay as they are.
        counts: Whether x are counts: they become float32 unscaled, whatever their dtype.
        signals: Whether x `(n, length)` or `(n, length, channels)` are signals: they become float32
            `(n, length, channels)` unscaled.
        unlabelled: Whether the label -1, or "" among names, stands for an unknown class. It stays
            -1; otherwise it is a class of its own.

    Raises:
        DataError: Arrays that are empty, of different lengths, NaN or infinite, sparse, or of
            unusable shape or type.
    """
    size = checked_size(image_size)
    as_x = _checked_signals if signals else _checked_x
    xs = [as_x(x, "x")]
    ys = [_checked_y(y, len(xs[0]), "y")]
    if test is not None:
        xs.append(as_x(test[0], "x_test"))
        ys.append(_checked_y(test[1], len(xs[1]), "y_test"))
        if xs[0].shape[1:] != xs[1].shape[1:]:
            raise DataError(
                f"One example has shape {xs[0].shape[1:]} in train but {xs[1].shape[1:]} in test. "
                "Expected the same shape in both."
            )
        if (ys[0] is None) != (ys[1] is None):
            have, lack = ("train", "test") if ys[1] is None else ("test", "train")
            raise DataError(f"There is a y for {have} but none for {lack}. Give both or neither.")
    unscaled = counts or signals
    xs = [x.astype(np.float32, copy=False) for x in xs] if unscaled else _canonical(xs)
    xs = [recolored(resized(x, size, fit), color) for x in xs]
    unknown = [None if part is None else _is_unknown(part, unlabelled) for part in ys]
    ys, names = (ys, None) if isinstance(y, Mapping) else encoded(ys, class_names, unlabelled)
    if unlabelled and names is not None:
        ys = [
            None if part is None or rows is None else np.where(rows, -1, part).astype(np.int32)
            for part, rows in zip(ys, unknown, strict=True)
        ]
    notes = () if isinstance(y, Mapping) else _notes(ys[0], names if class_names is None else None)
    notes += _constants(xs[0])
    splits = [Split(x, y) for x, y in zip(xs, ys, strict=True)]
    data = split_data(
        name, splits[0], splits[1] if test is not None else None, names, validation, seed
    )
    return replace(data, notes=notes)


_FEW = 20  # different whole numbers that may well be classes


def _notes(y: np.ndarray | None, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """What is doubtful about how y was read."""
    if names is not None:
        last = len(names) - 2
        if last < 1 or names != tuple(map(str, range(-1, last + 1))):
            return ()
        return (
            f"The label -1 is taken as a class of its own, beside 0 to {last}. If it means that "
            "the class is unknown: --condition y:categorical.",
        )
    if y is None or y.dtype.kind != "f" or y.size != len(y):
        return ()
    found = np.unique(y)
    if len(found) > min(_FEW, len(y) // 2) or not np.array_equal(found, np.round(found)):
        return ()
    return (
        f"y holds {len(found)} whole numbers as floats ({shortened(f'{v:g}' for v in found)}), and "
        "is taken as numbers to interpolate between. If they are classes: --condition "
        "y:categorical, or save y as integers.",
    )


def _constants(x: np.ndarray) -> tuple[str, ...]:
    """What to say of floats `(n, d)` that never vary: any density of them may grow without end."""
    if x.ndim != 2 or x.dtype.kind != "f" or len(x) < 2:
        return ()
    (found,) = np.nonzero((x == x[0]).all(axis=0))
    if not len(found):
        return ()
    which = shortened(f"{i + 1} (always {x[0, i]:g})" for i in found)
    return (
        f"Values that never vary: {which}. They tell nothing, and their density, which has no "
        "upper bound, drowns the others' in log p and in the loss; better leave them out of x.",
    )


def _checked_x(x: Any, what: str) -> np.ndarray:
    """`(n, h, w, c)` or `(n, d)`, non-empty and finite; integers as they came, floats float32."""
    x = as_array(x, what)
    if x.dtype.kind not in "buif":
        raise DataError(f"Expected numbers in {what}. Received: dtype {x.dtype}.")
    if x.ndim not in (2, 3, 4):
        raise DataError(
            f"Expected {what} of shape (n, h, w), (n, h, w, c) or (n, d). Received: {x.shape}."
        )
    if not x.size:
        raise DataError(f"Expected at least one example in {what}. Received: shape {x.shape}.")
    x = x[..., None] if x.ndim == 3 else x
    return _finite(x, what) if x.dtype.kind == "f" else x


def _checked_signals(x: Any, what: str) -> np.ndarray:
    """`(n, length, channels)`, of arrays with or without an axis of channels."""
    if np.ndim(x) not in (2, 3):
        raise DataError(
            f"Expected signals in {what}, (n, length) or (n, length, channels). Received: "
            f"{np.shape(x)}."
        )
    checked = _checked_x(x, what)
    return checked[..., None] if checked.ndim == 2 else checked[..., 0]


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # becomes inf, which is reported below
        values = values.astype(np.float32, copy=False)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise DataError(
            f"{what} holds {bad.sum()} value(s) that are NaN, infinite or too large for float32; "
            f"the first is in row {row} (counted from 0). Remove or fill these rows."
        )
    return values


def _canonical(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """uint8 or float32, decided for all arrays together so that train and test stay alike."""
    if all(x.dtype.kind in "bui" for x in arrays):
        low, high = min(x.min() for x in arrays), max(x.max() for x in arrays)
        if low >= 0 and high <= 1:  # binary, however it was stored
            return [x.astype(np.uint8) * np.uint8(255) for x in arrays]
        is_image = arrays[0].ndim == 4 and low >= 0 and high <= 255
        if is_image or all(x.dtype == np.uint8 for x in arrays):
            return [x.astype(np.uint8, copy=False) for x in arrays]
    elif any(x.dtype.kind in "bui" for x in arrays):
        raise DataError(
            f"x is {arrays[0].dtype} in train but {arrays[1].dtype} in test. Expected integers in "
            "both or floats in both: their scales may differ."
        )
    return [x.astype(np.float32, copy=False) for x in arrays]


def _checked_y(y: Any, n: int, what: str) -> Any:
    """`(n,)` integers or strings for classes, `(n,)` or `(n, k)` float32 for numbers."""
    if y is None:
        return None
    if isinstance(y, Mapping):
        named = {name: np.asarray(part) for name, part in y.items()}
        for name, part in named.items():
            if part.ndim < 1 or len(part) != n:
                raise DataError(
                    f"{what.replace('y', 'x')} has {n} examples but the condition {name!r} has the "
                    f"shape {part.shape}. Expected one for each example."
                )
        return {name: _named(part) for name, part in named.items()}
    y = np.asarray(y)
    if y.dtype.kind == "O" and all(isinstance(label, str) for label in y.flat):
        y = y.astype(str)
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind not in "buifU" or y.ndim not in (1, 2):
        raise DataError(
            f"Expected {what} of shape (n,) or (n, k) with integers, strings or floats. "
            f"Received: shape {y.shape}, dtype {y.dtype}."
        )
    if len(y) != n:
        raise DataError(
            f"{what.replace('y', 'x')} has {n} examples but {what} has {len(y)}. "
            "Expected one condition per example."
        )
    if y.dtype.kind == "f":
        return _finite(y, what)
    if y.ndim == 1 or y.shape[1] == 1:
        return y.reshape(n)
    if y.dtype.kind == "U":
        raise DataError(f"Expected one name per example in {what}. Received: shape {y.shape}.")
    return y.astype(np.float32)  # several integers per example: tags or counts, not one class


def _named(values: np.ndarray) -> np.ndarray:
    """A named condition: text as str, pictures of integers as floats within 0..1, as x."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind in "bui" and values.ndim > 2:
        return as_floats(_canonical([values])[0])
    return values


def encoded(
    ys: list[np.ndarray | None], class_names: Sequence[str] | None, unlabelled: bool = False
) -> tuple[list[np.ndarray | None], tuple[str, ...] | None]:
    """Number the classes found in train 0..K-1; numbers pass as they are.

    Args:
        ys: Labels `(n,)` or numbers, of train and of test; None without.
        class_names: As in `from_arrays`.
        unlabelled: As in `from_arrays`.

    Returns:
        The same as indices, and the names of the classes; None of numbers.

    Raises:
        DataError: Labels of test that train has not, or names that do not fit.
    """
    given = [y for y in ys if y is not None]
    kinds = [(y.dtype.kind if y.dtype.kind in "fU" else "i", y.shape[1:]) for y in given]
    if len(set(kinds)) > 1:
        train, test = (f"{y.dtype} of shape {y.shape}" for y in given)
        raise DataError(
            f"y is {train} in train but {test} in test. Expected the same kind of condition in both"
            ": classes, or equally many numbers."
        )
    if not given or given[0].dtype.kind == "f":
        if class_names is not None:
            came = "a y of numbers" if given else "no y"
            raise DataError(f"class_names need a y of integers or strings. Received: {came}.")
        return ys, None
    labels = _labels(given[0], unlabelled)
    if not len(labels):
        raise DataError("All labels in train are unknown. Expected some of each class.")
    if unlabelled:
        ys = [None if y is None else np.where(y == _unknown(y), labels[0], y) for y in ys]
    for y in given[1:]:
        if len(new := np.setdiff1d(_labels(y, unlabelled), labels)):
            raise DataError(
                f"The label {new[0].item()!r} is in test but not in train. "
                f"The labels in train are: {shortened(labels)}."
            )
    if class_names is None:
        names = tuple(str(label) for label in labels)
        return [_numbered(y, labels) for y in ys], names
    names = tuple(str(name) for name in np.asarray(class_names).reshape(-1))
    if labels.dtype.kind == "U":
        if len(set(names)) != len(names) or not set(names) >= set(labels.tolist()):
            raise DataError(
                f"Expected class_names to name each label once: {shortened(labels)}. "
                f"Received: {shortened(names)}."
            )
        places = np.array([names.index(label) for label in labels.tolist()], np.int32)
        return [None if y is None else places[np.searchsorted(labels, y)] for y in ys], names
    if labels[0] >= 0 and labels[-1] < len(names):
        return [None if y is None else y.astype(np.int32) for y in ys], names
    if len(names) == len(labels):
        return [_numbered(y, labels) for y in ys], names
    raise DataError(
        f"y has {len(labels)} distinct labels ({shortened(labels)}) but there are {len(names)} "
        f"class_names ({shortened(names)}). Expected one name per label."
    )


def _unknown(y: np.ndarray) -> Any:
    """What stands for an unknown class among the labels y."""
    return "" if y.dtype.kind == "U" else -1


def _is_unknown(y: Any, unlabelled: bool) -> Any:
    """Which labels `(n,)` are unknown."""
    return unlabelled and not isinstance(y, Mapping) and y == _unknown(y)


def _labels(y: np.ndarray, unlabelled: bool) -> np.ndarray:
    labels = np.unique(y)
    return labels[labels != _unknown(y)] if unlabelled else labels


def _numbered(y: np.ndarray | None, labels: np.ndarray) -> np.ndarray | None:
    return None if y is None else np.searchsorted(labels, y).astype(np.int32)
