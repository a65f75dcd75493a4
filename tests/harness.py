"""One harness for every public class: build, call, fit, precision, config, saving.

A test module subclasses `Harness` and names a part. `CASES` says with which arguments of
ConditionalVAE each registered class is tried; a class that is registered but has no case fails, and
so does a constructor argument that no case sets to something other than its default. Each case
lives a life of its own in `make test-all`. `make test` has fewer models, each with several of the
classes: `LIVES`.
"""

import inspect
import json
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import ops

import keras_cvae
from keras_cvae import masks
from keras_cvae.conditions.arrays import Encoded, Image, Signal
from keras_cvae.conditions.base import CONDITIONS, Unconditional
from keras_cvae.conditions.columns import KnownColumns
from keras_cvae.conditions.composed import Joint, Optional
from keras_cvae.conditions.known import KnownPart
from keras_cvae.conditions.labels import Categorical, Tags
from keras_cvae.conditions.numbers import Continuous, Exposure, Periodic
from keras_cvae.models.baseline import Baseline
from keras_cvae.models.parts import PARTS
from keras_cvae.models.serialization import precision
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.residual import Residual
from keras_cvae.networks.topdown import TopDown
from keras_cvae.probability import objectives, priors, schedules
from keras_cvae.probability.bijections import Bijection
from keras_cvae.probability.likelihoods.base import LIKELIHOODS
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from keras_cvae.probability.likelihoods.columns import Columns
from keras_cvae.probability.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic
from keras_cvae.probability.objectives import OBJECTIVES
from keras_cvae.probability.schedules import SCHEDULES

BATCH = 4
HALF = [1, 1, 1, 0, 0, 0]  # what is known of x


def seldom_elsewhere(test):
    """A test that trains for many steps: in `make test`, and on PyTorch and TensorFlow nightly."""
    return test if keras.backend.backend() == "jax" else pytest.mark.nightly(test)


def own_networks():
    """An encoder and a decoder as a user of Keras writes them."""
    x, z, features = (keras.Input((n,)) for n in (6, 2, 3))
    h = keras.layers.Dense(5, "tanh")(keras.layers.Concatenate()([x, features]))
    encoder = keras.Model([x, features], [keras.layers.Dense(2)(h), keras.layers.Dense(2)(h)])
    h = keras.layers.Dense(5, "tanh")(keras.layers.Concatenate()([z, features]))
    return {"encoder": encoder, "decoder": keras.Model([z, features], keras.layers.Dense(6)(h))}


def own_condition():
    """A network that reads a condition, as a user of Keras writes it."""
    signal = keras.Input((5, 2))
    return keras.Model(signal, keras.layers.Dense(3)(keras.layers.Flatten()(signal)))


def small_columns(parents=None, **options):
    """Three columns of two levels."""
    shares = [[[0.5, 0.5]] * (1 if not parents or p is None else 2) for p in parents or [None] * 3]
    options = {"context": 4} | options
    return Columns(shares, parents, hidden=8, layers=1, seed=0, **options)


