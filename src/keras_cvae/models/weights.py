"""How much each example counts: sample weights, and weights of classes, which become such."""

import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.backend import reweighed
from keras_cvae.columns import as_array, is_nothing
from keras_cvae.conditions.spec import ConditionSpec, JointSpec
from keras_cvae.errors import listed


def checked_weights(
    weights: Any, n: int, name: str = "sample_weight", *, zeros: bool = False
) -> np.ndarray | None:
    """The weights of n examples as float32 `(n,)`; None stays.

    Args:
        weights: What a user gave.
        n: How many examples there are.
        name: What to call the weights.
        zeros: Whether all of them may be 0.

    Raises:
        ValueError: They are no finite numbers `(n,)` or `(n, 1)` of at least 0, or are all 0.
    """
    if weights is None:
        return None
    weights = as_array(weights, name)
    if weights.dtype.kind not in "iufb" or weights.shape not in ((n,), (n, 1)):
        raise ValueError(
            f"{name} has the shape {weights.shape} and holds {weights.dtype} values. Expected one "
            f"number for each of {n} examples, ({n},)."
        )
    weights = weights.reshape(n).astype("float32")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        wrong = ~(np.isfinite(weights) & (weights >= 0))
        raise ValueError(
            f"{name} holds {weights[wrong][0]:g}, first in row {int(np.argmax(wrong))}. Expected "
            "finite numbers of at least 0."
        )
    if not zeros and not weights.any():
        raise ValueError(f"{name} holds nothing but 0. Expected some examples to count.")
    return weights


class ClassWeights:
    """Weights of examples by their classes, as Keras' `class_weight` gives them.

    Args:
        spec: Of the conditions.
        weights: Weights by class, named as in y: names or numbers; None or -1 for a class that is
            missing, where it may be. A class that is left out weighs 1. Of several named
            conditions, a dict by name of such; without these names, it is about the only one that
            has classes.

    Raises:
        ValueError: There are no classes, or an unknown one, or a weight that is no finite number of
            at least 0.
    """

    def __init__(self, spec: ConditionSpec, weights: Any):
        if not isinstance(weights, Mapping) or not weights:
            raise ValueError(
                f"class_weight: received {weights!r}, expected weights by class, like {{'cat': 2}}."
            )
        self.spec = spec
        self.parts: dict[str | None, tuple[np.ndarray, float]] = {}
        if not isinstance(spec, JointSpec):
            self.parts[None] = _weights(spec, weights)
            return
        named = {name: part for name, part in spec.parts.items() if part.classes is not None}
        by_name = all(isinstance(value, Mapping) for value in weights.values())
        if not by_name:
            if len(named) != 1:
                raise ValueError(
                    f"class_weight: of the conditions {listed(spec.parts)}, {len(named)} have "
                    "classes. Expected weights by name of a condition and class: "
                    "{'NAME': {class: weight}}."
                )
            weights = {next(iter(named)): weights}
        for name, value in weights.items():
            if name not in spec.parts:
                raise ValueError(
                    f"class_weight: unknown condition {name!r}. This model is conditioned on "
                    f"{listed(spec.parts)}.{errors.nearest(name, spec.parts)}"
                )
            self.parts[name] = _weights(spec.parts[name], value)

    def of(self, conditions: Any) -> np.ndarray:
        """The weights `(n,)` of canonical conditions; of a mixture the expected one."""
        found = [
            _of(np.asarray(conditions if name is None else conditions[name]), *weights)
            for name, weights in self.parts.items()
        ]
        return np.prod(found, axis=0).astype("float32")

    def weigh(self, batch: Any) -> tuple[Any, Any, np.ndarray]:
        """`(x, y, sample_weight)` of a batch that a data set yielded."""
        x, y, given = keras.utils.unpack_x_y_sample_weight(batch)
        conditions = x.get("condition") if isinstance(x, Mapping) else y
        if conditions is None:
            examples = x["x"] if isinstance(x, Mapping) else x
            conditions = self.spec.unknown(len(examples))
        weights = self.of(keras.tree.map_structure(np.asarray, conditions))
        return x, y, weights if given is None else weights * np.reshape(given, weights.shape)

    def weighed(self, data: Any) -> Any:
        """The batches of a generator, a `PyDataset` or a `tf.data.Dataset`, weighed; else None."""
        if isinstance(data, types.GeneratorType):
            return _weighed(self, data)
        if isinstance(data, keras.utils.PyDataset):
            return Weighed(self, data)
        return reweighed(data, self.of)


def _weighed(weights: ClassWeights, data: Iterator[Any]) -> Iterator[Any]:
    for batch in data:
        yield weights.weigh(batch)


class Weighed(keras.utils.PyDataset):
    """The batches of another data set, weighed by class.

    Args:
        weights: Of the classes.
        data: What yields `(x, y)` or `(x, y, sample_weight)`.
    """

    def __init__(self, weights: ClassWeights, data: keras.utils.PyDataset):
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self.weights, self.data = weights, data
        if hasattr(data, "next_epoch"):
            self.next_epoch = data.next_epoch

    @property
    def num_batches(self) -> int | None:
        """As many as of the other."""
        return self.data.num_batches

    def __getitem__(self, index: int) -> tuple[Any, Any, np.ndarray]:
        return self.weights.weigh(self.data[index])

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self.data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Called by Keras."""
        self.data.on_epoch_end()


def _weights(spec: ConditionSpec, given: Any) -> tuple[np.ndarray, float]:
    """The weights of the classes `(K,)`, and that of one that is missing."""
    classes = spec.classes
    if classes is None or not isinstance(given, Mapping):
        raise ValueError(
            f"class_weight weighs classes; received {given!r} for {spec.summary()}. Expected "
            "sample_weight, one number for each example."
        )
    weights, missing = np.ones(classes.num_classes), 1.0
    for label, weight in given.items():
        try:
            value = errors.number(f"the weight of {label!r}", weight)
            if spec.forgettable and (is_nothing(label) or _marks(classes, label)):
                missing = value
            else:
                weights[classes.position(label)] = value
        except ValueError as error:
            raise ValueError(f"class_weight: {error}") from None
    return weights, missing


def _marks(classes: ConditionSpec, label: Any) -> bool:
    return bool(classes.marks_missing(np.array([label], object))[0])


def _of(canonical: np.ndarray, weights: np.ndarray, missing: float) -> np.ndarray:
    if canonical.ndim == 2 and canonical.shape[1] > 1:
        gone = np.isnan(canonical).any(axis=1)
        return np.where(gone, missing, np.nan_to_num(canonical) @ weights)
    places = canonical.reshape(len(canonical))
    gone = ~(places >= 0)  # NaN neither
    return np.where(gone, missing, weights[np.where(gone, 0, places).astype(int)])


def only_counted(values: Any, weight: Any) -> Any:
    """Put an example that counts in the place of each that has weight 0.

    A weight of 0 does not make up for terms that are no finite numbers: 0 times infinity is NaN, in
    the loss and in its gradient. Labels stay, as none of them is far from others.

    Args:
        values: Floats `(n, ...)`, or whole numbers, which stay; dictionaries of them.
        weight: `(n,)` or `(n, 1)`.
    """
    weight = ops.reshape(weight, (-1,))
    best, out = ops.argmax(weight), weight == 0

    def kept(array: Any) -> Any:
        if not keras.backend.standardize_dtype(array.dtype).startswith("float"):
            return array
        rows = ops.reshape(out, (-1, *[1] * (len(array.shape) - 1)))
        return ops.where(rows, ops.take(array, ops.reshape(best, (1,)), axis=0), array)

    return keras.tree.map_structure(kept, values)
