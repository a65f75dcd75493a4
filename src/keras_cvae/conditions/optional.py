"""A condition that may be missing: a learned state takes its place."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions.base import CONDITIONS, Condition, get
from keras_cvae.conditions.categorical import Categorical
from keras_cvae.conditions.read import is_nothing


@CONDITIONS.register("optional")
class Optional(Condition):
    """A condition that is known of some examples only, in training and when sampling.

    A missing one is None, NaN, an entry that a NumPy mask or pandas hides, and for classes also -1
    or "" (unless these are classes themselves). Its features are learned: `state`.

    Dropout forgets known conditions at random in training, so that one network learns p(x | y) and
    p(x); guidance goes beyond the one, away from the other (Ho & Salimans 2022).

    Args:
        part: The condition, or what stands for one: `Optional(10, dropout=0.1)`.
        dropout: Share of the known ones that each training step forgets.
    """

    forgettable = True

    def __init__(self, part: Any, dropout: float = 0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.part = get(part)
        joint = hasattr(self.part, "parts")
        whole = joint or self.part.knows_part or isinstance(self.part, Optional)
        if not self.part.width or whole:
            hint = " Joint(parts, dropout=0.1) lets all of several be missing at once."
            raise ValueError(
                f"Optional: received {type(self.part).__name__}, expected one condition."
                f"{hint if joint else ''}"
            )
        self.dropout = check_rate(dropout)
        self.shape, self.width = self.part.shape, self.part.width
        self.dtype_in, self.has_encoder = self.part.dtype_in, self.part.has_encoder
        self.state = self.add_weight((self.width,), "zeros", name="state")
        self.seen = self.add_weight((), "zeros", name="seen", trainable=False, dtype="float32")

    def get_config(self):
        part = keras.saving.serialize_keras_object(self.part)
        return super().get_config() | {"part": part, "dropout": self.dropout}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"part": keras.saving.deserialize_keras_object(config["part"])})

    # Inside the step.

    def call(self, y):
        y = self._tensor(y)
        known = self.is_known(y)
        features = self.part(ops.where(_along(known, y), y, ops.zeros_like(y)))
        state = ops.cast(ops.convert_to_tensor(self.state), features.dtype)
        return ops.where(known[:, None], features, state)

    def is_known(self, y):
        """Which of the canonical `y` are known, `(batch,)` booleans."""
        first = ops.reshape(y, (ops.shape(y)[0], -1))[:, 0]
        return first >= 0 if self.dtype_in == "int32" else ops.logical_not(ops.isnan(first))

    def forget(self, y, which):
        """The canonical `y` with those at `which` `(batch,)` made missing."""
        y = self._tensor(y)
        return ops.where(_along(which, y), ops.full_like(y, self._blank(y.dtype)), y)

    def drop(self, y, uniform):
        y = self._tensor(y)
        if self.dropout:
            y = self.forget(y, uniform(ops.shape(y)[:1]) < self.dropout)
        missing = ops.cast(ops.any(ops.logical_not(self.is_known(y))), "float32")
        self.seen.assign(ops.maximum(self.seen, missing))
        return y

    def _tensor(self, y):
        y = ops.convert_to_tensor(y)
        return y if "float" in str(y.dtype) else ops.cast(y, self.dtype_in)

    @staticmethod
    def _blank(dtype) -> float:
        return np.nan if "float" in str(dtype) else -1

    # On the user's side.

    def prepare(self, y):
        if y is None:
            self.part.prepare(None)  # says what is missing
        rows, missing = self._rows(y)
        if not missing.any():
            return self.part.prepare(y)
        if missing.all():
            return self.unknown(len(missing))
        known = self.part.prepare(rows[~missing].tolist() if rows.dtype == "O" else rows[~missing])
        filled = np.full((len(missing), *known.shape[1:]), self._blank(known.dtype), known.dtype)
        filled[~missing] = known
        return filled

    def prepare_any(self, y):
        many = isinstance(y, list | tuple) or np.ndim(y) > 0
        if isinstance(y, np.ndarray) and y.shape == self.shape and y.size > 1:
            many = False
        if y is None or (not many and self._rows([y])[1][0]):
            return self.unknown(), True
        if not many or isinstance(y, set | frozenset) or not self._rows(y)[1].any():
            return self.part.prepare_any(y)
        return self.prepare(y), False

    def _rows(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Its entries as an array `(n, ...)`, and which of them are missing `(n,)`."""
        if isinstance(y, np.ma.MaskedArray):
            rows, missing = y.data, np.ma.getmaskarray(y)
        elif hasattr(y, "isna"):
            rows, missing = np.asarray(y), np.asarray(y.isna(), bool)
        elif _is_numeric(y):
            rows = np.asarray(y)
            missing = np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)
        else:
            listed = y.tolist() if isinstance(y, np.ndarray) else list(y)
            rows = np.empty(len(listed), object)
            for i, row in enumerate(listed):
                rows[i] = row
            missing = np.array([is_nothing(row) for row in listed], bool)
        missing = missing | self._marked(rows)
        by_row = missing.reshape(len(missing), -1) if missing.size else missing[:, None]
        whole = by_row.all(axis=1)
        if (by_row.any(axis=1) & ~whole).any():
            row = int(np.argmax(by_row.any(axis=1) & ~whole))
            raise ValueError(
                f"Row {row} of the condition is missing in part: {rows[row]}. Expected all of a "
                "row or nothing; what may be missing by itself is a named condition of its own."
            )
        return rows, whole

    def _marked(self, rows: np.ndarray) -> np.ndarray:
        """Where -1 and "" stand for a missing class."""
        if self.dtype_in != "int32":
            return np.zeros(rows.shape, bool)
        labels = self.part.labels if isinstance(self.part, Categorical) else []
        marks = [mark for mark in (-1, "") if mark not in labels]
        if rows.dtype.kind == "O":
            return np.array([_is_one(row) and row in marks for row in rows], bool)
        mark = next((m for m in marks if isinstance(m, str) == (rows.dtype.kind == "U")), None)
        return np.zeros(rows.shape, bool) if mark is None else rows == mark

    def unknown(self, n=1):
        return np.full((n, *self.shape), self._blank(self.dtype_in), self.dtype_in)

    def parse(self, text):
        """As the part does; "?" is unknown."""
        return None if text.strip() == "?" else self.part.parse(text)

    def lost(self, y: np.ndarray) -> np.ndarray:
        """Which of the canonical `y` are missing, `(n,)` booleans; `known` in NumPy."""
        first = np.reshape(y, (len(y), -1))[:, 0]
        return ~(first >= 0) if self.dtype_in == "int32" else np.isnan(first)

    def between(self, first, last, weights):
        lost = [self.lost(y).any() for y in (first, last)]
        if all(lost):
            return self.unknown(len(weights))
        if any(lost):
            raise ValueError(
                "There is no way from a missing condition to a known one. Expected both ends known."
                " Guidance between 0 and 1 goes from draws without the condition to draws with it."
            )
        return self.part.between(first, last, weights)

    def words(self, y):
        return "?" if self.lost(np.asarray(y)[None])[0] else self.part.words(y)

    def example(self):
        return self.part.example()

    def summary(self):
        return f"{self.part.summary()}; may be missing"

    def settle(self, y, again=True):
        known = y[~self.lost(y)]
        if len(known):
            self.part.settle(known, again)

    def see(self, y):
        self.part.see(y)

    def check_trained(self, y):
        self.part.check_trained(y)
        if not float(self.seen) and self.lost(y).any():
            raise ValueError(
                "A condition is missing, but none ever was in training, so the model has not "
                f"learned what to do without it. Give {self.part.summary()}, or train with "
                "Optional(..., dropout=0.1)."
            )


def check_rate(dropout: float) -> float:
    """Check a share below 1.

    Raises:
        ValueError: It is none.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: received {dropout}, expected at least 0 and less than 1.")
    return float(dropout)


def _along(mask, y):
    """`(batch,)` shaped to go with `(batch, ...)`."""
    return ops.reshape(mask, (-1, *[1] * (len(y.shape) - 1)))


def _is_one(value: Any) -> bool:
    """A value that can be compared: no list, no NA."""
    return np.ndim(value) == 0 and not is_nothing(value)


def _is_numeric(y: Any) -> bool:
    return isinstance(y, np.ndarray) and y.dtype.kind in "iufbU" and y.ndim > 0


def classes_of(condition: Condition) -> Categorical | None:
    """The classes of a condition that is one of several, whether or not it may be missing."""
    part = condition.part if isinstance(condition, Optional) else condition
    return part if isinstance(part, Categorical) else None
