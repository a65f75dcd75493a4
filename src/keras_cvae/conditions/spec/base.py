"""What every condition is on the user's side: checked, named, kept as JSON. NumPy, no Keras.

The canonical form of conditions is an array `(n, ...)`, of several named ones a dict of arrays.
Where one is missing, whole numbers are -1 and the others NaN (see `OptionalSpec`).
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from keras_cvae.conditions.spec.entries import known, listed_alone, shape_of
from keras_cvae.trees import count, repeat

if TYPE_CHECKING:
    from keras_cvae.conditions.spec.labels import CategoricalSpec

Trait = tuple[str, ...]  # what training may have had: ("classes",), ("age", "missing")


class ConditionSpec(abc.ABC):
    """What a condition may be: checks what a user says of it, and names it.

    To add a kind, write a frozen dataclass with `kind`, `shape`, `dtype`, `canonical` and
    `summary` (`is_one`, if one condition is not a number or a word; `between`, if the way from one
    to another is not a straight line; `words` and `example`, where there are any), and add it to
    `KINDS` in `conditions/spec/__init__.py`.

    Attributes:
        kind: The name of this kind in JSON.
        shape: Shape of one canonical condition, without the n.
        dtype: Dtype of canonical arrays, "float32" or "int32".
    """

    kind: ClassVar[str]
    shape: tuple[int, ...]
    dtype: str

    @property
    def forgettable(self) -> bool:
        """Whether all of it may be missing."""
        return False

    @property
    def classes(self) -> "CategoricalSpec | None":
        """The classes, if it is one of several (and may be missing, too); None otherwise."""
        return None

    # What a user says.

    def prepare(self, conditions: Any) -> Any:
        """Check the conditions of many examples and return the canonical form, `(n, ...)`.

        Raises:
            ValueError: Naming what was received and what this condition expects.
        """
        if conditions is None:
            raise ValueError(
                f"This model is conditioned on {self.summary()}, but no condition was given."
            )
        return self.canonical(known(self.arranged(conditions)))

    def arranged(self, conditions: Any) -> Any:
        """The columns of a table in the order that the canonical form has them.

        Raises:
            ValueError: They are named, and not as this condition's parts are.
        """
        return conditions

    @abc.abstractmethod
    def canonical(self, values: np.ndarray) -> np.ndarray:
        """Check values `(n, ...)` of which none is missing; return the canonical form.

        Raises:
            ValueError: As in `prepare`.
        """

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        """Whether this is one condition, not one for each of many examples.

        Args:
            condition: What a user gave.
            n: How many examples it is for, if that is known.

        Raises:
            ValueError: It could be either.
        """
        return shape_of(condition) == ()

    def prepare_any(self, condition: Any, n: int | None = None) -> tuple[Any, bool]:
        """Check one condition, or those of many examples.

        Args:
            condition: What a user gave; None, if it is missing.
            n: How many examples it is for, if that is known.

        Returns:
            The canonical form `(n, ...)`, n being 1 for one condition, and whether it was one.

        Raises:
            ValueError: As in `prepare`.
        """
        if condition is None:
            return self.unknown() if self.forgettable else self.prepare(None), True
        if self.is_one(condition, n):
            return self.prepare(listed_alone(condition)), True
        return self.prepare(condition), False

    def for_each(self, condition: Any, n: int) -> Any:
        """Check one condition for all of n examples, or one for each; return `(n, ...)`.

        Raises:
            ValueError: As in `prepare`, or there are neither 1 nor n.
        """
        canonical, _ = self.prepare_any(condition, n)
        found = count(canonical)
        if found not in (1, n):
            raise ValueError(f"Received {found} conditions for {n} examples. Expected one, or {n}.")
        return repeat(canonical, n) if found == 1 else canonical

    def unknown(self, n: int = 1) -> Any:
        """The canonical form of n conditions of which nothing is known.

        Raises:
            ValueError: It cannot be missing.
        """
        raise ValueError(
            f"This model's condition ({self.summary()}) cannot be missing. Train it with "
            "Optional(..., dropout=0.1) to leave it out."
        )

    def missing(self, canonical: Any) -> np.ndarray:
        """Which of the canonical conditions `(n, ...)` are missing, `(n,)` booleans."""
        return np.zeros(count(canonical), bool)

    def marks_missing(self, values: np.ndarray) -> np.ndarray:
        """Which of the values `(n, ...)` stand for a missing one within `Optional`, `(n,)`."""
        return np.zeros(len(values), bool)

    def positional(self) -> "ConditionSpec":
        """The spec of conditions as data sets yield them: like this, but classes by position."""
        return self

    # What is shown to a user.

    @abc.abstractmethod
    def summary(self) -> str:
        """Say in words what this condition is."""

    def words(self, canonical: Any) -> str:
        """Name one canonical condition (without the n) for a caption; "" where there are none."""
        return ""

    def example(self) -> Any:
        """One condition as a user would say it, for a hint; None where there is nothing to show."""
        return None

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        """Conditions on the way from one to another.

        Args:
            first: One canonical condition, `(1, ...)`.
            last: Another.
            weights: `(n,)`, from 0 at the first to 1 at the last.

        Returns:
            Canonical conditions `(n, ...)`.
        """
        weights = weights.reshape(-1, *[1] * (first.ndim - 1))
        return ((1 - weights) * first + weights * last).astype("float32")

    # What there was in training.

    def traits(self) -> dict[Trait, tuple[int, ...]]:
        """What training may have had or not, with the shapes of the answers."""
        return {}

    def occurring(self, canonical: Any) -> dict[Trait, np.ndarray]:
        """Which of the traits there are in canonical conditions, as booleans."""
        return {}

    def check_trained(  # noqa: B027, for most there is nothing to check
        self, canonical: Any, trained: Mapping[Trait, np.ndarray]
    ) -> None:
        """Refuse canonical conditions that are missing in a way that training never was.

        Args:
            canonical: Canonical conditions.
            trained: Which of the traits there were in training.

        Warns:
            UserWarning: Some are of a class that training never had.

        Raises:
            ValueError: Saying what is missing and how to train for it.
        """

    # JSON.

    def to_json(self) -> dict[str, Any]:
        """This spec in values that JSON has; `from_json` undoes it."""
        fields = [field.name for field in dataclasses.fields(self) if field.init]  # type: ignore[arg-type]
        return {"kind": self.kind} | {name: _plain(getattr(self, name)) for name in fields}

    def _set(self, **values: Any) -> None:
        """Set attributes of this frozen dataclass while it is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclasses.dataclass(frozen=True)
class NoneSpec(ConditionSpec):
    """No condition: the plain VAE."""

    kind = "none"

    def prepare(self, conditions: Any) -> None:
        if conditions is not None:
            raise ValueError(
                "This model has no condition, but one was given. Leave it out, or build the model "
                "with condition=... to train on labels."
            )

    def canonical(self, values: np.ndarray) -> Any:
        return self.prepare(values)

    def prepare_any(self, condition: Any, n: int | None = None) -> tuple[None, bool]:
        return self.prepare(condition), True  # type: ignore[func-returns-value]

    def for_each(self, condition: Any, n: int) -> None:
        return self.prepare(condition)

    def unknown(self, n: int = 1) -> Any:
        raise ValueError("This model has no condition that could be left out.")

    def summary(self) -> str:
        return "none"

    def between(self, first: Any, last: Any, weights: np.ndarray) -> None:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, ConditionSpec):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
