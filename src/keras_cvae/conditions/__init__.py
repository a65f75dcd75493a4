"""What y may be: how a condition is checked, and how it becomes features for the networks."""

from keras_cvae.conditions.base import CONDITIONS, Condition, Unconditional, get
from keras_cvae.conditions.categorical import Categorical
from keras_cvae.conditions.encoded import Encoded
from keras_cvae.conditions.enumerated import enumerated
from keras_cvae.conditions.image import Image
from keras_cvae.conditions.joint import Joint
from keras_cvae.conditions.known import KnownPart
from keras_cvae.conditions.numbers import Continuous, Numbers, Periodic
from keras_cvae.conditions.optional import Optional, classes_of
from keras_cvae.conditions.signal import Signal
from keras_cvae.conditions.tags import Tags

__all__ = [
    "CONDITIONS",
    "Categorical",
    "Condition",
    "Continuous",
    "Encoded",
    "Image",
    "Joint",
    "KnownPart",
    "Numbers",
    "Optional",
    "Periodic",
    "Signal",
    "Tags",
    "Unconditional",
    "classes_of",
    "enumerated",
    "get",
]
