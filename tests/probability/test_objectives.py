import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import logsumexp

import harness
from keras_cvae.probability.normal import DiagonalNormal
from keras_cvae.probability.objectives import (
    ELBO,
    GSNN,
    IWAE,
    DReG,
    Hybrid,
    Terms,
    doubly_reparameterize,
)
from keras_cvae.probability.schedules import Cyclical, Schedule, Warmup
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
    """The mean bound of one model by objective and samples, on 250 copies of eight examples."""
    model = harness.build({"prior": "conditional", "objective": IWAE(50)})
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:  # far from the true posterior
        weight.assign(rng.normal(size=weight.shape, scale=0.7))
    x, y = (np.repeat(a, 250, axis=0) for a in harness.example(model))
    found = harness.terms(model, {"x": x, "condition": y})

    def bound(objective, samples=slice(None)):
        terms = found._replace(
            log_likelihood=found.log_likelihood[samples], log_ratio=found.log_ratio[samples]
        )
        each = value(objective, terms).reshape(8, 250)
        return each.mean(), np.sqrt(np.mean(each.var(axis=1)) / each.size)

    return bound


@pytest.mark.further
def test_iwae_of_one_sample_is_the_elbo_in_expectation(bounds):
    one, other = slice(0, 1), slice(1, 2)  # each with noise of its own
    (iwae, error), (elbo, of_elbo) = bounds(IWAE(1), one), bounds(ELBO(), other)
    assert abs(iwae - elbo) < 4 * np.hypot(error, of_elbo)


@pytest.mark.further
def test_iwae_rises_with_the_number_of_samples(bounds):
    found = [bounds(IWAE(k), slice(0, k)) for k in (1, 5, 50)]
    for (low, a), (high, b) in itertools.pairwise(found):
        assert high - low > 3 * np.hypot(a, b)


@pytest.fixture
def iwae_gradients(rng):
    """Gradients of the IWAE bound in q of x = z + noise, z ~ N(0, 1), over 4,000 examples x = 1.

    Called with q's mean and log-variance: by the bound itself and by DReG, each `(4000, 2)`.
    """
    noise = tensor(rng.normal(size=(3, 4000, 1)))
    prior, likelihood = (DiagonalNormal(tensor([m]), tensor([0.0])) for m in (0.0, 1.0))

    def gradients(mean, log_var):
        def loss(parameters, doubly):
            q, zeros = DiagonalNormal(parameters[:, :1], parameters[:, 1:]), 0.0
            if doubly:
                q, zeros = doubly_reparameterize(q, 3)
            z = q.sample(noise)
            log_q = (q.without_gradients() if doubly else q).log_prob(z)
            terms = Terms(likelihood.log_prob(z), (), prior.log_prob(z) - log_q + zeros)
            return -ops.mean((DReG if doubly else IWAE)(3)(terms))

        at = np.tile([[mean, log_var]], (4000, 1))
        return [4000 * gradient(lambda p, d=doubly: loss(p, d), at) for doubly in (False, True)]

    return gradients


def test_dreg_is_the_gradient_of_iwae_in_mean_with_less_noise(iwae_gradients):
    plain, doubly = iwae_gradients(-0.2, 0.6)
    error = np.hypot(plain.std(axis=0), doubly.std(axis=0)) / np.sqrt(len(plain))
    assert (np.abs(plain.mean(axis=0) - doubly.mean(axis=0)) < 4 * error).all()
    assert (np.abs(plain.mean(axis=0)) > 10 * error).all()
    assert (doubly.std(axis=0) < 0.7 * plain.std(axis=0)).all()


def test_dreg_has_no_noise_where_q_is_exact(iwae_gradients):
    plain, doubly = iwae_gradients(0.5, np.log(0.5))  # p(z | x = 1) = N(1/2, 1/2)
    np.testing.assert_allclose(doubly, 0.0, atol=1e-5)
    assert (plain.std(axis=0) > 0.1).all()


@pytest.mark.further
def test_dreg_leaves_the_bound_and_all_but_the_encoder_as_they_are():
    found = []
    for objective in (IWAE(3), DReG(3)):
        model = harness.build({"objective": objective, "prior": "conditional"})
        model.compile(keras.optimizers.SGD(1.0))
        x, y = harness.example(model)
        parts = [model.encoder, model.prior, model.decoder]
        before = [harness.weights(part) for part in parts]
        loss = model.fit(x, y, batch_size=len(x), verbose=0).history["loss"]
        after = [harness.weights(part) for part in parts]
        found.append(
            (loss, [np.subtract(a, b) for a, b in zip(flat(after), flat(before), strict=True)])
        )
    (loss, plain), (same, doubly) = found
    np.testing.assert_allclose(same, loss, rtol=1e-6)
    assert not np.allclose(doubly[0], plain[0], rtol=0.1)
    for one, other in zip(doubly[1:], plain[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def flat(parts):
    return [np.concatenate([array.ravel() for array in arrays]) for arrays in parts]


def test_dreg_needs_a_posterior_of_its_own():
    with pytest.raises(ValueError, match="top-down network shares its weights"):
        harness.build({"objective": DReG(2), "backbone": "topdown"})


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
        (lambda: IWAE(2.5), "received 2.5, expected a whole number"),
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


@pytest.mark.further
def test_draws_from_the_prior_are_made_where_they_are_asked_for(small, data):
    x, y = data
    assert harness.terms(small(), {"x": x, "condition": y}).from_prior == ()
    model = small(objective=GSNN(prior_samples=2000), prior="conditional")
    found = harness.terms(model, {"x": x, "condition": y}).from_prior.mean(axis=0)
    z = model.sample_prior(y, 2000, seed=0)
    p = model.decode(z, np.repeat(y, 2000)).reshape(40, 2000, 6)
    log_p = np.log(np.where(x[:, None] > 0, p, 1 - p)).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(found, log_p, atol=0.25)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_alpha_is_a_part(alpha):
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        Hybrid(alpha=alpha)
