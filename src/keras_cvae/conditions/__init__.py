"""What y may be: how a condition is checked, and how it becomes features for the networks."""

from keras_cvae.conditions.base import (
    CONDITIONS,
    Condition,
    Unconditional,
    count,
    get,
    repeat,
    take,
)
from keras_cvae.conditions.categorical import Categorical, Tags
from keras_cvae.conditions.encoded import Encoded
from keras_cvae.conditions.enumerated import enumerated
from keras_cvae.conditions.joint import Joint
from keras_cvae.conditions.known import KnownPart
from keras_cvae.conditions.numbers import Continuous, Numbers, Periodic
from keras_cvae.conditions.optional import Optional, classes_of

__all__ = [
    "CONDITIONS",
    "Categorical",
    "Condition",
    "Continuous",
    "Encoded",
    "Joint",
    "KnownPart",
    "Numbers",
    "Optional",
    "Periodic",
    "Tags",
    "Unconditional",
    "classes_of",
    "count",
    "enumerated",
    "get",
    "repeat",
    "take",
]
