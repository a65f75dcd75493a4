"""How far shares of few examples may be off by chance."""

import math
from statistics import NormalDist
from typing import NamedTuple

SURE = 3.0  # standard errors, beyond which a gap is no chance
PERHAPS = 2.0  # beyond which it is worth a word


def share_error(share: float | None, count: int | None) -> float | None:
    """Standard error of a share of `count` examples; None where either is not known."""
    if share is None or not count:
        return None
    return math.sqrt(share * (1.0 - share) / count)


class Gap(NamedTuple):
    """By how much a share falls short.

    Args:
        size: Of the gap; negative where nothing falls short.
        error: Its standard error if there were no gap; 0 where the counts are not known.
        examples: The fewest that it was counted of, if known.
        of: Gaps that this is the largest of: the bars of one are raised for all (Bonferroni).
    """

    size: float
    error: float
    examples: int | None
    of: int = 1

    @classmethod
    def below(cls, share: float, count: int | None, bar: float) -> "Gap":
        """The gap of a share from a bar that is known."""
        return cls(bar - share, share_error(bar, count) or 0.0, count)

    @classmethod
    def between(
        cls, share: float, count: int | None, other: float, others: int | None, of: int = 1
    ) -> "Gap":
        """The gap of a share from another: the pooled test of two proportions."""
        if not count or not others:
            return cls(other - share, 0.0, None, of)
        both = (count * share + others * other) / (count + others)
        error = math.sqrt(max(0.0, both * (1.0 - both)) * (1.0 / count + 1.0 / others))
        return cls(other - share, error, min(count, others), of)

    def exceeds(self, errors: float) -> bool:
        """Whether it is larger than so many standard errors of one gap allow."""
        normal = NormalDist()
        bar = -normal.inv_cdf(normal.cdf(-errors) / self.of)
        return self.size > 0 and self.size > bar * self.error
