"""Small models of many kinds, for the tests of pages."""

import numpy as np
import pytest

from keras_cvae import MLP, ConditionalVAE, Conv, Residual, TopDown, conditions
from keras_cvae.conditions import Continuous, Joint, KnownPart, Optional, Periodic, Tags
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Gaussian

NAMED = {
    "kind": Optional(["cat", "dog"]),
    "age": Continuous(),
    "hour": Periodic(24, harmonics=2),
    "marks": Optional(Tags(["spots", "tail"])),
}

MODELS = {
    "digits": lambda: ConditionalVAE(
        (28, 28, 1), 10, [3, 2], prior="conditional", backbone=MLP((12, 9), "gelu"), seed=1
    ),
    "plane": lambda: ConditionalVAE((8, 8, 1), 3, 2, backbone=MLP((8,), "tanh"), seed=1),
    "alone": lambda: ConditionalVAE(
        (6, 6, 1), None, 3, likelihood="continuous_bernoulli", backbone=MLP((8,), "silu"), seed=1
    ),
    "colour": lambda: ConditionalVAE(
        (5, 7, 3),
        Joint(NAMED, dropout=0.1),
        4,
        likelihood="discretized_logistic",
        backbone=Residual(10, 2),
        prior="conditional",
        seed=1,
    ),
    "causal": lambda: ConditionalVAE(
        (7, 6, 1), 3, 3, likelihood="causal_bernoulli", backbone=MLP((8,), "elu"), seed=1
    ),
    "levels": lambda: ConditionalVAE(
        (4, 4, 1),
        conditions.Categorical(4, "embedding", 5),
        2,
        likelihood=CategoricalValues(4),
        backbone=MLP((8,)),
        seed=1,
    ),
    "complete": lambda: ConditionalVAE(
        (9, 8, 1), KnownPart((9, 8, 1)), 3, backbone=MLP((10,)), prior="conditional", seed=1
    ),
    "half": lambda: ConditionalVAE(
        (6, 6, 1),
        KnownPart((6, 6, 1), "left"),
        3,
        likelihood="causal_bernoulli",
        backbone=MLP((10,)),
        seed=1,
    ),
    "convolutions": lambda: ConditionalVAE(
        (9, 7, 1), 3, 4, prior="conditional", backbone=Conv((4, 6), 10), seed=1
    ),
    "top-down": lambda: ConditionalVAE((9, 7, 1), 3, [4, 3], backbone=TopDown(12), seed=1),
    "maps": lambda: ConditionalVAE(
        (9, 7, 1),
        3,
        [4, 3, 2],
        likelihood=Gaussian("predicted"),
        backbone=TopDown(12, filters=(4, 6)),
        seed=1,
    ),
    "signal": lambda: ConditionalVAE(
        (19, 2), 2, 3, likelihood="gaussian", backbone=Conv((4, 6), 10), seed=1
    ),
    "counts": lambda: ConditionalVAE(
        (6,),
        Joint({"batch": 3, "size": conditions.Exposure()}),
        3,
        likelihood="zero_inflated",
        backbone=MLP((8,)),
        seed=1,
    ),
    "direct": lambda: ConditionalVAE((5,), 3, 0, likelihood="gaussian", backbone=MLP((8,)), seed=1),
}


def made(name):
    """A model whose weights are all away from where they start."""
    model, rng = MODELS[name](), np.random.default_rng(3)
    for weight in model.trainable_variables:
        spread = 0.3 if len(weight.shape) < 2 else 1.3 / np.sqrt(weight.shape[-2])
        weight.assign(rng.standard_normal(weight.shape) * spread)
    for weight in model.memory.met:
        weight.assign(np.ones(weight.shape))
    return model


def parametrized(by_day):
    """Names of all models; those not among the ones of the day are left to the night."""
    return [pytest.param(n, marks=() if n in by_day else pytest.mark.nightly) for n in MODELS]


def until(page, truth):
    """Wait for something to be true; the page's policy forbids Playwright's way."""
    for _ in range(6000):  # 300 s
        if page.evaluate(f"() => {truth}"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {truth}")
