"""What y may be: how a condition is checked, and how it becomes features for the networks.

`prepare` and `parse` run on the user's side of the compiled step: they turn names, mixtures and
text into one canonical array, or refuse it. `features` runs inside the step.

To add a condition, subclass `Condition`, write `prepare`, `call`, `shape` and `width`, and register
it.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.errors import listed, nearest
from keras_cvae.registry import Registry

CONDITIONS = Registry("condition")


class Condition(keras.layers.Layer):
    """Base of all conditions.

    Attributes:
        shape: Shape of one canonical condition, without the batch.
        width: Number of features that it becomes.
        dtype_in: Dtype of the canonical array.
    """

    shape: tuple[int, ...] = ()
    width: int = 0
    dtype_in = "float32"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def prepare(self, y: Any) -> np.ndarray | None:
        """Check the conditions of many examples and return the canonical array `(n, ...)`.

        Raises:
            ValueError: Naming what was received and what this condition expects.
        """
        raise NotImplementedError

    def prepare_any(self, y: Any) -> tuple[np.ndarray | None, bool]:
        """Check one condition or many; return the canonical array, and whether it was one."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """Read one condition from the command line."""
        raise NotImplementedError

    def mix(self, start: Any, end: Any, weights: np.ndarray) -> np.ndarray | None:
        """Conditions `(n, ...)` on the way from one to another, `weights` `(n,)` from 0 to 1."""
        raise NotImplementedError

    def features(self, y):
        """Features `(batch, width)` of the canonical `y`, or None where there is no condition."""
        return self(y)

    def symbolic(self) -> keras.KerasTensor | None:
        """Return a Keras input of this condition."""
        return keras.Input(self.shape, dtype=self.dtype_in, name="condition")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.width)


@CONDITIONS.register("none")
class Unconditional(Condition):
    """No condition: the plain VAE."""

    def prepare(self, y):
        if y is not None:
            raise ValueError(
                "This model has no condition, but one was given. Leave it out, or build the model "
                "with condition=... to train on labels."
            )

    def prepare_any(self, y):
        return self.prepare(y), True

    def parse(self, text):
        return self.prepare(text)

    def mix(self, start, end, weights):
        return self.prepare(start) or self.prepare(end)

    def features(self, y):
        return None

    def symbolic(self):
        return None


@CONDITIONS.register("categorical")
class Categorical(Condition):
    """One of K classes, or a mixture of them.

    Accepted as y: class numbers `(n,)`, class names `(n,)`, or mixtures `(n, K)` whose rows are
    weights that sum to one ("half a 3, half an 8"). One condition is a number, a name, or a mapping
    from classes to weights.

    Args:
        classes: How many classes, or their names. With names, numbers are positions in that list,
            unless all names are numbers themselves (`[3, 5, 7]`): then they are labels.
        encoding: "onehot", or "embedding" for a learned vector per class.
        embedding_dim: Length of that vector.
    """

    def __init__(self, classes=10, encoding="onehot", embedding_dim=16, **kwargs):
        super().__init__(**kwargs)
        if encoding not in ("onehot", "embedding"):
            raise ValueError(
                f"Categorical encoding: received {encoding!r}, expected 'onehot' or 'embedding'."
            )
        labels = list(range(classes)) if isinstance(classes, int | np.integer) else list(classes)
        if not labels or len(set(map(str, labels))) != len(labels):
            raise ValueError(
                f"Categorical classes: received {classes!r}, expected a positive number of classes "
                "or a list of different names."
            )
        self.labels = [x.item() if isinstance(x, np.generic) else x for x in labels]
        self.encoding, self.embedding_dim = encoding, int(embedding_dim)
        self.width = len(labels) if encoding == "onehot" else self.embedding_dim
        self.dtype_in = "int32"
        if encoding == "embedding":
            self.table = self.add_weight(
                shape=(len(labels), self.embedding_dim),
                initializer=keras.initializers.RandomNormal(stddev=1.0),
                name="table",
            )
        self._index_of_name = {str(label): i for i, label in enumerate(self.labels)}
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

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names, in order."""
        return tuple(self._index_of_name)

    def get_config(self):
        own = {
            "classes": self.labels,
            "encoding": self.encoding,
            "embedding_dim": self.embedding_dim,
        }
        return super().get_config() | own

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
        y = np.asarray(y)
        if y.dtype.kind in "USO":
            if y.ndim != 1:
                raise ValueError(
                    f"Class names: received an array of shape {y.shape}, expected (n,)."
                )
            names, inverse = np.unique(y.astype(str), return_inverse=True)
            return np.array([self._index(name) for name in names.tolist()], "int32")[inverse]
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
            raise ValueError(
                f"Received {bad} as a class. Expected whole numbers, names, or mixtures "
                f"(n, {self.num_classes})."
            )
        numbers, inverse = np.unique(y.astype("int64"), return_inverse=True)
        return np.array([self._index(number) for number in numbers.tolist()], "int32")[inverse]

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

    def mix(self, start, end, weights):
        first, last = (self.as_weights(self.prepare_any(one)[0]) for one in (start, end))
        return ((1 - weights[:, None]) * first + weights[:, None] * last).astype("float32")

    def as_weights(self, y: np.ndarray) -> np.ndarray:
        """Write canonical conditions as rows of class weights `(n, K)`."""
        return y if y.ndim == 2 else np.eye(self.num_classes, dtype="float32")[y]

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