# Part -> registered name -> the cases, each a function that gives arguments of ConditionalVAE.
CASES = {
    "likelihood": {
        "bernoulli": [lambda: {"likelihood": Bernoulli()}],
        "causal_bernoulli": [
            lambda: {"likelihood": CausalBernoulli(4, reach=2, near=2), "x_shape": (4, 5, 1)},
            lambda: {
                "likelihood": CausalBernoulli(4, reach=2, surround=True),
                "x_shape": (4, 5, 1),
                "condition": KnownPart((4, 5, 1)),
            },
        ],
        "columns": [
            lambda: {
                "likelihood": small_columns([None, 0, None], ordered=[True, False, False]),
                "x_shape": (3,),
            },
            lambda: {
                "likelihood": small_columns(groups=[0, 0, 1], frequencies=2, dropout=0.2, blocks=2),
                "x_shape": (3,),
                "condition": KnownColumns([2, 2, 2], [0, 0, 1]),
            },
        ],
        "continuous_bernoulli": [lambda: {"likelihood": ContinuousBernoulli()}],
        "discretized_logistic": [
            lambda: {"likelihood": DiscretizedLogistic(2, levels=2), "x_shape": (2, 2, 3)}
        ],
        "gaussian": [
            lambda: {"likelihood": Gaussian("learned", sigma=0.5)},
            lambda: {"likelihood": Gaussian("predicted")},
            lambda: {"likelihood": Gaussian("optimal", sigma=2.0, momentum=0.5)},
            lambda: {"likelihood": Gaussian("optimal"), "condition": KnownPart((6,))},
        ],
        "bounded": [
            lambda: {
                "likelihood": Bounded([-1, None, -0.5, None, -2, -1], [2, None, None, 3, 2, 2])
            },
            lambda: {
                "likelihood": Bounded([-1] * 6, None, "optimal", sigma=2.0, momentum=0.5),
                "backbone": TopDown(8),
                "latent_dim": [2, 1],
            },
        ],
        "poisson": [lambda: {"likelihood": Poisson()}],
        "negative_binomial": [
            lambda: {"likelihood": NegativeBinomial()},
            lambda: {"likelihood": NegativeBinomial("predicted"), "x_shape": (2, 3)},
        ],
        "zero_inflated": [
            lambda: {"likelihood": ZeroInflated(NegativeBinomial()), "condition": KnownPart((6,))},
            lambda: {
                "likelihood": ZeroInflated("poisson"),
                "backbone": TopDown(8),
                "latent_dim": [2, 1],
            },
        ],
        "categorical": [
            lambda: {"likelihood": CategoricalValues(2)},
            lambda: {"likelihood": CategoricalValues(3, low=-1.0, high=1.0)},
        ],
    },
    "prior": {
        "standard": [lambda: {"prior": priors.StandardNormal(), "latent_dim": [2, 1]}],
        "conditional": [
            lambda: {"prior": priors.ConditionalNormal((4,), "tanh"), "latent_dim": [2, 1]}
        ],
    },
    "condition": {
        "none": [lambda: {"condition": Unconditional()}],
        "categorical": [
            lambda: {"condition": Categorical(["a", "b", "c"], "embedding", embedding_dim=2)},
            lambda: {"condition": Categorical([3, 5, 7])},
        ],
        "continuous": [lambda: {"condition": Continuous(2)}],
        "known_columns": [
            lambda: {
                "x_shape": (3,),
                "condition": KnownColumns([2, 2, 2], [0, 0, 1]),
                "likelihood": small_columns(blocks=2),
            }
        ],
        "known_part": [
            lambda: {
                "condition": KnownPart((6,), view=Bijection([None] * 6)),
                "likelihood": Gaussian(),
            },
            lambda: {"condition": KnownPart((6,), HALF, Baseline((6,), condition=KnownPart((6,))))},
            lambda: {
                "x_shape": (4, 5, 2),
                "condition": KnownPart((4, 5, 2), "left"),
                "backbone": TopDown(8),
                "latent_dim": [2, 1],
            },
        ],
        "exposure": [
            lambda: {"condition": Exposure(), "likelihood": Poisson(), "prior": "conditional"},
        ],
        "periodic": [lambda: {"condition": Periodic(24, dim=2, harmonics=2)}],
        "tags": [
            lambda: {"condition": Tags(["a", "b", "c"], "embedding", embedding_dim=2)},
            lambda: {"condition": Tags(3)},
        ],
        "encoded": [lambda: {"condition": Encoded(own_condition())}],
        "optional": [lambda: {"condition": Optional(["a", "b", "c"], dropout=0.5)}],
        "joint": [
            lambda: {
                "condition": Joint(
                    {"class": ["a", "b", "c"], "age": Optional(Continuous(2)), "hour": Periodic(24)}
                )
            },
            lambda: {"condition": Joint({"class": Optional(3, 0.5), "tags": Tags(3)}, 0.4)},
            lambda: {
                "condition": Joint({"days": Exposure(), "class": ["a", "b", "c"]}),
                "likelihood": NegativeBinomial(),
                "backbone": TopDown(8),
                "latent_dim": [2, 1],
            },
        ],
        "image": [
            lambda: {"condition": Image((4, 3, 1), MLP((5,)), low=-1, high=2.0)},
            lambda: {"condition": Image((4, 6, 2), Conv((3,), 5))},
        ],
        "signal": [
            lambda: {"condition": Signal((9, 2))},
            lambda: {"condition": Signal((7, 1), Conv((3, 2), 5))},
        ],
    },
    "backbone": {
        "mlp": [lambda: {"backbone": MLP((8, 4), "tanh")}],
        "conv": [
            lambda: {"x_shape": (5, 7, 2), "backbone": Conv((4, 3), 8, "tanh")},
            lambda: {"x_shape": (4, 4, 1), "backbone": Conv((4,), 8, "tanh"), "condition": None},
            lambda: {"x_shape": (7, 2), "backbone": Conv((4, 3), 8)},
        ],
        "residual": [
            lambda: {"backbone": Residual(6, 3, 4, "tanh"), "x_shape": (2, 3)},
            lambda: {"backbone": Residual(6), "condition": None},
        ],
        "topdown": [
            lambda: {"backbone": TopDown(8, 6, activation="tanh"), "latent_dim": [2, 1]},
            lambda: {
                "x_shape": (5, 7, 2),
                "backbone": TopDown(8, filters=(3, 4), levels=(0, 1, 1, 2)),
                "latent_dim": [2, 1, 2, 1],
            },
            lambda: {"backbone": TopDown(8), "latent_dim": [2, 1], "condition": None},
        ],
    },
    "objective": {
        "elbo": [lambda: {"objective": objectives.ELBO(0.5, free_bits=0.1, num_samples=3)}],
        "iwae": [lambda: {"objective": objectives.IWAE(2)}],
        "dreg": [lambda: {"objective": objectives.DReG(2), "latent_dim": [2, 1]}],
        "hybrid": [
            lambda: {"objective": objectives.Hybrid(objectives.IWAE(2), 0.3, prior_samples=3)}
        ],
        "gsnn": [lambda: {"objective": objectives.GSNN(2), "prior": "conditional"}],
    },
    "beta schedule": {
        "warmup": [lambda: {"objective": objectives.ELBO(schedules.Warmup(4, final=0.5))}],
        "cyclical": [
            lambda: {"objective": objectives.ELBO(schedules.Cyclical(4, ramp=0.2, final=2.0))}
        ],
    },
    "part": {
        "recognition": [own_networks],
        "prior_network": [lambda: {"prior": "conditional", "latent_dim": [1, 1]}],
        "generation": [lambda: {"likelihood": Gaussian("predicted"), "latent_dim": 3}],
        "baseline": [
            lambda: {"condition": KnownPart((6,), HALF, Baseline((6,), condition=KnownPart((6,))))}
        ],
        "no_recognition": [lambda: {"latent_dim": 0}],
        "no_prior": [lambda: {"latent_dim": 0, "condition": None}],
        "direct_generation": [
            lambda: {"latent_dim": 0, "likelihood": Gaussian("predicted")},
            lambda: {
                "latent_dim": 0,
                "likelihood": small_columns(context=0),
                "x_shape": (3,),
                "condition": None,
            },
        ],
        "topdown_recognition": [lambda: {"backbone": TopDown(4), "latent_dim": [1, 1]}],
        "topdown_generation": [
            lambda: {"backbone": TopDown(4), "likelihood": Gaussian("predicted"), "latent_dim": 3}
        ],
    },
}
REGISTRIES = {
    registry.part: registry
    for registry in (
        LIKELIHOODS,
        priors.PRIORS,
        CONDITIONS,
        BACKBONES,
        OBJECTIVES,
        SCHEDULES,
        PARTS,
    )
}


