"""What of its condition a model has met in training."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions.spec import ConditionSpec, Trait
from keras_cvae.tensors import Tensor


class Memory(keras.layers.Layer):
    """Which classes training had, and whether conditions were ever missing; saved with the model.

    Args:
        spec: Of the model's condition.
    """

    def __init__(self, spec: ConditionSpec, **kwargs: Any) -> None:
        super().__init__(trainable=False, dtype="float32", autocast=False, **kwargs)
        self.spec = spec
        self.traits = list(spec.traits().items())
        self.met = [self.add_weight(shape, "zeros", trainable=False) for _, shape in self.traits]
        self.built = True

    def record(self, missing: Mapping[Trait, Tensor]) -> None:
        """Note in a training step what is missing; costs nothing where nothing can be.

        Args:
            missing: What `ConditionEncoder.missing` says.
        """
        for (trait, _), met in zip(self.traits, self.met, strict=True):
            if trait in missing:
                met.assign(ops.maximum(met, ops.cast(missing[trait], "float32")))

    def see(self, condition: Any) -> None:
        """Note what there is in the conditions that `fit` is about to train on.

        Args:
            condition: Canonical conditions `(n, ...)`; None: those of a stream, which may have any
                class, while the steps say what is missing.
        """
        found = None if condition is None else self.spec.occurring(condition)
        for (trait, shape), met in zip(self.traits, self.met, strict=True):
            if found is not None:
                met.assign(np.maximum(ops.convert_to_numpy(met.value), found[trait]))
            elif shape:
                met.assign(np.ones(shape))

    def check(self, condition: Any) -> None:
        """Refuse canonical conditions that are missing in a way that training never was.

        Warns:
            UserWarning: Some are of a class that training never had.

        Raises:
            ValueError: Saying what is missing and how to train for it.
        """
        met = [ops.convert_to_numpy(weight.value) > 0 for weight in self.met]
        trained = {trait: value for (trait, _), value in zip(self.traits, met, strict=True)}
        self.spec.check_trained(condition, trained)
