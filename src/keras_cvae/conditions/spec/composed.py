"""Conditions made of others: one that may be missing, several by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cvae.columns import labels_of
from keras_cvae.conditions.spec.base import ConditionSpec, NoneSpec, Trait
from keras_cvae.conditions.spec.entries import entries, shape_of, shortened
from keras_cvae.conditions.spec.known import KnownPartSpec
from keras_cvae.conditions.spec.labels import CategoricalSpec
from keras_cvae.conditions.spec.numbers import ExposureSpec
from keras_cvae.errors import listed, nearest
from keras_cvae.trees import count

MISSING: Trait = ("missing",)


@dataclass(frozen=True)
class OptionalSpec(ConditionSpec):
    """A condition that is known of some examples only.

    A missing one is None, NaN, an entry that a NumPy mask or pandas hides, and for classes also -1
    or "" (unless these are classes themselves). In the canonical form it is -1 where that is whole
    numbers, and NaN elsewhere.

    Args:
        part: The condition.

    Raises:
        ValueError: The part is none, several, part of x, or may be missing already.
    """

    part: ConditionSpec

    kind = "optional"
    forgettable = True

    def __post_init__(self) -> None:
        if isinstance(self.part, NoneSpec | JointSpec | KnownPartSpec | OptionalSpec):
            joint = isinstance(self.part, JointSpec)
            hint = " Joint(parts, dropout=0.1) lets all of several be missing at once."
            raise ValueError(
                f"Optional: received {type(self.part).__name__.removesuffix('Spec')}, expected one "
                f"condition.{hint if joint else ''}"
            )
        if isinstance(self.part, ExposureSpec):
            raise ValueError(
                "Optional: an exposure scales what is counted, so it cannot be missing. Expected "
                "Exposure() itself, and dropout of the other conditions alone."
            )
        self._set(shape=self.part.shape, dtype=self.part.dtype)

    @property
    def classes(self) -> CategoricalSpec | None:
        return self.part.classes

    def prepare(self, conditions: Any) -> np.ndarray:
        if conditions is None:
            return self.part.prepare(None)  # says what is missing
        values, missing = entries(self.part.arranged(conditions))
        missing = missing | self.part.marks_missing(values)
        if missing.all():
            return self.unknown(len(missing))
        known = self.part.canonical(values[~missing])
        if not missing.any():
            return known
        filled = np.full((len(missing), *known.shape[1:]), _blank(known.dtype), known.dtype)
        filled[~missing] = known
        return filled

    def positional(self) -> "OptionalSpec":
        return OptionalSpec(self.part.positional())

    def canonical(self, values: np.ndarray) -> np.ndarray:
        return self.part.canonical(values)

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        return shape_of(condition) == () or self.part.is_one(condition, n)

    def unknown(self, n: int = 1) -> np.ndarray:
        return np.full((n, *self.shape), _blank(np.dtype(self.dtype)), self.dtype)

    def missing(self, canonical: Any) -> np.ndarray:
        first = np.reshape(canonical, (len(canonical), -1))[:, 0]
        return first < 0 if np.dtype(canonical.dtype).kind == "i" else np.isnan(first)

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        missing = [self.missing(one).any() for one in (first, last)]
        if all(missing):
            return self.unknown(len(weights))
        if any(missing):
            raise ValueError(
                "There is no way from a missing condition to a known one. Expected both ends known."
                " Guidance between 0 and 1 goes from draws without the condition to draws with it."
            )
        return self.part.between(first, last, weights)

    def words(self, canonical: Any) -> str:
        return "?" if self.missing(np.asarray(canonical)[None])[0] else self.part.words(canonical)

    def example(self) -> Any:
        return self.part.example()

    def summary(self) -> str:
        return f"{self.part.summary()}; may be missing"

    def traits(self) -> dict[Trait, tuple[int, ...]]:
        return self.part.traits() | {MISSING: ()}

    def occurring(self, canonical: Any) -> dict[Trait, np.ndarray]:
        missing = self.missing(np.asarray(canonical)).any()
        return self.part.occurring(canonical) | {MISSING: np.asarray(missing)}

    def check_trained(self, canonical: Any, trained: Mapping[Trait, np.ndarray]) -> None:
        self.part.check_trained(canonical, trained)
        if self.missing(canonical).any() and not trained[MISSING]:
            raise ValueError(
                "A condition is missing, but none ever was in training, so the model has not "
                f"learned what to do without it. Give {self.part.summary()}, or train with "
                "Optional(..., dropout=0.1)."
            )


@dataclass(frozen=True)
class JointSpec(ConditionSpec):
    """Several conditions, each with a name.

    The conditions of many examples are a mapping from names to what each part takes, of equal
    lengths; a pandas DataFrame (other columns than the parts' are ignored) or a structured array; a
    list of mappings, one for each example. One condition is a mapping of single ones. A mapping may
    omit an optional part; it is then missing for every example.

    The canonical form is a dict of arrays `(n, ...)`.

    Args:
        parts: The conditions by name.

    Raises:
        ValueError: There are no parts, or one of them is none, or part of x.
    """

    parts: Mapping[str, ConditionSpec]

    kind = "joint"

    def __post_init__(self) -> None:
        named = isinstance(self.parts, Mapping) and len(self.parts)
        if not named or not all(isinstance(name, str) and name for name in self.parts):
            raise ValueError(f"Joint: received {self.parts!r}, expected conditions by name.")
        for name, part in self.parts.items():
            if isinstance(part, NoneSpec):
                raise ValueError(f"Joint: the part {name!r} is no condition. Leave it out.")
            if isinstance(part, KnownPartSpec):
                raise ValueError(
                    f"Joint: the part {name!r} is a part of x itself, which stands alone as a "
                    "condition."
                )
        self._set(parts=dict(self.parts))

    @property
    def forgettable(self) -> bool:
        return all(part.forgettable for part in self.parts.values())

    def only(self, names: Iterable[str]) -> "JointSpec":
        """The parts of these names."""
        return JointSpec({name: self.parts[name] for name in names})

    def prepare(self, conditions: Any) -> dict[str, Any]:
        given = self._by_name(conditions)
        return self._complete(self._each(lambda part, value: part.prepare(value), given), 0)

    def positional(self) -> "JointSpec":
        return JointSpec({name: part.positional() for name, part in self.parts.items()})

    def canonical(self, values: np.ndarray) -> Any:
        return self.prepare(values)

    def prepare_any(self, condition: Any, n: int | None = None) -> tuple[Any, bool]:
        if condition is None:
            return self.unknown(), True
        if not isinstance(condition, Mapping):
            return self.prepare(condition), False
        given = self._by_name(condition)
        found = self._each(lambda part, value: part.prepare_any(value, n), given)
        canonical = {name: values for name, (values, _) in found.items()}
        counts = [count(values) for values, single in found.values() if not single]
        if counts:  # what is said once holds for every example
            once = {name: given[name] for name, (_, single) in found.items() if single}
            canonical |= self._each(lambda part, value: part.for_each(value, max(counts)), once)
        return self._complete(canonical, 1), not counts

    def unknown(self, n: int = 1) -> dict[str, Any]:
        return self._each(lambda part, _: part.unknown(n), self.parts)

    def missing(self, canonical: Any) -> np.ndarray:
        lost = [part.missing(canonical[name]) for name, part in self.parts.items()]
        return np.all(lost, axis=0)

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        ends = {name: (first[name], last[name]) for name in self.parts}
        return self._each(lambda part, both: part.between(both[0], both[1], weights), ends)

    def words(self, canonical: Any) -> str:
        said = {name: part.words(canonical[name]) for name, part in self.parts.items()}
        return ", ".join(f"{name}={words}" for name, words in said.items() if words)

    def example(self) -> Any:
        shown = {name: part.example() for name, part in self.parts.items()}
        return {name: value for name, value in shown.items() if value is not None}

    def summary(self) -> str:
        return "; ".join(f"{name}: {part.summary()}" for name, part in self.parts.items())

    def traits(self) -> dict[Trait, tuple[int, ...]]:
        found = {
            (name, *trait): shape
            for name, part in self.parts.items()
            for trait, shape in part.traits().items()
        }
        return found | {MISSING: ()} if self.forgettable else found

    def occurring(self, canonical: Any) -> dict[Trait, np.ndarray]:
        found = {
            (name, *trait): answer
            for name, part in self.parts.items()
            for trait, answer in part.occurring(canonical[name]).items()
        }
        if self.forgettable:
            found[MISSING] = np.asarray(self.missing(canonical).any())
        return found

    def check_trained(self, canonical: Any, trained: Mapping[Trait, np.ndarray]) -> None:
        asked = {
            name: (values, {trait[1:]: met for trait, met in trained.items() if trait[0] == name})
            for name, values in canonical.items()
        }
        self._each(lambda part, both: part.check_trained(both[0], both[1]), asked)
        if self.forgettable and self.missing(canonical).any() and not trained[MISSING]:
            raise ValueError(
                "All conditions are missing, but in training there always was one. Give one of "
                f"{listed(self.parts)}, or train with Joint(parts, dropout=0.1)."
            )

    def _each(
        self, function: Callable[[ConditionSpec, Any], Any], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Call the function on parts and their values; errors name the part."""
        results = {}
        for name, value in values.items():
            try:
                results[name] = function(self.parts[name], value)
            except ValueError as error:
                raise ValueError(f"Condition '{name}': {error}") from None
        return results

    def _complete(self, canonical: dict[str, Any], n: int) -> dict[str, Any]:
        """Add the parts that are missing for every example, of which there are n if all are.

        Raises:
            ValueError: The parts are not of the same length.
        """
        counts = {name: count(values) for name, values in canonical.items()}
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{name} has {found}" for name, found in counts.items())
            raise ValueError(f"The conditions differ in length: {words}. Expected as many of each.")
        n = next(iter(counts.values()), n)
        return {
            name: canonical[name] if name in canonical else part.unknown(n)
            for name, part in self.parts.items()
        }

    def _by_name(self, conditions: Any) -> dict[str, Any]:
        """What was given for each part, of a mapping, rows, a frame or a structured array.

        Raises:
            ValueError: Something else was given, an unknown name, or not all that is needed.
        """
        expected = f"This model is conditioned on {listed(self.parts)}"
        rows = conditions if isinstance(conditions, list | tuple) else []
        if rows and all(isinstance(row, Mapping) for row in rows):
            keys = dict.fromkeys(key for row in rows for key in row)
            conditions = {key: [row.get(key) for row in rows] for key in keys}
        if isinstance(conditions, Mapping):
            columns = list(conditions)
            if unknown := [name for name in columns if name not in self.parts]:
                hint = nearest(unknown[0], self.parts)
                raise ValueError(f"Unknown condition {unknown[0]!r}. {expected}.{hint}")
            needed = [name for name, part in self.parts.items() if not part.forgettable]
        else:
            names = getattr(getattr(conditions, "dtype", None), "names", None)
            found = labels_of(conditions) or getattr(conditions, "columns", names)
            if found is None:
                came = "none" if conditions is None else type(conditions).__name__
                came += "" if conditions is None else f": {shortened(conditions)}"
                raise ValueError(
                    f"{expected}. Expected a mapping from these names to values, or a table with "
                    f"these columns. Received {came}."
                )
            columns, needed = list(found), list(self.parts)
        if left_out := [name for name in needed if name not in columns]:
            hint = nearest(left_out[0], [name for name in columns if name not in self.parts])
            raise ValueError(f"{expected}. Not given: {listed(left_out)}.{hint}")
        given = {name: conditions[name] for name in self.parts if name in columns}
        return {  # None as a whole is as good as left out
            name: value
            for name, value in given.items()
            if value is not None or not self.parts[name].forgettable
        }


def _blank(dtype: np.dtype) -> float:
    return np.nan if dtype.kind == "f" else -1