def build(arguments: dict) -> keras_cvae.ConditionalVAE:
    """A small compiled model with these arguments in place of its own."""
    keras.utils.set_random_seed(0)
    own = {"x_shape": (6,), "condition": 3, "backbone": MLP((8,), "tanh"), "seed": 1}
    model = keras_cvae.ConditionalVAE(**own | arguments)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def example(model, n=2 * BATCH):
    """Data in the likelihood's support, and conditions, `n` of each."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (n, *model.x_shape)).astype("float32")
    return x, values_of(model.condition, n, rng)


def values_of(condition, n, rng):
    """Values that a condition takes; every third one missing where that may be."""
    if isinstance(condition, Unconditional):
        return None
    if isinstance(condition, KnownPart):
        x, fixed = rng.integers(0, 2, (n, *condition.spec.shape)), condition.spec.fixed
        return masks.holes(
            x, masks.random(n, condition.spec.shape, rng) if fixed is None else fixed
        )
    if isinstance(condition, KnownColumns):
        return rng.integers(-1, 2, (n, *condition.spec.shape)).astype("float32")
    if isinstance(condition, Joint):
        return {name: values_of(part, n, rng) for name, part in condition.parts.items()}
    if isinstance(condition, Optional):
        values = list(values_of(condition.part, n, rng))
        return [None if i % 3 == 0 else value for i, value in enumerate(values)]
    if isinstance(condition, Categorical):
        return np.array(condition.spec.labels)[np.arange(n) % 3]
    return rng.random((n, *condition.spec.shape)).astype("float32")


def inputs_of(model, x, y):
    """What `call` takes."""
    y = model.condition.spec.prepare(y)
    return {"x": x} if y is None else {"x": x, "condition": y}


def weights(model):
    return [ops.convert_to_numpy(v) for v in model.trainable_variables]


def argument(part, arguments):
    """The object under test among the arguments of a model."""
    return arguments["objective"].beta if part == "beta schedule" else arguments[part]


COMPONENTS = {
    "likelihood": lambda model: model.likelihood,
    "prior": lambda model: getattr(model.prior, "prior", None),  # a top-down backbone has its own
    "condition": lambda model: model.condition,
    "backbone": lambda model: model.backbone,
    "objective": lambda model: model.objective,
    "beta schedule": lambda model: getattr(model.objective, "beta", None),
}


def symbolic(inputs):
    return keras.tree.map_structure(lambda v: keras.KerasTensor(v.shape, v.dtype), inputs)


def shapes(values):
    return [tuple(value.shape) for value in keras.tree.flatten(values)]


def networks(model):
    return {"encoder": model.encoder, "prior": model.prior, "decoder": model.decoder}


def restarting(model):
    """A function that sets all that training changes back to what it is now."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [ops.convert_to_numpy(variable) for variable in variables]

    def restart():
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)

    return restart


