"""One of several classes, or any number of several tags."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cvae.checks import checked
from keras_cvae.columns import NUMBER, as_array, labels_of
from keras_cvae.conditions.spec.base import ConditionSpec, Trait
from keras_cvae.conditions.spec.entries import dense, shape_of, shortened
from keras_cvae.errors import listed, nearest, number, warn

Label = str | int
CLASSES: Trait = ("classes",)
NAMES = (list, tuple, set, frozenset)  # the tags of one example
LABEL = (str, *NUMBER)


class Named(ConditionSpec):
    """Base of specs that have labels: names, or whole numbers."""

    labels: Sequence[Label]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the labels, in order."""
        return tuple(map(str, self.labels))

    @functools.cached_property
    def _by_name(self) -> dict[Any, int]:
        return {name: i for i, name in enumerate(self.names)}

    def arranged(self, conditions: Any) -> Any:
        columns = labels_of(conditions)
        if columns is None or not len(columns) == len(self.labels) > 1:
            return conditions
        names = list(map(str, columns))
        if set(names) == set(self.names):
            return as_array(conditions, "The condition")[:, [names.index(n) for n in self.names]]
        if all(isinstance(name, str) for name in columns) and not isinstance(self.labels, range):
            raise ValueError(
                f"The condition is a table with the columns {listed(names)}. Expected those of its "
                f"labels, {listed(self.names)}, or an array without names, in this order."
            )
        return conditions


