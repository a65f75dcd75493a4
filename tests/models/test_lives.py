"""Every public class in a model that is trained, called, described, saved and loaded.

Several classes share a model. Where one fails here and it is not plain which of them is to blame,
`pytest -m nightly -k a_life` tries each on its own.
"""

import pytest
from keras.config import backend

from harness import (
    COMPONENTS,
    HALF,
    REGISTRIES,
    build,
    compute_in_bfloat16,
    live,
    networks,
    own_condition,
    own_networks,
    small_columns,
)
from keras_cvae.conditions.arrays import Encoded, Image, Signal
from keras_cvae.conditions.columns import KnownColumns
from keras_cvae.conditions.composed import Joint, Optional
from keras_cvae.conditions.known import KnownPart
from keras_cvae.conditions.labels import Categorical, Tags
from keras_cvae.conditions.numbers import Continuous, Exposure, Periodic
from keras_cvae.models.baseline import Baseline
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.residual import Residual
from keras_cvae.networks.topdown import TopDown
from keras_cvae.probability.likelihoods.bernoulli import ContinuousBernoulli
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from keras_cvae.probability.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic
from keras_cvae.probability.objectives import ELBO, GSNN, IWAE, DReG, Hybrid
from keras_cvae.probability.schedules import Cyclical, Warmup

# Each a function that gives arguments of ConditionalVAE.
LIVES = {
    "without latent and condition": lambda: {"latent_dim": 0, "condition": None},
    "without latent": lambda: {
        "condition": Optional(["a", "b", "c"], dropout=0.5),
        "latent_dim": 0,
        "likelihood": Gaussian("predicted"),
    },
    "own networks": lambda: {
        "condition": Categorical(["a", "b", "c"], "embedding", embedding_dim=3),
        "objective": DReG(2),
        **own_networks(),
    },
    "numbers": lambda: {
        "condition": Continuous(2),
        "likelihood": Gaussian("learned", sigma=0.5),
        "prior": "conditional",
        "latent_dim": [2, 1],
        "objective": IWAE(2),
    },
    "known columns": lambda: {
        "condition": KnownColumns([2, 2, 2], [0, 0, 1]),
        "likelihood": small_columns(blocks=2),
        "x_shape": (3,),
    },
    "known part": lambda: {
        "condition": KnownPart((6,), HALF, Baseline((6,), condition=KnownPart((6,)))),
        "likelihood": ContinuousBernoulli(),
        "objective": Hybrid(ELBO(0.5, free_bits=0.1, num_samples=3), 0.3, prior_samples=3),
    },
    "exposed counts": lambda: {
        "condition": Exposure(),
        "likelihood": Poisson(),
        "objective": GSNN(2),
        "prior": "conditional",
    },
    "counts by the hour": lambda: {
        "condition": Periodic(24, dim=2, harmonics=2),
        "likelihood": NegativeBinomial(),
        "backbone": Residual(6, 1, 4, "tanh"),
        "objective": ELBO(Cyclical(4, ramp=0.2, final=2.0)),
    },
    "tagged pictures": lambda: {
        "condition": Tags(["a", "b", "c"], "embedding", embedding_dim=2),
        "likelihood": DiscretizedLogistic(2, levels=2),
        "x_shape": (3, 4, 3),
        "backbone": Conv((4, 3), 8, "tanh"),
        "objective": ELBO(Warmup(4, final=0.5)),
    },
    "levels by a signal": lambda: {
        "condition": Encoded(own_condition()),
        "likelihood": CategoricalValues(2),
        "latent_dim": [2, 1],
    },
    "many conditions": lambda: {
        "condition": Joint({"days": Exposure(), "class": ["a", "b", "c"]}),
        "likelihood": ZeroInflated(NegativeBinomial()),
    },
    "pictures of pictures": lambda: {
        "condition": Image((4, 3, 1), MLP((5,)), low=-1, high=2.0),
        "likelihood": CausalBernoulli(4, reach=2, near=2),
        "x_shape": (3, 4, 1),
        "backbone": TopDown(8, 6, filters=(4,), levels=(0, 1), activation="tanh"),
        "latent_dim": [2, 1],
    },
    "bounded by a signal": lambda: {
        "condition": Signal((9, 2)),
        "likelihood": Bounded([-1, None, -0.5, None, -2, -1], [2, None, None, 3, 2, 2]),
    },
}


@pytest.mark.parametrize("life", LIVES)
def test_a_life(life, tmp_path):
    live(LIVES[life], tmp_path)


@pytest.mark.further
@pytest.mark.parametrize("life", [life for life in LIVES if life != "without latent and condition"])
def test_mixed_precision(life):
    compute_in_bfloat16(LIVES[life])


@pytest.mark.skipif(backend() != "jax", reason="says the same on every backend")
def test_every_class_has_a_life():
    models = [build(case()) for case in LIVES.values()]
    found = {name: {type(of(model)) for model in models} for name, of in COMPONENTS.items()}
    found["part"] = {type(part) for model in models for part in networks(model).values()}
    found["part"].add(Baseline)  # the guess of a known part
    for name, registry in REGISTRIES.items():
        missing = set(registry.classes.values()) - found[name]
        assert not missing, f"{name}: add {missing} to LIVES"
