import numpy as np
import pytest

import harness
from keras_cvae.probability.normal import standard_normal
from keras_cvae.probability.priors import (
    PRIORS,
    ConditionalNormal,
    Path,
    StandardNormal,
    concatenate,
    split_groups,
)
from numerics import numpy, tensor


class TestEveryPrior(harness.Harness):
    part = "prior"


def built(sizes, features, **kwargs):
    prior = ConditionalNormal(**{"units": (4,), "activation": "tanh"} | kwargs)
    prior.build_groups(sizes, features)
    return prior


def perturb(prior, rng):
    for weight in prior.trainable_variables:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))


@pytest.mark.further
@pytest.mark.parametrize("name", PRIORS.classes)
@pytest.mark.parametrize("features", [0, 3])
def test_starts_as_the_standard_normal(name, features, rng):
    prior = PRIORS.get(name)
    prior.build_groups((2, 1), features)
    y = tensor(rng.normal(size=(5, 3))) if features else None
    noise = tensor(rng.normal(size=(5, 3)))
    groups, factors, _ = prior.sample(y, noise)
    np.testing.assert_allclose(numpy(concatenate(groups)), numpy(noise), rtol=1e-6)
    for factor in factors:
        assert not numpy(factor.mean).any()
        assert not numpy(factor.log_var).any()


def test_first_group_without_condition_has_no_weights():
    assert not built((2,), 0).weights
    assert built((2, 1), 0).weights


@pytest.mark.parametrize("lead", [(), (6,)], ids=["batch", "samples"])
def test_later_groups_depend_on_earlier_ones_and_on_the_condition(lead, rng):
    prior = built((2, 1), 3)
    perturb(prior, rng)
    y = tensor(rng.normal(size=(5, 3)))
    z = tensor(rng.normal(size=(*lead, 5, 2)))
    factor = prior.conditional(1, Path(y, (z,)))
    assert tuple(factor.mean.shape) == (*lead, 5, 1)
    for other in (prior.conditional(1, Path(y, (z + 1,))), prior.conditional(1, Path(y + 1, (z,)))):
        assert np.all(numpy(factor.mean) != numpy(other.mean))


@pytest.mark.parametrize(("activation", "bounded"), [("relu", False), ("tanh", True)])
def test_with_bounded_features_no_group_runs_away(activation, bounded, rng):
    # A group's width is the exponential of what the last layer says: with features that grow with
    # the groups before, one draw far out makes the next one's width endless.
    prior = built((1,) * 6, 2, units=(8,), activation=activation)
    for weight in prior.trainable_variables:
        weight.assign(2.0 * rng.standard_normal(weight.shape))
    noise = tensor(rng.standard_normal((2000, 6)))
    groups = prior.sample(tensor(np.ones((2000, 2))), noise)[-1].groups
    drawn = np.abs(np.concatenate([numpy(z) for z in groups], axis=1))
    assert bool((drawn < 1e5).all()) == bounded


def test_ancestral_samples_have_the_moments_of_the_chain(rng):
    # Linear: z_1 ~ N(a y, 1), z_2 ~ N(b z_1, 1), so z_2 has mean a b y and variance 1 + b^2.
    a, b, y = 0.5, -2.0, 3.0
    prior = built((1, 1), 1, units=())
    for body, kernel in zip(prior.bodies, ([[a, 0]], [[b, 0], [0, 0]]), strict=True):
        body.set_weights([np.array(kernel, "float32"), np.zeros(2, "float32")])
    noise = tensor(rng.standard_normal((100_000, 2)))
    groups, _, _ = prior.sample(tensor(np.full((len(noise), 1), y)), noise)
    z = numpy(concatenate(groups))
    np.testing.assert_allclose(z.mean(axis=0), [a * y, a * b * y], atol=0.03)
    np.testing.assert_allclose(np.cov(z.T), [[1, b], [b, 1 + b * b]], atol=0.06)


@pytest.mark.further
@pytest.mark.parametrize("features", [0, 3])
def test_noise_undoes_sampling(features, rng):
    standard = StandardNormal()
    standard.build_groups((2, 1, 3), features)
    for prior in (built((2, 1, 3), features), standard):
        perturb(prior, rng)
        y = tensor(rng.normal(size=(5, 3))) if features else None
        noise = tensor(rng.normal(size=(5, 6)))
        z = concatenate(prior.sample(y, noise)[0])
        np.testing.assert_allclose(numpy(prior.noise(y, z)), numpy(noise), rtol=1e-4, atol=1e-5)


def test_meeting_the_posterior_agrees_with_sampling(rng):
    """With q = N(0, I), `meet` draws its noise and gives the factors of p at those draws."""
    prior = built((2, 1), 3)
    perturb(prior, rng)
    y = tensor(rng.normal(size=(5, 3)))
    noise = tensor(rng.normal(size=(4, 5, 3)))
    latents, below = prior.infer(y, lambda g, state: standard_normal((2, 1)[g]), noise)
    np.testing.assert_allclose(
        numpy(concatenate([latent.z for latent in latents])), numpy(noise), rtol=1e-6
    )
    again = prior.conditional(1, Path(y, (noise[..., :2],)))
    np.testing.assert_array_equal(numpy(concatenate(list(below.groups))), numpy(noise))
    np.testing.assert_allclose(numpy(latents[1].prior.mean), numpy(again.mean), rtol=1e-6)


def test_split_groups_undoes_concatenate(rng):
    z = tensor(rng.normal(size=(4, 6)))
    parts = split_groups(z, (1, 3, 2))
    assert [p.shape[-1] for p in parts] == [1, 3, 2]
    np.testing.assert_array_equal(numpy(concatenate(parts)), numpy(z))


def test_concatenate_broadcasts_samples_and_skips_none(rng):
    z, y = rng.normal(size=(5, 4, 2)), rng.normal(size=(4, 3))
    both = numpy(concatenate([tensor(z), None, tensor(y)]))
    np.testing.assert_allclose(both[..., 2:], np.broadcast_to(y, (5, 4, 3)), rtol=1e-6)


def test_a_prior_serves_one_model():
    prior = built((2,), 3)
    with pytest.raises(ValueError, match="belongs to another model"):
        prior.build_groups((2,), 3)


def test_standard_normal_ignores_the_condition():
    prior = StandardNormal()
    prior.build_groups((2,), 3)
    assert tuple(prior.conditional(0, Path(np.ones((4, 3)))).mean.shape) == (2,)