def answers(function, inputs):
    """What a function of a dict of arrays returns, in NumPy: one program on JAX.

    There, each single operation would be a program of its own for every shape.
    """
    if keras.backend.backend() == "jax":
        import jax

        def program(inputs):
            with keras.StatelessScope():
                return function(inputs)

        return keras.tree.map_structure(ops.convert_to_numpy, jax.jit(program)(inputs))
    return keras.tree.map_structure(ops.convert_to_numpy, function(inputs))


def terms(model, inputs):
    """What `model(inputs)` returns, from the start of the noise of evaluation."""
    model.noise.rewind()
    return answers(model, inputs)


def needed(name, inputs):
    """Those of the inputs that the encoder, the prior or the decoder takes."""
    own = {"encoder": "x", "prior": "noise", "decoder": "z"}[name]
    return {key: value for key, value in inputs.items() if key in (own, "condition")}


def outputs(parts, inputs):
    """What the encoder, the prior and the decoder return, by name."""
    return answers(lambda inputs: {k: part(needed(k, inputs)) for k, part in parts.items()}, inputs)


class Harness:
    """Subclass as `class TestEveryPrior(Harness): part = "prior"`."""

    part: ClassVar[str]

    def pytest_generate_tests(self, metafunc):
        part = metafunc.cls.part
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", REGISTRIES[part].classes)
        if "case" in metafunc.fixturenames:
            cases = [
                pytest.param(case, id=f"{name}-{i}", marks=pytest.mark.nightly)
                for name, found in CASES[part].items()
                for i, case in enumerate(found)
            ]
            metafunc.parametrize("case", cases)

    def test_every_argument_is_tried(self, name):
        cls = REGISTRIES[self.part].classes[name]
        assert name in CASES[self.part], f"add a case for {cls.__name__} to tests/harness.py"
        if self.part == "part":  # the model gives a part all its arguments
            return
        given = [argument(self.part, case()) for case in CASES[self.part][name]]
        assert all(type(one) is cls for one in given)
        tried = [keras.saving.serialize_keras_object(one)["config"] for one in given]
        for key, parameter in inspect.signature(cls.__init__).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                assert any(config[key] != parameter.default for config in tried), key

    def test_a_life(self, case, tmp_path):
        live(case, tmp_path)

    def test_mixed_precision(self, case):
        compute_in_bfloat16(case)


