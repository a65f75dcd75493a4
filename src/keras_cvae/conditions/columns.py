"""Some columns of a row of levels as the condition on which the others are drawn."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_cvae.conditions.base import CONDITIONS, ConditionEncoder
from keras_cvae.conditions.spec import KnownColumnsSpec
from keras_cvae.probability.distributions import Distribution
from keras_cvae.probability.likelihoods.columns import Levels
from keras_cvae.tensors import Tensor


@CONDITIONS.register("known_columns")
class KnownColumns(ConditionEncoder):
    """Known columns of x, for the `Columns` likelihood: levels, -1 where unknown.

    In training whole rows are the condition, and each forgets some of its columns: a third of the
    rows all of them, the others each column with a chance of their own.

    Features are zeros and ones, one for each level, and whether the column is known.

    Args:
        sizes: How many levels each column has.
        groups: For each column, which of the table's columns it belongs to; these are known
            together. None: each to its own.
    """

    spec: KnownColumnsSpec
    knows_part = True

    def __init__(
        self, sizes: Sequence[int], groups: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.spec = KnownColumnsSpec(tuple(sizes))
        n = len(self.spec.sizes)
        self.groups = list(range(n)) if groups is None else [int(group) for group in groups]
        self.width = sum(self.spec.sizes) + n
        self.levels = Levels(self.spec.sizes)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"sizes": list(self.spec.sizes), "groups": self.groups}

    def call(self, condition: Tensor) -> Tensor:
        x = ops.cast(condition, "float32")
        return ops.concatenate([self.levels(x), ops.cast(x >= 0.0, "float32")], axis=-1)

    def fix(self, p: Distribution, condition: Tensor) -> Distribution:
        x = ops.cast(condition, "float32")
        return p.given(ops.maximum(x, 0.0), x >= 0.0)

    def drop(self, condition: Tensor, uniform: Callable[[Any], Tensor]) -> Tensor:
        groups = max(self.groups) + 1
        numbers = uniform((ops.shape(condition)[0], groups + 1))
        chance = ops.maximum(1.5 * numbers[:, :1] - 0.5, 0.0)  # zero for a third of the rows
        kept = ops.take(numbers[:, 1:] < chance, self.groups, axis=1)
        return ops.where(kept, ops.cast(condition, "float32"), -1.0)

    def is_known(self, condition: Tensor) -> Tensor:
        return ops.any(condition >= 0.0, axis=-1)
