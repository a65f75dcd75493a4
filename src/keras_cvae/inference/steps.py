"""Compiled steps on the parts of a model."""

import math
import weakref
from typing import Any

import keras
import numpy as np

from keras_cvae import errors
from keras_cvae.backend import UntrackedState
from keras_cvae.probability.distributions import Distribution
from keras_cvae.tensors import Tensor

EXAMPLES = 64  # examples that share one compiled call; part of what defines the noise of a seed


class Step(UntrackedState, keras.Model):
    """A compiled step on the parts of a model; holds their weights, but not the model itself."""

    def __init__(self, model: Any):
        super().__init__(autocast=False)
        self.condition, self.likelihood = model.condition, model.likelihood
        self.hierarchy = model.hierarchy
        self.parts = [model.encoder, model.prior, model.decoder]
        self.built = True

    def features(self, inputs: dict) -> Any:
        """Features of the condition, or None; given already, if several draws share them."""
        if "features" in inputs:
            return inputs["features"]
        return self.condition.features(inputs.get("condition"))

    def distribution(self, parameters: Tensor, inputs: dict[str, Any]) -> Distribution:
        """p(x | z, y) at these parameters, with what the condition knows of x fixed."""
        p = self.likelihood.distribution(parameters)
        return self.condition.fix(p, inputs.get("condition"))


_STEPS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def compiled(model: Any, step: type[Step]) -> Step:
    """The step of this kind for this model, made (and so compiled) once."""
    known = _STEPS.setdefault(model, {})
    if step not in known:
        known[step] = step(model)
    return known[step]


def decoded_at_once(model: Any, batch_size: int | None = None) -> int:
    """How many z to decode at once; by default enough for fast products, few enough for caches."""
    if batch_size is not None:
        return errors.whole("batch_size", batch_size)
    size = math.prod(model.likelihood.parameter_shape(model.x_shape))
    return int(np.clip(2**21 // max(size, 1), EXAMPLES, 1024))
