"""Guidance: from what is drawn without the condition towards it, and beyond (Ho & Salimans 2022).

    guided = unconditional + weight (conditional - unconditional)

of the mean of p(z | y), group by group, and of the parameters of p(x | z, y), such as logits. A
weight of 1 draws from the model, of 0 without the condition; above 1 the condition shows more, and
the draws differ less. It needs a model that was trained with label dropout, see `Optional`.
"""

from typing import Any

from keras import ops

from keras_cvae.probability.normal import DiagonalNormal
from keras_cvae.probability.priors import Ancestral, Prior
from keras_cvae.tensors import Tensor


def extrapolate(free: Tensor, given: Tensor, weight: Tensor) -> Tensor:
    """Go from `free` towards `given`, both `(batch, ...)`, by `weight` `(batch,)`: 1 arrives there.

    What does not depend on the condition may lack the batch, as N(0, I) does.
    """
    rank = max(len(free.shape), len(given.shape), 2)
    return free + ops.reshape(weight, (-1, *[1] * (rank - 1))) * (given - free)


class GuidedPrior(Ancestral):
    """A prior whose factors are all guided. Its states are pairs: with the condition and without.

    Args:
        prior: The prior.
        free: Features of the condition where nothing is known, `(batch, width)`.
        weight: Weight of the guidance, `(batch,)`.
    """

    def __init__(self, prior: Prior, free: Tensor | None, weight: Tensor):
        self.prior, self.sizes, self.free, self.weight = prior, prior.sizes, free, weight

    def begin(self, features: Tensor | None) -> tuple[Any, Any]:
        return self.prior.begin(features), self.prior.begin(self.free)

    def conditional(self, group: int, state: tuple[Any, Any]) -> DiagonalNormal:
        """Return p(z_group | y, z_<group) with its mean moved, and its variance as it is."""
        given, free = (self.prior.conditional(group, one) for one in state)
        return DiagonalNormal(extrapolate(free.mean, given.mean, self.weight), given.log_var)

    def descend(self, group: int, state: tuple[Any, Any], z: Tensor) -> tuple[Any, Any]:
        given, free = state
        return self.prior.descend(group, given, z), self.prior.descend(group, free, z)
