"""How many test examples, and samples of each, a likelihood is estimated from in minutes.

A function of the model and the data alone: the figures of a run do not depend on the machine, nor
on what else it does.
"""

import math
from typing import Any, NamedTuple

import keras

from keras_cvae.backend import layers_of
from keras_cvae.evaluation.prepare import is_binary, is_image
from keras_cvae.inference.importance import PILOT

OPERATIONS = 1.2e13  # multiplications of an evaluation: a minute and a half of two CPU cores
SAMPLES = (500, 200, 100, 50)  # for each example, the most that leave enough examples
ENOUGH, FEWEST = 1000, 100  # examples
LIKELY = 3  # classes of an example that get all samples, at a guess
HELD, HELD_SAMPLES = 1000, 100  # held-out examples that calibrate p(y | x), from so many samples


class Budget(NamedTuple):
    """What a likelihood is estimated from.

    Args:
        examples: How many.
        samples: Importance samples for each.
    """

    examples: int
    samples: int


def affordable(model: Any, examples: int) -> Budget:
    """All examples with 500 samples each, or as many of both as fit into `OPERATIONS`.

    Args:
        model: A `ConditionalVAE`.
        examples: How many there are.
    """
    decoded = OPERATIONS / max(1, operations(model))
    named = model.condition.spec.classes if model.condition.width else None
    classes = named.num_classes if named else 0

    def draws(samples: int) -> int:
        """Of z for one example, under its condition or all classes."""
        if not classes:
            return samples
        return classes * PILOT + min(classes, LIKELY) * max(0, samples - PILOT)

    # Bits are of dequantised pixels, and completions are weighed under their prior as well.
    again = int(is_image(model) and not is_binary(model)) + int(model.condition.knows_part)
    held = HELD * draws(HELD_SAMPLES) if classes else 0
    for samples in SAMPLES:
        most = int((decoded - held) / (draws(samples) + again * samples))
        if most >= min(examples, ENOUGH):
            break
    return Budget(min(examples, max(FEWEST, most // 100 * 100)), samples)


def operations(model: Any) -> int:
    """Count the multiplications of one draw of z from its prior and what it is decoded to.

    A weight is used once for each place of its layer's input: a dense layer's once, a
    convolution's at every pixel.
    """
    found: dict[int, int] = {}
    for part in (model.decoder, model.prior, model.likelihood):
        for layer in layers_of(part) if isinstance(part, keras.layers.Layer) else ():
            if len(layers_of(layer)) > 1:
                continue
            shape = (layer.get_build_config() or {}).get("input_shape") or ()
            places = math.prod(model.x_shape[:-1]) if part is model.likelihood else 1
            places *= math.prod(n for n in shape[1:-1] if isinstance(n, int))
            weights = [one.shape for one in layer.trainable_weights if len(one.shape) > 1]
            found[id(layer)] = places * sum(map(math.prod, weights))
    return sum(found.values())
