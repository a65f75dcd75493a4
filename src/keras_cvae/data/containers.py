"""Examples with their conditions, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cvae.data.images import ImageFiles
from keras_cvae.trees import take


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their conditions.

    Attributes:
        x: `(n, h, w, c)` images or `(n, d)` vectors; uint8 0..255 or float32. `ImageFiles` when
            the images are decoded as they are needed.
        y: `(n,)` int32 class indices, `(n,)` or `(n, k)` float32 numbers, None: no condition; of
            several named conditions a dict of arrays, `(n, ...)` each.
    """

    x: np.ndarray | ImageFiles
    y: Any = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Any) -> Split:
        """Returns the examples at `indices` (slice, integers or mask); files stay undecoded."""
        x = self.x.take(indices) if isinstance(self.x, ImageFiles) else self.x[indices]
        return Split(x, take(self.y, indices))

    def spread(self, most: int) -> Split:
        """Returns so many of its examples, evenly spread, as the first may be alike; or all."""
        n = len(self)
        return self if most >= n else self.take(np.arange(most) * n // most)

    @property
    def labelled(self) -> Split:
        """Returns the examples whose class is known: all, unless y are classes and some are -1."""
        y = self.y
        if not isinstance(y, np.ndarray) or y.dtype.kind != "i" or y.ndim > 1 or (y >= 0).all():
            return self
        return self.take(np.flatnonzero(y >= 0))

    def floats(self, indices: Any = slice(None)) -> np.ndarray:
        """Returns x as float32, `(m, h, w, c)` or `(m, d)`; uint8 is divided by 255."""
        return as_floats(self.x[indices])


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split and checked.

    Attributes:
        name: `digits`, `mnist`, ..., or the stem of the file, or the folder's name.
        train: What the model learns from.
        validation: Held out of train, or the test split itself (`validation="test"`); empty where
            nothing was held out.
        test: None if the source has none.
        class_names: In the order of the indices in y; None if y is None or continuous.
        notes: What is doubtful about how the source was read, a sentence each.
    """

    name: str
    train: Split
    validation: Split
    test: Split | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one example: `(h, w, c)` or `(d,)`."""
        return tuple(self.train.x.shape[1:])

    @property
    def shown(self) -> Split:
        """Examples to look at: held out, or of the test set, or where there are none of train.

        Those whose class is known, where some are not.
        """
        candidates = (self.validation, self.test, self.train)
        known = (split.labelled for split in candidates if split is not None)
        return next(split for split in known if len(split))

    def describe(self) -> dict[str, Any]:
        """Returns plain, JSON-able facts: counts, shape, values, condition, counts per class."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        x, y = self.train.x, self.train.y
        named = {} if not isinstance(y, dict) else {k: _described(v) for k, v in y.items()}
        facts: dict[str, Any] = {
            "name": self.name,
            "counts": {k: None if s is None else len(s) for k, s in splits.items()},
            "has_test": self.test is not None,
            "validation_is_test": self.validation is self.test,
            "x_shape": list(self.x_shape),
            "x_dtype": str(x.dtype),
            "streamed": isinstance(x, ImageFiles),
            "condition": "none",
            "classes": None,
            "class_counts": None,
        }
        if (
            isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f"
        ):  # each has its own unit
            facts["values_of_x"] = [f"{i + 1}: {_values(column)}" for i, column in enumerate(x.T)]
        else:  # not scanned when streamed: that would decode every file
            facts["value_range"] = [0, 255] if isinstance(x, ImageFiles) else _range(x)
        if named:
            facts["condition"] = named
        elif y is not None and self.class_names is not None:
            names = self.class_names
            facts["condition"] = "classes"
            facts["classes"] = list(names)
            facts["class_counts"] = {
                k: dict(
                    zip(
                        names,
                        np.bincount(s.y[s.y >= 0], minlength=len(names)).tolist(),
                        strict=True,
                    )
                )
                for k, s in splits.items()
                if s is not None and s.y is not None
            }
        elif y is not None:
            facts["condition"] = "numbers"
            facts["condition_size"] = 1 if y.ndim == 1 else y.shape[1]
            facts["condition_range"] = _range(y)
        return facts | ({"notes": list(self.notes)} if self.notes else {})


def shortened(labels: Iterable, most: int = 10) -> str:
    """Join labels for a message, the first `most` of them."""
    shown = [str(label) for label in labels]
    return ", ".join(shown[:most]) + (f", ... ({len(shown)} in all)" if len(shown) > most else "")


def _described(values: np.ndarray) -> dict[str, Any]:
    """Plain facts about one named condition."""
    facts: dict[str, Any] = {"shape": list(values.shape[1:]), "dtype": str(values.dtype)}
    if values.dtype.kind in "iuf":
        return facts | {"range": [float(np.nanmin(values)), float(np.nanmax(values))]}
    return facts | {"values": shortened(np.unique(values.astype(str)))}


def _values(column: np.ndarray) -> str:
    """What the values of one column are, in words."""
    found = np.unique(column[:1000])
    low, high = (f"{value:.4g}" for value in _range(column))
    if len(found) > 2 or not np.isin(column, found).all():
        return f"{low} to {high}"
    return f"{low} or {high}, no others" if low != high else f"always {low}"


def _range(values: np.ndarray) -> list:
    return [values.min().item(), values.max().item()]


def as_floats(x: np.ndarray) -> np.ndarray:
    """x as float32; bytes are divided by 255."""
    if x.dtype != np.uint8:
        return x
    return np.divide(x, np.float32(255), dtype=np.float32)
