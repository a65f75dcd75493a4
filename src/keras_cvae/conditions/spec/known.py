"""The part of x that is known, as the condition on which the rest is completed."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_cvae import masks
from keras_cvae.checks import checked
from keras_cvae.conditions.spec.base import ConditionSpec
from keras_cvae.conditions.spec.entries import shape_of


@dataclass(frozen=True)
class KnownPartSpec(ConditionSpec):
    """Part of x itself: a condition is x with NaN where it is unknown (`masks.holes`), float32.

    Args:
        shape: Shape of one example x.
        mask: What is known in every example: a name such as "bottom-left", or an array that is
            True where x is known. Then conditions may be whole examples. None: each condition has
            holes of its own.

    Raises:
        ValueError: A mask of another shape, or one that leaves nothing to do.
    """

    shape: tuple[int, ...]
    mask: Any = None

    kind = "known_part"
    dtype = "float32"

    def __post_init__(self) -> None:
        self._set(shape=tuple(int(size) for size in self.shape))
        if self.mask is None:
            return
        if isinstance(self.mask, str):
            self._set(mask=masks.check_name(self.mask))
        fixed = masks.known(self.mask, self.shape)
        if fixed.shape != self.shape:
            raise ValueError(
                f"KnownPart received {len(fixed)} masks. Expected one for all examples, or "
                "None, and conditions with holes."
            )
        if fixed.all():
            raise ValueError("KnownPart received a mask that knows everything: nothing is left.")
        if not fixed.any():
            raise ValueError(
                "KnownPart received a mask that knows nothing. Expected a model with "
                "condition=None, which draws all of x."
            )
        if not isinstance(self.mask, str):
            self._set(mask=_nested(fixed.astype(int).tolist()))

    @functools.cached_property
    def fixed(self) -> np.ndarray | None:
        """Where every x is known, booleans of the shape of x; None if that differs."""
        return None if self.mask is None else masks.known(self.mask, self.shape)

    def prepare(self, conditions: Any) -> np.ndarray:
        if conditions is None:
            raise ValueError(
                "This model completes examples, but none was given. Expected examples "
                f"{self.shape} with NaN where they are unknown."
            )
        return self.canonical(masks.bare(conditions))

    def canonical(self, values: np.ndarray) -> np.ndarray:
        single = checked(values, self.shape, "The known part of x", nan=True)
        hole = np.isnan(single)
        if self.fixed is None:
            if single.size and not hole.any():
                raise ValueError(
                    "Nothing is unknown in the examples to be completed. Expected NaN where x is "
                    "unknown, or a mask that is False there."
                )
            return single
        if (hole & self.fixed).any():
            row = int(np.argmax((hole & self.fixed).reshape(len(single), -1).any(axis=1)))
            raise ValueError(
                f"This model completes from {self._its_part}, some of which is unknown in example "
                f"{row}. Expected all of it to be known; a model for any part (mask=None) takes "
                "this one."
            )
        return np.where(self.fixed, single, np.float32(np.nan))

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        return self.shape in ((shape := shape_of(condition)), (*shape, 1))

    def holes(self, x: Any, mask: Any) -> np.ndarray:
        """Make holes in x, one or `(n, *shape)`, where the mask does not know it, `(n, *shape)`.

        Raises:
            ValueError: x or a mask of another shape; a mask that knows more than the model's own,
                which would be drawn anew.
        """
        x = masks.bare(x)
        x = checked(x[None] if self.is_one(x) else x, self.shape, "x", nan=True)
        if self.fixed is not None and (masks.known(mask, self.shape) & ~self.fixed).any():
            raise ValueError(
                f"This model completes from {self._its_part} alone, and the mask knows more of x. "
                "Leave the mask out, or use a model for any part (mask=None; cvae train --known "
                "random)."
            )
        return masks.holes(x, mask, self.shape)

    def unknown(self, n: int = 1) -> Any:
        raise ValueError(
            "What is known of x cannot be left out as a whole. Expected x with NaN where it is "
            "unknown, everywhere if need be, and no guidance."
        )

    def summary(self) -> str:
        return f"the known part of x, {self.mask if isinstance(self.mask, str) else 'any'}"

    @property
    def _its_part(self) -> str:
        return f"'{self.mask}'" if isinstance(self.mask, str) else "the mask it was built with"


@dataclass(frozen=True)
class KnownColumnsSpec(ConditionSpec):
    """Some columns of x: levels 0, 1, ..., and -1 where a column is not known; float32.

    Args:
        sizes: How many levels each column has.
    """

    sizes: tuple[int, ...]

    kind = "known_columns"
    dtype = "float32"

    def __post_init__(self) -> None:
        self._set(sizes=tuple(int(size) for size in self.sizes))

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Shape of one condition."""
        return (len(self.sizes),)

    @property
    def forgettable(self) -> bool:
        return True

    def canonical(self, values: np.ndarray) -> np.ndarray:
        levels = checked(values, self.shape, "The known columns")
        wrong = (levels != np.floor(levels)) | (levels < -1) | (levels >= np.asarray(self.sizes))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"The known columns hold {levels[row, column]:g} in row {row}, column {column}. "
                f"Expected levels from 0 to {self.sizes[column] - 1}, or -1 where it is unknown."
            )
        return levels

    def is_one(self, condition: Any, n: int | None = None) -> bool:
        return shape_of(condition) == self.shape

    def unknown(self, n: int = 1) -> np.ndarray:
        return np.full((n, *self.shape), -1.0, "float32")

    def summary(self) -> str:
        return f"any of {len(self.sizes)} columns"


def _nested(mask: Any) -> Any:
    return tuple(map(_nested, mask)) if isinstance(mask, list) else mask
