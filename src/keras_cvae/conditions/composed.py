"""Conditions made of others, and the condition that something a user writes stands for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

import keras_cvae.conditions.columns
import keras_cvae.conditions.known
import keras_cvae.conditions.numbers  # noqa: F401, so that `get` knows every name
from keras_cvae.conditions.arrays import Encoded
from keras_cvae.conditions.base import (
    CONDITIONS,
    ConditionEncoder,
    Tensors,
    Unconditional,
)
from keras_cvae.conditions.labels import Categorical
from keras_cvae.conditions.spec import JointSpec, OptionalSpec, Trait
from keras_cvae.conditions.spec.composed import MISSING
from keras_cvae.probability.distributions import Distribution
from keras_cvae.tensors import Tensor


def get(identifier: Any) -> ConditionEncoder:
    """Turn what a user writes into a condition.

    None, a number of classes, a list (array, column) of class names, a dict of named conditions, a
    Keras model that encodes the condition, a registered name, or a condition.

    Raises:
        ValueError: It stands for no condition.
    """
    if identifier is None:
        return Unconditional()
    if isinstance(identifier, Mapping):
        return Joint(identifier)
    if isinstance(identifier, keras.Model):
        return Encoded(identifier)
    if hasattr(identifier, "tolist"):  # of NumPy or pandas: a number, a column's unique values
        identifier = identifier.tolist()
    if isinstance(identifier, int | list | tuple | range) and not isinstance(identifier, bool):
        return Categorical(identifier)
    condition: ConditionEncoder = CONDITIONS.get(identifier)
    return condition


@CONDITIONS.register("optional")
class Optional(ConditionEncoder):
    """A condition that is known of some examples only, in training and when sampling.

    A missing one is None, NaN, an entry that a NumPy mask or pandas hides, and for classes also -1
    or "" (unless these are classes themselves). Its features are learned: `state`.

    Dropout forgets known conditions at random in training, so that one network learns p(x | y) and
    p(x); guidance goes beyond the one, away from the other (Ho & Salimans 2022).

    Args:
        part: The condition, or what stands for one: `Optional(10, dropout=0.1)`.
        dropout: Share of the known ones that each training step forgets.

    Examples:
        >>> some = ConditionalVAE((6,), Optional(3, dropout=0.1), 2, backbone=MLP((8,)), seed=0)
        >>> some.compile("adam")
        >>> history = some.fit(rng.random((9, 6)), [0, 1, None] * 3, verbose=0)
        >>> some.generate(None, n=2).shape, some.generate(1, n=2, guidance=2).shape
        ((2, 6), (2, 6))
    """

    spec: OptionalSpec

    def __init__(self, part: Any, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.part = get(part)
        self.spec = OptionalSpec(self.part.spec)
        self.dropout = check_rate(dropout)
        self.width, self.has_encoder = self.part.width, self.part.has_encoder
        self.state = self.add_weight((self.width,), "zeros", name="state")

    def get_config(self) -> dict[str, Any]:
        part = keras.saving.serialize_keras_object(self.part)
        return super().get_config() | {"part": part, "dropout": self.dropout}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Optional":
        return cls(**config | {"part": keras.saving.deserialize_keras_object(config["part"])})

    def call(self, condition: Tensor) -> Tensor:
        condition = self._tensor(condition)
        known = self.is_known(condition)
        filled = ops.where(_along(known, condition), condition, ops.zeros_like(condition))
        features = self.part(filled)
        state = ops.cast(ops.convert_to_tensor(self.state), features.dtype)
        return ops.where(known[:, None], features, state)

    def is_known(self, condition: Tensor) -> Tensor:
        condition = self._tensor(condition)
        first = ops.reshape(condition, (ops.shape(condition)[0], -1))[:, 0]
        return first >= 0 if self.spec.dtype == "int32" else ops.logical_not(ops.isnan(first))

    def forget(self, condition: Tensor, which: Tensor) -> Tensor:
        """Canonical conditions with those at `which`, `(batch,)` booleans, made missing."""
        condition = self._tensor(condition)
        blank = np.nan if "float" in str(condition.dtype) else -1
        return ops.where(_along(which, condition), ops.full_like(condition, blank), condition)

    def drop(self, condition: Tensor, uniform: Callable[[Any], Tensor]) -> Tensor:
        condition = self._tensor(condition)
        if not self.dropout:
            return condition
        return self.forget(condition, uniform(ops.shape(condition)[:1]) < self.dropout)

    def missing(self, condition: Tensor) -> dict[Trait, Tensor]:
        return {MISSING: ops.any(ops.logical_not(self.is_known(condition)))}

    def settle(self, condition: Any, again: bool = True) -> None:
        known = condition[~self.spec.missing(condition)]
        if len(known):
            self.part.settle(known, again)

    def far(self, condition: Any) -> str:
        return self.part.far(condition[~self.spec.missing(condition)])

    def example(self) -> Any:
        return self.part.example()

    def _tensor(self, condition: Tensor) -> Tensor:
        condition = ops.convert_to_tensor(condition)
        floats = "float" in str(condition.dtype)  # mixtures of classes are, others' dtype is known
        return condition if floats else ops.cast(condition, self.spec.dtype)


@CONDITIONS.register("joint")
class Joint(ConditionEncoder):
    """Named conditions; their features side by side.

    A mapping from names to what each part takes, of equal lengths; a pandas DataFrame (other
    columns than the parts' are ignored) or a structured array; a list of mappings, one for each
    example. One condition is a mapping of single ones. A mapping may omit an `Optional` part; it is
    then missing for every example.

    Args:
        parts: Name to condition, or what stands for one:
            `{"class": ["cat", "dog"], "age": Optional("continuous"), "hour": Periodic(24)}`.
        dropout: Share of examples of which each training step forgets all parts at once, for
            guidance and for draws without any condition; each part becomes `Optional` for it.

    Examples:
        >>> both = Joint({"kind": ["cat", "dog"], "age": Optional(Continuous())})
        >>> both.spec.prepare([{"kind": "dog", "age": 3}, {"kind": "cat"}])
        {'kind': array([1, 0], dtype=int32), 'age': array([[ 3.],
               [nan]], dtype=float32)}
    """

    spec: JointSpec

    def __init__(self, parts: Mapping[str, Any], dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.dropout = check_rate(dropout)
        found = {name: get(part) for name, part in parts.items()}
        self.spec = JointSpec({name: part.spec for name, part in found.items()})
        scaling = [name for name, part in found.items() if part.scales]
        if dropout and scaling:
            raise ValueError(
                f"Joint: dropout forgets all parts at once, but {scaling[0]!r} is an exposure, "
                "which cannot be missing. Expected Optional(..., dropout) around the other parts."
            )
        if dropout:
            found = {n: p if isinstance(p, Optional) else Optional(p) for n, p in found.items()}
            self.spec = JointSpec({name: part.spec for name, part in found.items()})
        self.parts = found  # once: Keras keeps weights in the order in which it first saw them
        self.width = sum(part.width for part in self.parts.values())
        self.private = sum(part.private for part in self.parts.values())
        self.has_encoder = any(part.has_encoder for part in self.parts.values())
        self.scales = bool(scaling)

    def get_config(self) -> dict[str, Any]:
        parts = {n: keras.saving.serialize_keras_object(part) for n, part in self.parts.items()}
        return super().get_config() | {"parts": parts, "dropout": self.dropout}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Joint":
        parts = config["parts"]
        parts = {n: keras.saving.deserialize_keras_object(part) for n, part in parts.items()}
        return cls(**config | {"parts": parts})

    def call(self, condition: Tensors) -> Tensor:
        shared: list[Tensor] = []
        private: list[Tensor] = []
        for name, part in self.parts.items():
            features = ops.cast(part.features(condition[name]), self.compute_dtype)
            (private if part.private else shared).append(features)
        return ops.concatenate(shared + private, axis=-1)

    def fix(self, p: Distribution, condition: Tensors | None) -> Distribution:
        if condition is None or not self.scales:
            return p
        for name, part in self.parts.items():
            p = part.fix(p, condition[name])
        return p

    def symbolic(self) -> dict[str, Tensors]:
        return {name: part.symbolic() for name, part in self.parts.items()}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (next(iter(input_shape.values()))[0], self.width)

    def drop(self, condition: Tensors, uniform: Callable[[Any], Tensor]) -> Tensors:
        condition = {n: part.drop(condition[n], uniform) for n, part in self.parts.items()}
        if not self.dropout:
            return condition
        which = uniform(ops.shape(keras.tree.flatten(condition)[0])[:1]) < self.dropout
        return {name: part.forget(condition[name], which) for name, part in self._optional()}

    def missing(self, condition: Tensors) -> dict[Trait, Tensor]:
        found = {
            (name, *trait): missing
            for name, part in self.parts.items()
            for trait, missing in part.missing(condition[name]).items()
        }
        if self.spec.forgettable:
            found[MISSING] = ops.any(ops.logical_not(self.is_known(condition)))
        return found

    def is_known(self, condition: Tensors) -> Tensor:
        known = [part.is_known(condition[name]) for name, part in self.parts.items()]
        return ops.any(ops.stack(known), axis=0)

    def settle(self, condition: Any, again: bool = True) -> None:
        for name, values in condition.items():
            self.parts[name].settle(values, again)

    def far(self, condition: Any) -> str:
        found = ((name, part.far(condition[name])) for name, part in self.parts.items())
        return next((f"{words}, of {name!r}" for name, words in found if words), "")

    def example(self) -> Any:
        shown = {name: part.example() for name, part in self.parts.items()}
        return {name: value for name, value in shown.items() if value is not None}

    def _optional(self) -> Iterator[tuple[str, Optional]]:
        return ((n, part) for n, part in self.parts.items() if isinstance(part, Optional))


def check_rate(dropout: float) -> float:
    """Check a share below 1.

    Raises:
        ValueError: It is none.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: received {dropout}, expected at least 0 and less than 1.")
    return float(dropout)


def _along(mask: Tensor, values: Tensor) -> Tensor:
    """A mask `(batch,)` in the shape that goes with values `(batch, ...)`."""
    return ops.reshape(mask, (-1, *[1] * (len(values.shape) - 1)))
