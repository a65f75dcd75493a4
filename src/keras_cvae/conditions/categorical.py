"""One of several classes, or several of them at once."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_cvae.conditions.base import CONDITIONS
from keras_cvae.conditions.labelled import Labelled, named
from keras_cvae.conditions.read import array
from keras_cvae.errors import listed, nearest

MANY = 10_000  # classes above which a vector each is learned unless one-hot is asked for


@CONDITIONS.register("categorical")
class Categorical(Labelled):
    """One of K classes, or a mixture of them.

    Accepted as y: class numbers `(n,)`, class names `(n,)`, or mixtures `(n, K)` whose rows are
    weights that sum to one ("half a 3, half an 8"). One condition is a number, a name, or a mapping
    from classes to weights. Asking for a class that training never had warns.

    Args:
        classes: How many classes, or their names. With names, numbers are positions in that list,
            unless all names are numbers themselves (`[3, 5, 7]`): then they are labels.
        encoding: "onehot", or "embedding" for a learned vector per class, which is the default
            for more than 10,000 classes.
        embedding_dim: Length of that vector.
    """

    def __init__(self, classes=10, encoding=None, embedding_dim=16, **kwargs):
        super().__init__(**kwargs)
        labels = named(classes, "Categorical classes")
        if encoding is None:
            encoding = "embedding" if len(labels) > MANY else "onehot"
        self.encode_labels(labels, encoding, "onehot", embedding_dim)
        self.dtype_in = "int32"
        self.seen = self.add_weight(  # which classes were in training
            (len(labels),), "zeros", name="seen", trainable=False, dtype="float32", autocast=False
        )
        numeric = all(isinstance(label, int) for label in self.labels)
        self._index_of_number = (
            {label: i for i, label in enumerate(self.labels)}
            if numeric
            else {i: i for i in range(len(self.labels))}
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.labels)

    def get_config(self):
        own = {
            "classes": self.labels,
            "encoding": self.encoding,
            "embedding_dim": self.embedding_dim,
        }
        return super().get_config() | own

    def load_own_variables(self, store):
        weights = {name: store[name] for name in [*store.keys()]}
        if len(weights) < len(self.variables):  # an older file does not say what was seen: anything
            weights[str(len(weights))] = np.ones(self.num_classes, "float32")
        super().load_own_variables(weights)

    def call(self, y):
        if len(y.shape) == 2 and y.shape[-1] == 1:
            y = ops.squeeze(y, axis=-1)
        if len(y.shape) == 1:
            y = ops.cast(y, "int32")
            if self.encoding == "embedding":
                return ops.take(ops.convert_to_tensor(self.table), y, axis=0)
            return ops.one_hot(y, self.num_classes, dtype=self.compute_dtype)
        weights = ops.cast(y, self.compute_dtype)
        return weights @ self.table if self.encoding == "embedding" else weights

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on classes ({listed(self.names)}), but no condition "
                "was given."
            )
        y = array(y)
        if y.dtype.kind in "US":
            if y.ndim != 1:
                raise ValueError(
                    f"Class names: received an array of shape {y.shape}, expected (n,)."
                )
            names, inverse = np.unique(y.astype(str), return_inverse=True)
            return np.array([self._index(name) for name in names.tolist()], "int32")[inverse]
        if y.dtype.kind not in "iufb":
            raise ValueError(
                f"Received {y.flat[0]!s} as a class. Expected whole numbers, or names "
                f"({listed(self.names)})."
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 2:
            return self._mixtures(y)
        if y.ndim != 1:
            raise ValueError(
                f"The condition has shape {y.shape}. Expected class numbers or names (n,), or "
                f"mixtures (n, {self.num_classes})."
            )
        if not np.all(np.isfinite(y)) or not np.array_equal(y, np.round(y)):
            bad = y[~np.isfinite(y) | (y != np.round(y))][0]
            missing = " What may be missing goes into Optional(...)." if np.isnan(bad) else ""
            raise ValueError(
                f"Received {bad} as a class. Expected whole numbers, names ({listed(self.names)}), "
                f"or mixtures (n, {self.num_classes}).{missing}"
            )
        numbers, inverse = np.unique(y, return_inverse=True)
        return np.array([self._index(int(n)) for n in numbers.tolist()], "int32")[inverse]

    def prepare_any(self, y):
        if isinstance(y, Mapping):
            weights = np.zeros((1, self.num_classes), "float32")
            for label, weight in y.items():
                weights[0, self._index(label)] += float(weight)
            return self._mixtures(weights), True
        if y is None or np.ndim(y) == 0:
            return self.prepare(y if y is None else [y]), True
        return self.prepare(y), False

    def parse(self, text):
        """Read a class ("2") or a mixture ("3:0.5,8:0.5")."""
        if text in self._index_of_name or ":" not in text:
            self._index(text)
            return text
        mixture = {}
        for part in text.split(","):
            name, _, weight = part.rpartition(":")
            try:
                mixture[name.strip()] = float(weight)
            except ValueError:
                raise ValueError(
                    f"Cannot read '{text}' as a mixture. Expected class:weight,class:weight, for "
                    f"example {self.names[0]}:0.5,{self.names[-1]}:0.5."
                ) from None
        self.prepare_any(mixture)
        return mixture

    def between(self, first, last, weights):
        return super().between(self.as_weights(first), self.as_weights(last), weights)

    def as_weights(self, y: np.ndarray) -> np.ndarray:
        """Write canonical conditions as rows of class weights `(n, K)`."""
        if y.ndim == 2:
            return y
        weights = np.zeros((len(y), self.num_classes), "float32")
        weights[np.arange(len(y)), y] = 1.0
        return weights

    def see(self, y):
        before = ops.convert_to_numpy(self.seen)
        self.seen.assign(np.maximum(before, 1.0 if y is None else self._among(y)))

    def check_trained(self, y):
        seen = ops.convert_to_numpy(self.seen) > 0
        new = np.flatnonzero(self._among(y) & ~seen)
        if len(new) and seen.any():  # without `fit` nobody looked
            names = listed(self.names[k] for k in new)
            warnings.warn(
                f"In training there was no example of the class {names}, so the model has not "
                "learned what it is.",
                stacklevel=4,
            )

    def _among(self, y: Any) -> np.ndarray:
        """Which classes there are among canonical conditions, of which some may be missing."""
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] > 1:
            return (y > 0).any(axis=0)
        found = np.zeros(self.num_classes, bool)
        found[y[(y >= 0) & (y < self.num_classes)].astype(int)] = True
        return found

    def words(self, y):
        if np.ndim(y) == 0:
            return self.names[int(y)]
        shares = ((self.names[k], y[k]) for k in np.flatnonzero(np.asarray(y) > 0))
        return ", ".join(name if share > 0.999 else f"{share:.0%} {name}" for name, share in shares)

    def example(self):
        return self.names[-1]

    def summary(self):
        return f"one of {self.num_classes} classes: {listed(self.names)}"

    def _index(self, label: Any) -> int:
        known: dict[Any, int] = (
            self._index_of_name if isinstance(label, str) else self._index_of_number
        )
        key = label if isinstance(label, str) else int(label)
        if key not in known:
            raise ValueError(
                f"Unknown class {label!r}. This model knows {self.num_classes} classes: "
                f"{listed(self.names)}.{nearest(label, self.names)}"
            )
        return known[key]

    def _mixtures(self, y: np.ndarray) -> np.ndarray:
        if y.shape[1] != self.num_classes:
            raise ValueError(
                f"The condition has shape {y.shape}. Expected mixtures of {self.num_classes} "
                f"classes, (n, {self.num_classes}), or class numbers (n,)."
            )
        sums = y.sum(axis=1)
        if not (np.all(np.isfinite(y)) and np.all(y >= 0) and np.allclose(sums, 1, atol=1e-3)):
            bad = np.flatnonzero(~np.isclose(sums, 1, atol=1e-3) | (y < 0).any(axis=1))
            row = y[bad[0]] if len(bad) else y[0]
            raise ValueError(
                f"Mixtures of classes need weights of at least 0 that sum to 1. Received "
                f"{np.array2string(row, precision=3, threshold=12)}, which sums to {row.sum():g}."
            )
        return y.astype("float32")
