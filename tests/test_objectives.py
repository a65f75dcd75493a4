import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import logsumexp

import harness
from keras_cvae.objectives import ELBO, GSNN, IWAE, Cyclical, Hybrid, Schedule, Terms, Warmup
from numerics import gradient, numpy, tensor


class TestEveryObjective(harness.Harness):
    part = "objective"


class TestEverySchedule(harness.Harness):
    part = "beta schedule"


@pytest.fixture
def terms(rng):
    """Three samples, four examples, two groups; the second group's mean KL is below 0.5 nats."""
    kl = rng.gamma(2.0, [1.0, 0.1], (4, 2)).astype("float32")
    ratio = rng.normal(size=(3, 4)).astype("float32") - kl.sum(axis=1)
    return Terms(rng.normal(-5, 1, (3, 4)).astype("float32"), kl, ratio)


def value(objective, terms, step=None):
    return numpy(objective(Terms(*map(tensor, terms)), step))


def test_elbo_is_the_equation(terms):
    expected = terms.log_likelihood.mean(axis=0) - terms.kl.sum(axis=1)
    np.testing.assert_allclose(value(ELBO(), terms), expected, rtol=1e-5)
    expected = terms.log_likelihood.mean(axis=0) - 4.0 * terms.kl.sum(axis=1)
    np.testing.assert_allclose(value(ELBO(beta=4.0), terms), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "betas"),
    [
        (Warmup(4), [0, 0.25, 0.5, 0.75, 1, 1]),
        (Warmup(2, final=3.0), [0, 1.5, 3, 3]),
        (Cyclical(4), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0]),
        (Cyclical(4, ramp=1.0, final=2.0), [0, 0.5, 1.0, 1.5, 0]),
    ],
)
def test_schedules_by_step(schedule, betas, terms):
    found = [float(schedule(ops.convert_to_tensor(s, "int32"))) for s in range(len(betas))]
    np.testing.assert_allclose(found, betas, rtol=1e-6)
    elbo = ELBO(beta=schedule)
    np.testing.assert_allclose(value(elbo, terms, 1), value(ELBO(betas[1]), terms), rtol=1e-5)
    np.testing.assert_allclose(value(elbo, terms), value(ELBO(schedule.final), terms), rtol=1e-5)


@pytest.mark.parametrize("free_bits", [0.5, 100.0, 0.01])
def test_free_bits_are_the_batch_mean_formula_in_value_and_gradient(terms, free_bits):
    elbo = ELBO(free_bits=free_bits)

    tensors = Terms(*map(tensor, terms))

    def ours(kl):
        return -ops.mean(elbo(tensors._replace(kl=kl)))

    def formula(kl):  # Kingma et al. 2016, eq. 15
        free = ops.sum(ops.maximum(ops.mean(kl, axis=0), free_bits))
        return ops.mean(tensors.reconstruction) + free

    np.testing.assert_allclose(float(ours(tensors.kl)), float(formula(tensors.kl)), rtol=1e-5)
    np.testing.assert_allclose(gradient(ours, terms.kl), gradient(formula, terms.kl), rtol=1e-5)


def test_iwae_is_the_log_of_the_mean_weight(terms):
    expected = logsumexp(terms.log_likelihood + terms.log_ratio, axis=0) - np.log(3)
    np.testing.assert_allclose(value(IWAE(3), terms), expected, rtol=1e-5)


def test_terms_sum_up(terms):
    np.testing.assert_allclose(
        numpy(Terms(*map(tensor, terms)).reconstruction),
        -terms.log_likelihood.mean(axis=0),
        rtol=1e-6,
    )
    np.testing.assert_allclose(numpy(Terms(*map(tensor, terms)).total_kl), terms.kl.sum(axis=1))


@pytest.fixture(scope="module")
def bounds():
    """The mean bound of one model by objective, each on 400 copies of the same examples."""
    model = harness.build({"prior": "conditional"})
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:  # far from the true posterior
        weight.assign(rng.normal(size=weight.shape, scale=0.7))
    x, y = (np.repeat(a, 50, axis=0) for a in harness.example(model))

    def bound(objective):
        model.objective, means = objective, []
        for _ in range(5):
            terms = model({"x": x, "condition": y}, training=True)
            means.append(numpy(objective(terms)).mean())
        return np.mean(means), np.std(means) / np.sqrt(5)

    return bound


def test_iwae_of_one_sample_is_the_elbo_in_expectation(bounds):
    (iwae, error), (elbo, other) = bounds(IWAE(1)), bounds(ELBO())
    assert abs(iwae - elbo) < 4 * np.hypot(error, other)


def test_iwae_rises_with_the_number_of_samples(bounds):
    found = [bounds(IWAE(k)) for k in (1, 5, 50)]
    for (low, a), (high, b) in itertools.pairwise(found):
        assert high - low > 3 * np.hypot(a, b)


def test_config_keeps_a_schedule():
    elbo = ELBO(Cyclical(8, ramp=0.25, final=2.0), free_bits=0.5, num_samples=2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(elbo))
    assert isinstance(again.beta, Schedule)
    assert again.get_config() == elbo.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ELBO(beta=-1), "beta: received -1"),
        (lambda: ELBO(free_bits=float("nan")), "free_bits: received nan"),
        (lambda: ELBO(num_samples=0), "num_samples: received 0"),
        (lambda: IWAE(2.5), "positive whole number"),
        (lambda: Warmup(0), "Warmup steps: received 0"),
        (lambda: Cyclical(4, ramp=1.5), "Cyclical ramp: received 1.5"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_hybrid_weighs_an_objective_and_draws_from_the_prior(terms, rng):
    from_prior = rng.normal(-7, 1, (5, 4)).astype("float32")
    terms = terms._replace(from_prior=from_prior)
    np.testing.assert_allclose(value(GSNN(5), terms), from_prior.mean(axis=0), rtol=1e-5)
    for inner in (ELBO(beta=Warmup(4)), IWAE(3)):
        expected = 0.3 * value(inner, terms, 2) + 0.7 * from_prior.mean(axis=0)
        found = value(Hybrid(inner, 0.3, prior_samples=5), terms, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_draws_from_the_prior_are_made_where_they_are_asked_for(small, data):
    x, y = data
    assert small()({"x": x, "condition": y}).from_prior == ()
    model = small(objective=GSNN(prior_samples=2000), prior="conditional")
    found = numpy(model({"x": x, "condition": y}).from_prior).mean(axis=0)
    z = model.sample_prior(y, 2000, seed=0)
    p = model.decode(z, np.repeat(y, 2000)).reshape(40, 2000, 6)
    log_p = np.log(np.where(x[:, None] > 0, p, 1 - p)).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(found, log_p, atol=0.25)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_alpha_is_a_part(alpha):
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        Hybrid(alpha=alpha)
