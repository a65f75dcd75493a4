"""What synthetic rows are worth: each figure a function on frames."""

from keras_cvae.evaluation.tables.fidelity import (
    Detection,
    Impossible,
    Shapes,
    Trends,
    detection,
    impossible,
    shapes,
    trends,
)
from keras_cvae.evaluation.tables.imputing import Imputation, imputation
from keras_cvae.evaluation.tables.plain import meets
from keras_cvae.evaluation.tables.privacy import Privacy, privacy
from keras_cvae.evaluation.tables.utility import Utility, utility

__all__ = [
    "Detection",
    "Impossible",
    "Imputation",
    "Privacy",
    "Shapes",
    "Trends",
    "Utility",
    "detection",
    "impossible",
    "imputation",
    "meets",
    "privacy",
    "shapes",
    "trends",
    "utility",
]