@CONDITIONS.register("continuous")
class Continuous(Condition):
    """A vector of numbers, standardised inside the model.

    Args:
        dim: How many numbers there are.
    """

    def __init__(self, dim=1, **kwargs):
        if int(dim) != dim or dim < 1:
            raise ValueError(f"dim: received {dim}, expected a positive whole number.")
        super().__init__(autocast=False, **kwargs)  # a year has more digits than bfloat16
        self.dim = self.width = int(dim)
        self.shape = (self.dim,)
        kept: dict[str, Any] = {"trainable": False, "dtype": "float32", "autocast": False}
        self.mean = self.add_weight(self.shape, "zeros", name="mean", **kept)
        self.scale = self.add_weight(self.shape, "ones", name="scale", **kept)

    def get_config(self):
        return super().get_config() | {"dim": self.dim}

    def adapt(self, y: Any) -> None:
        """Take mean and scale from training conditions `(n, dim)`; the model saves them."""
        y = self.prepare(y)
        self.mean.assign(y.mean(axis=0))
        self.scale.assign(np.where(y.std(axis=0) > 0, y.std(axis=0), 1.0))

    def call(self, y):
        y = ops.reshape(ops.cast(y, "float32"), (-1, self.dim))
        return ops.cast((y - self.mean) / self.scale, self.compute_dtype)

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on {self.dim} number(s), but no condition was given."
            )
        y = np.asarray(y)
        if y.dtype.kind not in "iufb":
            raise ValueError(
                f"The condition holds {y.dtype} values. Expected {self.dim} number(s) per example."
            )
        if y.ndim == 1 and self.dim == 1:
            y = y[:, None]
        if y.ndim != 2 or y.shape[1] != self.dim:
            raise ValueError(
                f"The condition has shape {y.shape}. Expected (n, {self.dim})"
                f"{' or (n,)' if self.dim == 1 else ''}."
            )
        if not np.all(np.isfinite(y)):
            row = int(np.flatnonzero(~np.isfinite(y).all(axis=1))[0])
            raise ValueError(
                f"The condition holds NaN or infinity, first in row {row}: {y[row]}. Expected "
                "finite numbers."
            )
        return y.astype("float32")

    def prepare_any(self, y):
        single = np.ndim(y) == 0 or (np.ndim(y) == 1 and self.dim > 1)
        return self.prepare(y if y is None else np.reshape(y, (1, -1)) if single else y), single

    def parse(self, text):
        """Read numbers separated by commas ("0.5,-1")."""
        try:
            value = np.array([float(part) for part in text.split(",")])
        except ValueError:
            raise ValueError(
                f"Cannot read '{text}' as {self.dim} number(s). Expected, for example, "
                f"{','.join(['0.5'] * self.dim)}."
            ) from None
        self.prepare(value[None])
        return value if self.dim > 1 else value[0] if len(value) == 1 else value

    def mix(self, start, end, weights):
        first, last = (self.prepare_any(one)[0] for one in (start, end))
        return ((1 - weights[:, None]) * first + weights[:, None] * last).astype("float32")


def get(identifier: Any) -> Condition:
    """None, a number of classes, a list of class names, a registered name, or a `Condition`."""
    if identifier is None:
        return Unconditional()
    if isinstance(identifier, int | list | tuple) and not isinstance(identifier, bool):
        return Categorical(identifier)
    return CONDITIONS.get(identifier)
