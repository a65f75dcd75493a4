import dataclasses
import itertools

import numpy as np
import pytest

import keras_cvae
from keras_cvae import MLP, ConditionalVAE
from keras_cvae.networks.topdown import Resize, TopDown
from keras_cvae.tensors import concatenate
from numerics import compiled, tensor

# Backbone, lengths (channels) of the groups.
DENSE = (TopDown(12, 8), [3, 2])
MAPS = (TopDown(12, filters=(4, 5), levels=(0, 1, 2)), [3, 2, 1])
FACTORED = (MLP((12,)), [3, 2])
DENSE_TOO = pytest.param(*DENSE, id="dense", marks=pytest.mark.nightly)  # maps have such groups


def build(backbone, groups, condition=3, shape=(5, 6, 1)):
    model = ConditionalVAE(shape, condition, list(groups), backbone=backbone, seed=0)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:  # heads start at zero, and would hide mistakes
        weight.assign(rng.normal(size=weight.shape, scale=0.3))
    return model


@pytest.fixture
def x(rng):
    return (rng.random((4, 5, 6, 1)) < 0.5).astype("float32")


@pytest.mark.further
@pytest.mark.parametrize(
    ("backbone", "groups"),
    [DENSE_TOO, pytest.param(*MAPS, id="maps"), pytest.param(*FACTORED, id="factored")],
)
def test_all_walks_meet_the_same_distributions(backbone, groups, x, rng):
    """Inference, ancestral sampling and decoding agree on p(z | y) and p(x | z, y) at one z."""
    model = build(backbone, groups)
    hierarchy, y = model.hierarchy, np.array([0, 1, 2, 0])

    def walks(x, noise):
        features = model.condition.features(y)
        latents, parameters = hierarchy.infer(hierarchy.observe(x, features), features, noise)
        z = concatenate([latent.z for latent in latents])
        factors, _ = hierarchy.prior.factors(features, z)
        style = hierarchy.prior.noise(features, z)
        return {
            "z": z,
            "parameters": parameters,
            "decoded": hierarchy.decode(z, features),
            "log_p": [latent.prior.log_prob(latent.z) for latent in latents],
            "log_p of factors": [
                factor.log_prob(latent.z) for factor, latent in zip(factors, latents, strict=True)
            ],
            "drawn": concatenate(hierarchy.prior.sample(features, style[1])[0]),
            "generated": hierarchy.generate(features, style[1]),
        }

    found = compiled(walks, x, rng.normal(size=(2, 4, model.latent_dim)))
    parameters = found["parameters"]
    np.testing.assert_allclose(found["decoded"], parameters, rtol=1e-4, atol=1e-5)
    assert len(found["log_p"]) == len(groups)
    for one, other in zip(found["log_p"], found["log_p of factors"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    np.testing.assert_allclose(found["drawn"], found["z"][1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["generated"], parameters[1], rtol=1e-3, atol=1e-4)


@pytest.mark.further
@pytest.mark.parametrize(("backbone", "groups"), [DENSE, FACTORED], ids=["dense", "factored"])
def test_the_ratio_averages_to_minus_the_kl(backbone, groups, x, rng):
    model, y = build(backbone, groups), np.array([0, 1, 2, 0])

    def ratios_and_kl(x, noise):
        features = model.condition.features(y)
        evidence = model.hierarchy.observe(x, features)
        latents, _ = model.hierarchy.infer(evidence, features, noise)
        return [
            (q.log_prob(z) - p.log_prob(z), q.kl(p))
            for q, p, z in ((latent.posterior, latent.prior, latent.z) for latent in latents)
        ]

    for ratio, kl in compiled(ratios_and_kl, x, rng.normal(size=(4000, 4, model.latent_dim))):
        kl = np.broadcast_to(kl, ratio.shape)
        error = (ratio - kl).std(axis=0) / np.sqrt(len(ratio))
        assert np.all(np.abs((ratio - kl).mean(axis=0)) < 5.0 * error + 1e-4)


@pytest.mark.further
@pytest.mark.parametrize(("backbone", "groups"), [DENSE_TOO, pytest.param(*MAPS, id="maps")])
def test_each_group_sees_the_groups_above_x_and_the_condition(backbone, groups, x, rng):
    model = build(backbone, groups)
    hierarchy = model.hierarchy

    def means(x, other_x, noise, moved):
        """Of prior and posterior of each group: first as given, then with one thing changed."""
        found = []
        changes = ((x, 0, noise), (x, 0, moved), (x, 1, noise), (other_x, 0, noise))
        for image, y, unit in changes:
            features = model.condition.features(np.full(4, y))
            latents, _ = hierarchy.infer(hierarchy.observe(image, features), features, unit)
            found.append([(latent.prior.mean, latent.posterior.mean) for latent in latents])
        return found

    noise = rng.normal(size=(1, 4, model.latent_dim))
    moved = noise.copy()
    moved[..., 0] += 1.0  # the first group only
    start, other_z, other_y, other_x = compiled(means, x, 1.0 - x, noise, moved)
    for g in range(len(groups)):
        prior, posterior = start[g]
        assert not np.allclose(prior, other_y[g][0])
        assert not np.allclose(posterior, other_x[g][1])
        if g:
            assert not np.allclose(prior, other_z[g][0])
            assert not np.allclose(posterior, other_z[g][1])


def test_the_groups_of_maps_have_the_length_of_the_map():
    model = build(*MAPS)  # 5 x 6 pictures: maps of 3 x 3 and 2 x 2
    assert model.latent_groups == (3, 2 * 4, 1 * 9)
    assert model.get_config()["latent_dim"] == (3, 2, 1)
    spread = ConditionalVAE((8, 8, 1), None, [1] * 4, backbone=TopDown(4, filters=(2,)))
    assert spread.latent_groups == (1, 1, 16, 16)


@pytest.mark.further
@pytest.mark.parametrize(
    ("shape", "new"),
    list(itertools.pairwise([(7,), (3, 4, 2), (5, 7, 3), (7,)])),
)
def test_resize_keeps_leading_axes(shape, new, rng):
    h = tensor(rng.normal(size=(2, 4, *shape)))
    assert tuple(Resize(shape, new)(h).shape) == (2, 4, *new)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopDown(0), "received units=0"),
        (lambda: TopDown(filters=(4, 0)), r"filters=\(4, 0\)"),
        (
            lambda: build(TopDown(8, filters=(4,), levels=(1, 0)), [1, 1]),
            r"received \(1, 0\) for 2 groups and 1 maps",
        ),
        (lambda: build(TopDown(8, levels=(0,)), [1, 1]), "expected one level for each group"),
        (
            lambda: build(TopDown(8, filters=(4,)), [1, 1], shape=(6,)),
            "expects images of shape .* For vectors leave filters",
        ),
        (
            lambda: ConditionalVAE((6,), 3, 2, backbone="topdown", prior="conditional"),
            "brings its own prior, encoder and decoder; received prior",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def random_configuration(rng) -> dict:
    """A top-down run as somebody might type it, sensible or not."""
    groups = int(rng.integers(1, 7))
    return {
        "backbone": rng.choice(["topdown", "topdown-conv"]).item(),
        "groups": groups,
        "latent_dim": groups * int(rng.integers(1, 9)),
        "units": (int(rng.integers(4, 65)),),
        "filters": tuple(rng.integers(2, 9, size=rng.integers(1, 3)).tolist()),
        "activation": rng.choice(["relu", "gelu", "silu", "tanh", "elu"]).item(),
        "likelihood": rng.choice(["bernoulli", "causal_bernoulli", "gaussian"]).item(),
        "learning_rate": float(10 ** rng.uniform(-4, -1.7)),
        "warmup": float(rng.choice([0.0, 0.3])),
        "free_bits": float(rng.choice([0.0, 0.5])),
        "batch_size": int(rng.choice([16, 64])),
        "num_samples": int(rng.integers(1, 4)),
        "ema": float(rng.choice([0.0, 0.9])),
        "clip": 100.0,
        "seed": int(rng.integers(1000)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("index", range(200))
def test_no_configuration_gives_nan(index, tmp_path):
    config = keras_cvae.RunConfig(
        **random_configuration(np.random.default_rng(index)), epochs=1, image_size=8
    )
    data = keras_cvae.load_data("digits")
    whole = {"train": slice(1280), "validation": slice(128)}  # no smaller last batch to compile
    splits = {name: getattr(data, name).take(part) for name, part in whole.items()}
    run = keras_cvae.train(dataclasses.replace(data, **splits), config, tmp_path / "run")
    assert np.isfinite([value for values in run.history().values() for value in values]).all()