@dataclass(frozen=True)
class CategoricalSpec(Named):
    """One of K classes, or a mixture of them.

    The conditions of many examples are class numbers or names, `(n,)` or `(n, 1)`; mixtures
    `(n, K)`, whose rows are weights that sum to one ("half a 3, half an 8"); or mappings from
    classes to weights. One condition is a number, a name, a mapping, or the weights of one mixture
    as floats `(K,)`.

    The canonical form is the positions of the classes, int32 `(n,)`, or mixtures, float32 `(n, K)`.

    Args:
        labels: How many classes, or their names. With names, numbers are positions in that list,
            unless all names are numbers themselves (`[3, 5, 7]`): then they are labels.

    Raises:
        ValueError: No labels, or the same one twice.
    """

    labels: Sequence[Label]

    kind = "categorical"
    shape = ()
    dtype = "int32"

    def __post_init__(self) -> None:
        self._set(labels=checked_labels(self.labels, "Categorical classes"))

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.labels)

    @property
    def classes(self) -> "CategoricalSpec":
        return self

    def position(self, label: Any) -> int:
        """The place of a class among the labels, given its name or number.

        Raises:
            ValueError: There is no such class.
        """
        if isinstance(label, str):
            place = self._by_name.get(str(label))
        elif isinstance(label, NUMBER) and float(label).is_integer():
            label = int(label)
            place = self._by_number.get(label)
        else:
            raise ValueError(
                f"Received {shortened(label)} as a class. Expected whole numbers, names "
                f"({listed(self.names)}), or mixtures (n, {self.num_classes})."
            )
        if place is None:
            raise ValueError(
                f"Unknown class {label!r}. This model knows {self.num_classes} classes: "
                f"{listed(self.names)}.{nearest(label, self.names)}"
            )
        return place

    @functools.cached_property
    def _by_number(self) -> dict[Any, int]:
        numeric = all(isinstance(label, int) for label in self.labels)
        numbers = self.labels if numeric else range(self.num_classes)
        return {number: i for i, number in enumerate(numbers)}

    def positional(self) -> "CategoricalSpec":
        return CategoricalSpec(range(self.num_classes))

    def canonical(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind == "O":
            if any(isinstance(row, Mapping) for row in values):
                return self._mixtures(np.stack([self._weights(row) for row in values]))
            if 0 < sum(isinstance(row, str) for row in values) < len(values):  # NumPy takes all for
                return np.array([self.position(row) for row in values], "int32")  # text otherwise
            values = dense(values)
        if values.ndim == 2 and values.shape[1] != 1:
            return self._mixtures(values)
        if values.ndim > 2:
            raise ValueError(
                f"The condition has the shape {values.shape}. Expected class numbers or names "
                f"(n,), or mixtures (n, {self.num_classes})."
            )
        found, places = np.unique(values.ravel(), return_inverse=True)
        return np.array([self.position(label) for label in found.tolist()], "int32")[places]

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        shape = shape_of(condition)
        vector = shape == (self.num_classes,) and self.num_classes > 1
        return shape == () or (vector and self._is_mixture(condition, n))

    def marks_missing(self, values: np.ndarray) -> np.ndarray:
        marks = [mark for mark in (-1, "") if mark not in self.labels]
        if values.dtype.kind in "iufU" and values.shape in ((len(values),), (len(values), 1)):
            mark: Any = "" if values.dtype.kind == "U" else -1
            return (values.ravel() == mark) & (mark in marks)
        if values.dtype.kind == "O":
            return np.array([isinstance(row, LABEL) and row in marks for row in values], bool)
        return np.zeros(len(values), bool)

    def as_weights(self, canonical: np.ndarray) -> np.ndarray:
        """Write canonical conditions as rows of class weights `(n, K)`."""
        if canonical.ndim == 2:
            return canonical
        weights = np.zeros((len(canonical), self.num_classes), "float32")
        weights[np.arange(len(canonical)), canonical] = 1.0
        return weights

    def between(self, first: Any, last: Any, weights: np.ndarray) -> Any:
        if first.shape == last.shape and np.array_equal(first, last):
            return np.repeat(first, len(weights), axis=0)
        return super().between(self.as_weights(first), self.as_weights(last), weights)

    def words(self, canonical: Any) -> str:
        if np.ndim(canonical) == 0:
            return self.names[int(canonical)]
        shares = [(self.names[k], canonical[k]) for k in np.flatnonzero(np.asarray(canonical) > 0)]
        return ", ".join(name if share > 0.999 else f"{share:.0%} {name}" for name, share in shares)

    def example(self) -> Label:
        return self.labels[-1]

    def summary(self) -> str:
        return f"one of {self.num_classes} classes: {listed(self.names)}"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": plain_labels(self.labels)}

    def traits(self) -> dict[Trait, tuple[int, ...]]:
        return {CLASSES: (self.num_classes,)}

    def occurring(self, canonical: Any) -> dict[Trait, np.ndarray]:
        canonical = np.asarray(canonical)
        if canonical.ndim == 2 and canonical.shape[1] > 1:
            return {CLASSES: (canonical > 0).any(axis=0)}
        found = np.zeros(self.num_classes, bool)  # of which some may be missing
        found[canonical[(canonical >= 0) & (canonical < self.num_classes)].astype(int)] = True
        return {CLASSES: found}

    def check_trained(self, canonical: Any, trained: Mapping[Trait, np.ndarray]) -> None:
        seen = trained[CLASSES]
        new = np.flatnonzero(self.occurring(canonical)[CLASSES] & ~seen)
        if len(new) and seen.any():  # without `fit` nobody looked
            names = listed(self.names[k] for k in new)
            warn(
                f"In training there was no example of the class {names}, so the model has not "
                "learned what it is."
            )

    def _is_mixture(self, condition: Any, n: int | None) -> bool:
        """Whether K values are the weights of one mixture, not K classes.

        Whole numbers are classes. Floats that sum to 1 are weights, unless they name classes as
        well, and that is as likely: of two classes, or where there are K examples.
        """
        values = np.asarray(condition)
        if values.dtype.kind not in "fb" or (values.dtype.kind == "b" and len(values) == 2):
            return False
        if not (np.all(values >= 0) and np.isclose(values.sum(), 1, atol=1e-3)):  # nor is NaN
            return False
        whole = bool(np.all(values == np.round(values)))
        numbers = whole and all(int(value) in self._by_number for value in values)
        if numbers and (n == len(values) or (n is None and len(values) == 2)):
            found = self.names[int(np.argmax(values))]
            classes = ", ".join(str(int(value)) for value in values)
            raise ValueError(
                f"Received {shortened(values)}, which may be read in two ways: as one condition, "
                f"the class {found} (weights of {len(values)} classes), or as {len(values)} class "
                f"numbers, {classes}. Expected {{{found!r}: 1.0}} for the one condition, or whole "
                "numbers (astype(int)) for the classes."
            )
        return True

    def _weights(self, row: Any) -> np.ndarray:
        """A mapping from classes to weights, or one class, as weights `(K,)`."""
        weights = np.zeros(self.num_classes, "float32")
        for label, weight in row.items() if isinstance(row, Mapping) else [(row, 1.0)]:
            weights[self.position(label)] += number(f"The weight of the class {label}", weight)
        return weights

    def _mixtures(self, values: np.ndarray) -> np.ndarray:
        size = f"(n, {self.num_classes})"
        if values.dtype.kind not in "iufb" or values.shape[1] != self.num_classes:
            raise ValueError(
                f"The condition has the shape {values.shape} and holds {values.dtype} values. "
                f"Expected mixtures of {self.num_classes} classes, {size}, or class numbers (n,)."
            )
        weights = values.astype("float32")
        sums = weights.sum(axis=1, dtype="float64")
        wrong = ~(np.isclose(sums, 1, atol=1e-3) & (weights >= 0).all(axis=1))  # NaN is neither
        if wrong.any():
            row = weights[np.argmax(wrong)]
            raise ValueError(
                f"Mixtures of classes need weights of at least 0 that sum to 1. Received "
                f"{np.array2string(row, precision=3, threshold=12)}, which sums to {row.sum():g}."
            )
        if self.num_classes == 1:  # which leaves nothing to mix
            return np.zeros(len(weights), "int32")
        return weights


@dataclass(frozen=True)
class TagsSpec(Named):
    """Any number of K tags at once.

    The conditions of many examples are arrays `(n, K)` of 0 and 1 (or weights in between); a list
    or a column of lists of names, or of text, tags separated by `|`. One condition is a list or set
    of names, a name, or `(K,)`.

    The canonical form is float32 `(n, K)`.

    Args:
        labels: How many tags, or their names.

    Raises:
        ValueError: No tags, or the same one twice.
    """

    labels: Sequence[Label]

    kind = "tags"
    dtype = "float32"

    def __post_init__(self) -> None:
        self._set(labels=checked_labels(self.labels, "Tags"))
        self._set(shape=(len(self.labels),))

    def canonical(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind == "O" or values.dtype.kind == "U":
            rows = [_split(row) if isinstance(row, str) else row for row in values.tolist()]
            if all(isinstance(row, NAMES) for row in rows) and all(
                isinstance(tag, str) for row in rows for tag in row
            ):
                return self._multihot(rows)
        weights = checked(dense(values), self.shape, "The condition of tags")
        if weights.size and not (weights.min() >= 0 and weights.max() <= 1):
            raise ValueError(
                "Tags are 0 or 1, or in between. Received values from "
                f"{weights.min():g} to {weights.max():g}."
            )
        return weights

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        if isinstance(condition, list | tuple) and all(isinstance(tag, str) for tag in condition):
            return True
        shape = shape_of(condition)
        return shape == () or (shape == self.shape and np.asarray(condition).dtype.kind in "iufb")

    def words(self, canonical: Any) -> str:
        return "+".join(self.names[k] for k in np.flatnonzero(np.asarray(canonical) > 0.5)) or (
            "no tag"
        )

    def example(self) -> list[str]:
        return [self.names[0]]

    def summary(self) -> str:
        return f"any of {len(self.labels)} tags: {listed(self.names)}"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": plain_labels(self.labels)}

    def _multihot(self, rows: list[Any]) -> np.ndarray:
        weights = np.zeros((len(rows), len(self.labels)), "float32")
        for row, tags in zip(weights, rows, strict=True):
            for tag in tags:
                if tag not in self._by_name:
                    raise ValueError(
                        f"Unknown tag {tag!r}. This model knows {len(self.labels)}: "
                        f"{listed(self.names)}.{nearest(tag, self.names)}"
                    )
                row[self._by_name[tag]] = 1.0
        return weights


def checked_labels(labels: Any, what: str) -> Sequence[Label]:
    """Return so many labels, or these: a range where they are 0, 1, ..., else a tuple.

    Raises:
        ValueError: There are none, the same one twice, or others than names and whole numbers.
    """
    if isinstance(labels, int | np.integer) and not isinstance(labels, bool) and labels > 0:
        return range(labels)
    found: tuple[Any, ...] = ()
    if np.iterable(labels) and not isinstance(labels, str | Mapping | set | frozenset):
        found = tuple(one.item() if isinstance(one, np.generic) else one for one in labels)
        found = tuple(int(v) if isinstance(v, float) and v.is_integer() else v for v in found)
    different = len(set(map(str, found))) == len(found)
    if not found or not different or not all(isinstance(one, str | int) for one in found):
        raise ValueError(
            f"{what}: received {shortened(repr(labels))}, expected a positive number or a list of "
            "different names or whole numbers."
        )
    counted = all(type(one) is int for one in found) and found == tuple(range(len(found)))
    return range(len(found)) if counted else found


def plain_labels(labels: Sequence[Label]) -> int | list[Label]:
    """How many labels there are, where that says it all, or a list of them."""
    return len(labels) if isinstance(labels, range) else list(labels)


def _split(text: str) -> list[str]:
    return [tag for tag in (part.strip() for part in text.split("|")) if tag]