def live(case, folder):
    """One model is trained, called, described, saved and loaded."""
    model = build(case())
    x, y = example(model)
    inputs = inputs_of(model, x, y)
    fit_changes_the_weights(model, x, y)
    config_gives_the_model_again(model)
    saved_and_loaded_gives_equal_outputs(model, x, y, inputs, folder)
    parts_are_saved_on_their_own(model, inputs, folder)


def compute_in_bfloat16(case):
    """What is computed in bfloat16 comes out in float32, and finite."""
    with precision("mixed_bfloat16"):
        model = build(case())
    x, y = example(model)
    for term in keras.tree.flatten(terms(model, inputs_of(model, x, y))):
        assert term.dtype == np.float32
        assert np.isfinite(term).all()


def fit_changes_the_weights(model, x, y):
    before = weights(model)
    history = model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0).history
    assert np.isfinite([history[name] for name in ("loss", "reconstruction", "kl")]).all()
    after = weights(model)
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    still = [v for v, c in zip(model.trainable_variables, changed, strict=True) if not c]
    if isinstance(model.objective, objectives.GSNN):  # has no use for q
        still = [v for v in still if not any(v is w for w in model.encoder.weights)]
    assert not [v.path for v in still]
    assert all(np.isfinite(w).all() for w in after)
    assert int(model.step) == 2


def config_gives_the_model_again(model):
    config = keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    for component in COMPONENTS.values():
        assert type(component(model)) is type(component(again))


def saved_and_loaded_gives_equal_outputs(model, x, y, inputs, folder):
    model.save(folder / "model.keras")
    again = keras_cvae.load(folder / "model.keras")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.reconstruct(x, y), again.reconstruct(x, y))
    found = terms(model, inputs)
    samples, groups, n = model.objective.num_samples, len(model.latent_groups), len(x)
    prior_samples = model.objective.prior_samples
    expected = [(samples, n), (n, groups), (samples, n)]
    assert shapes(found) == expected + [(prior_samples, n)] * bool(prior_samples)
    assert shapes(model(symbolic(inputs))) == shapes(found)
    for a, b in zip(found, terms(again, inputs), strict=True):
        np.testing.assert_array_equal(a, b)


def parts_are_saved_on_their_own(model, inputs, folder):
    z = np.random.default_rng(0).normal(size=(len(inputs["x"]), model.latent_dim))
    inputs = inputs | {"z": z.astype("float32"), "noise": z.astype("float32")}
    again = {}
    for name, network in networks(model).items():
        network.save(folder / f"{name}.keras")
        again[name] = keras.saving.load_model(folder / f"{name}.keras")
        # As JSON: Keras gives the shapes inside a user's own network back as lists.
        assert json.dumps(again[name].get_config()) == json.dumps(network.get_config())
    before, after = (outputs(parts, inputs) for parts in (networks(model), again))
    for a, b in zip(keras.tree.flatten(before), keras.tree.flatten(after), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, network in networks(model).items():
        assert shapes(network(symbolic(needed(name, inputs)))) == shapes(before[name])
