"""Importance sampling against models whose p(x | y) is known in closed form."""

import gc
import math
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvae import (
    MLP,
    Categorical,
    CategoricalValues,
    ConditionalNormal,
    ConditionalVAE,
    Continuous,
    Gaussian,
)
from keras_cvae.inference import importance, results

X, Z, K, SIGMA = 5, 3, 4, 0.6


class Linear:
    """x = A z + B y + noise, z = (z_1, z_2), z_1 ~ N(C y, S), z_2 ~ N(D z_1 + E y, T): all known.

    The proposal is the true posterior's mean, plus `shift`, with the diagonal of its covariance
    times `spread`; with `exact` A is such that the true posterior is diagonal, as q is.
    """

    def __init__(self, groups=(Z,), learned=True, spread=1.3, shift=0.1, exact=False, seed=0):
        rng = np.random.default_rng(seed)
        self.a = rng.normal(size=(X, Z)) * 0.5
        if exact:
            self.a = np.linalg.qr(rng.normal(size=(X, Z)))[0] * [0.5, 0.9, 1.3]
        self.b = rng.normal(size=(X, K))
        self.mean_y, self.cov = np.zeros((Z, K)), np.eye(Z)  # of z given y
        prior = "standard"
        if learned:
            prior = ConditionalNormal(units=())
        self.model = self.build(groups, prior)
        if learned:
            self.set_prior(groups, rng)
        noise = SIGMA**2 * np.eye(X)
        self.cov_x = self.a @ self.cov @ self.a.T + noise
        self.gain = self.cov @ self.a.T @ np.linalg.inv(self.cov_x)
        posterior = self.cov - self.gain @ self.a @ self.cov
        if exact:
            assert np.allclose(posterior, np.diag(np.diag(posterior)))
        # E[z | x, y] = m + G (x - A m - B y), with m = M y
        on_y = self.mean_y - self.gain @ (self.a @ self.mean_y + self.b)
        self.dense["mean"].set_weights(
            [np.concatenate([self.gain, on_y], axis=1).T, np.full(Z, shift)]
        )
        self.dense["log_var"].set_weights(
            [np.zeros((X + K, Z)), np.log(spread * np.diag(posterior))]
        )
        self.dense["x"].set_weights([np.concatenate([self.a, self.b], axis=1).T, np.zeros(X)])

    def build(self, groups, prior):
        x, y, z = keras.Input((X,)), keras.Input((K,)), keras.Input((Z,))
        self.dense = {n: keras.layers.Dense(d) for n, d in (("mean", Z), ("log_var", Z), ("x", X))}
        both = keras.layers.Concatenate()
        h = both([x, y])
        encoder = keras.Model([x, y], [self.dense["mean"](h), self.dense["log_var"](h)])
        decoder = keras.Model([z, y], self.dense["x"](keras.layers.Concatenate()([z, y])))
        return ConditionalVAE(
            (X,),
            condition=K,
            latent_dim=groups,
            likelihood=Gaussian(sigma=SIGMA),
            prior=prior,
            encoder=encoder,
            decoder=decoder,
        )

    def set_prior(self, groups, rng):
        """z_g ~ N(D z_<g + E y, diag(exp(log_var))): the weights, and the moments they imply."""
        done = 0
        transfer = np.zeros((Z, Z))  # z = transfer z + E y + noise
        on_y, variance = np.zeros((Z, K)), np.zeros(Z)
        for body, size in zip(self.model.prior.prior.bodies, groups, strict=True):
            rows = slice(done, done + size)
            transfer[rows, :done] = rng.normal(size=(size, done)) * 0.7
            on_y[rows] = rng.normal(size=(size, K))
            log_var = rng.normal(size=size) * 0.3
            variance[rows] = np.exp(log_var)
            mean = np.concatenate([transfer[rows, :done], on_y[rows]], axis=1).T
            kernel = np.concatenate([mean, np.zeros_like(mean)], axis=1)
            body.layers[-1].set_weights([kernel, np.concatenate([np.zeros(size), log_var])])
            done += size
        spread = np.linalg.inv(np.eye(Z) - transfer)
        self.mean_y, self.cov = spread @ on_y, spread @ np.diag(variance) @ spread.T

    def draw(self, n, seed=0):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, K, n)
        root = np.linalg.cholesky(self.cov_x)
        x = (self.a @ self.mean_y + self.b)[:, y].T + rng.normal(size=(n, X)) @ root.T
        return x.astype("float32"), y

    def log_prob(self, x, y):
        shift = x - (self.a @ self.mean_y + self.b)[:, y].T
        squared = np.einsum("nd,de,ne->n", shift, np.linalg.inv(self.cov_x), shift)
        return -0.5 * (squared + np.linalg.slogdet(self.cov_x)[1] + X * math.log(2 * math.pi))


CASES = {
    "standard prior": {"learned": False},
    "learned prior": {},
    "two groups, learned prior": {"groups": (2, 1)},
}


@pytest.mark.further
@pytest.mark.parametrize("case", CASES)
def test_the_truth_lies_within_the_error_bars(case):
    linear = Linear(**CASES[case])
    x, y = linear.draw(16)
    truth = linear.log_prob(x, y)
    deviations = []
    for seed in range(100):
        estimate = linear.model.log_prob(x, y, num_samples=200, seed=seed)
        deviations.append((estimate.mean - truth.mean()) / estimate.monte_carlo_error)
    inside = np.abs(deviations)
    assert np.sum(inside < 3.0) >= 95  # 3 standard errors: 99.7 % expected
    assert 88 <= np.sum(inside < 2.0) <= 100  # 95.4 % expected; fewer than 88 has p < 0.002
    assert np.sum(inside < 1.0) <= 84  # 68 % expected: the errors are no larger than they need be
    assert np.abs(np.mean(deviations)) < 0.5  # a log of a mean leans down, but only a little


def test_each_example_has_its_own_error():
    linear = Linear(groups=(1, 2))
    x, y = linear.draw(512)
    estimate = linear.model.log_prob(x, y, num_samples=300)
    deviation = (estimate.log_prob - linear.log_prob(x, y)) / estimate.standard_error
    assert 0.9 < np.std(deviation) < 1.1
    assert np.all(estimate.effective_sample_size <= 300)


@pytest.mark.parametrize("learned", [False, True])
def test_with_the_true_posterior_every_weight_is_p_of_x(learned):
    linear = Linear(learned=learned, exact=True, spread=1.0, shift=0.0)
    x, y = linear.draw(32)
    estimate = linear.model.log_prob(x, y, num_samples=3)
    np.testing.assert_allclose(estimate.log_prob, linear.log_prob(x, y), atol=2e-4)
    assert np.all(estimate.standard_error < 1e-4)
    np.testing.assert_allclose(estimate.effective_sample_size, 3.0, rtol=1e-5)


@pytest.mark.further
@pytest.mark.parametrize("learned", [False, True])
def test_the_elbo_is_log_p_with_the_true_posterior(learned):
    linear = Linear(learned=learned, exact=True, spread=1.0, shift=0.0)
    x, y = linear.draw(2000)
    linear.model.compile()
    loss = linear.model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    # One draw of z each: the single terms scatter, their sum does not.
    assert -loss == pytest.approx(linear.log_prob(x, y).mean(), abs=0.1)


@pytest.mark.further
def test_the_bound_rises_to_the_truth_and_stops_there():
    linear = Linear(groups=(2, 1), spread=2.0, shift=0.5)
    x, y = linear.draw(400)
    truth = linear.log_prob(x, y).mean()
    estimates = [linear.model.log_prob(x, y, num_samples=k) for k in (1, 10, 100, 1000)]
    gaps = [truth - estimate.mean for estimate in estimates]
    assert gaps[0] > 1.5 * gaps[1] > 2.0 * gaps[2] > 0
    for gap, estimate in zip(gaps[1:], estimates[1:], strict=True):
        assert gap > -3.0 * estimate.monte_carlo_error
    assert abs(gaps[-1]) < 3.0 * estimates[-1].monte_carlo_error
    assert np.isnan(estimates[0].standard_error).all()


def test_chunks_and_repetition_do_not_change_the_number():
    linear = Linear()
    x, y = linear.draw(70)
    whole = linear.model.log_prob(x, y, num_samples=50, batch_size=100_000)
    parts = linear.model.log_prob(x, y, num_samples=50, batch_size=1)
    np.testing.assert_allclose(whole.log_prob, parts.log_prob, atol=1e-4)
    uneven = linear.model.log_prob(x, y, num_samples=50, batch_size=64 * 7)
    np.testing.assert_allclose(whole.log_prob, uneven.log_prob, atol=1e-4)
    np.testing.assert_array_equal(
        parts.log_prob, linear.model.log_prob(x, y, num_samples=50, batch_size=1).log_prob
    )
    other = linear.model.log_prob(x, y, num_samples=50, seed=1)
    assert not np.allclose(whole.log_prob, other.log_prob, atol=1e-6)


@pytest.mark.parametrize(("num_samples", "batch_size"), [(500, None), (20_000, 1000), (3, 1)])
def test_memory_does_not_grow_with_the_samples(num_samples, batch_size):
    linear = Linear()
    plan = importance.Plan.of(linear.model, 8, num_samples, (0,), batch_size)
    drawn = [part for part, noise in plan.noise(range(8), Z) if noise.size <= 1024 * 8 * Z]
    assert sum(drawn) == num_samples
    assert plan.at_once * plan.examples <= (batch_size or 1024) or plan.at_once == 1


def test_marginal_and_classes_follow_bayes():
    linear = Linear(spread=1.2)
    x, _ = linear.draw(200)
    log_p = np.stack([linear.log_prob(x, np.full(len(x), k)) for k in range(K)], axis=1)
    class_prior = np.array([0.1, 0.2, 0.3, 0.4])
    joint = log_p + np.log(class_prior)
    truth = np.logaddexp.reduce(joint, axis=1)
    estimate = linear.model.log_marginal(x, num_samples=300, class_prior=class_prior)
    deviation = (estimate.mean - truth.mean()) / estimate.monte_carlo_error
    assert abs(deviation) < 3.5
    posterior = linear.model.classify(x, num_samples=300, class_prior=class_prior)
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(posterior, np.exp(joint - truth[:, None]), atol=0.06)
    uniform = linear.model.log_marginal(x, num_samples=300)
    expected = np.logaddexp.reduce(log_p - math.log(K), axis=1)
    np.testing.assert_allclose(uniform.log_prob, expected, atol=0.4)


def test_unlikely_classes_get_the_pilot_only():
    linear = Linear()
    x, y = linear.draw(20)
    x = x + 20.0 * np.sign(linear.b[:, y].T).astype("float32")  # far apart: one class is likely
    given = importance.class_log_prob(linear.model, x, 500)
    best = given.log_prob.max(axis=1, keepdims=True)
    unlikely = given.log_prob < best - 2 * importance.MARGIN
    assert unlikely.mean() > 0.5
    assert (given.effective_sample_size[unlikely] <= importance.PILOT).all()
    assert (given.effective_sample_size.max(axis=1) > importance.PILOT).all()
    always = (y + 1) % K
    asked = importance.class_log_prob(linear.model, x, 500, always=always).of(always)
    exact = linear.model.log_prob(x, always, 500)
    np.testing.assert_allclose(asked.log_prob, exact.log_prob, atol=5 * exact.standard_error.max())
    assert asked.log_prob.shape == (20,)


def test_temperature_mends_overconfidence():
    rng = np.random.default_rng(0)
    joint = rng.normal(size=(5000, K)) * 2.0
    truth = np.array([rng.choice(K, p=p) for p in results.class_posterior(joint)])
    assert results.fit_temperature(3.0 * joint, truth) == pytest.approx(3.0, rel=0.1)
    linear = Linear()
    x, y = linear.draw(100)
    soft = linear.model.classify(x, 20, temperature=50.0)
    assert soft.max() < 0.6
    fitted = linear.model.classify(x, 20, calibration=(x, y))
    assert fitted.shape == (100, K)


def test_score_finds_outliers():
    linear = Linear()
    normal, y = linear.draw(200, seed=1)
    x, y_new = linear.draw(50, seed=2)
    reference = linear.model.score(normal, y)
    usual = linear.model.score(x, y_new, reference=reference)
    odd = linear.model.score(x + 8.0, y_new, reference=reference)
    assert 0.35 < usual.mean() < 0.65
    assert odd.max() < 0.05
    assert np.all((usual > 0) & (usual <= 1))


@pytest.mark.further
@pytest.mark.parametrize(
    ("likelihood", "x"),
    [
        ("bernoulli", lambda rng: (rng.random((6, 4)) < 0.5).astype("float32")),
        ("continuous_bernoulli", lambda rng: rng.random((6, 4), "float32")),
        (Gaussian("predicted"), lambda rng: rng.normal(size=(6, 4))),
        (Gaussian("learned"), lambda rng: rng.normal(size=(6, 4))),
        (Gaussian("optimal"), lambda rng: rng.normal(size=(6, 4))),
        (CategoricalValues(3), lambda rng: rng.integers(0, 3, (6, 4)).astype("float32")),
    ],
    ids=lambda v: getattr(v, "name", v) if not callable(v) else "x",
)
def test_every_likelihood(likelihood, x):
    model = ConditionalVAE(
        (4,), Continuous(2), [2, 1], likelihood=likelihood, prior="conditional", backbone=MLP((8,))
    )
    rng = np.random.default_rng(0)
    values, y = x(rng), rng.normal(size=(6, 2))
    estimate = model.log_prob(values, y, num_samples=64)
    assert estimate.log_prob.shape == (6,)
    assert np.isfinite(estimate.log_prob).all()
    assert estimate.monte_carlo_error < 1.0


def test_bernoulli_matches_summation_over_z():
    # One latent dimension: p(x) by quadrature.
    model = ConditionalVAE((4,), None, 1, backbone=MLP((8,)), seed=0)
    x = np.array([[0, 1, 1, 0], [1, 1, 1, 1]], "float32")
    z = np.linspace(-8, 8, 2001, dtype="float32")
    parameters = ops.convert_to_numpy(
        model.decoder.parameters(ops.convert_to_tensor(z[:, None]), None)
    )
    log_p = (x[:, None] * parameters - np.logaddexp(0, parameters)).sum(axis=-1)
    truth = np.log(
        np.sum(np.exp(log_p - 0.5 * z**2), axis=1) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    )
    estimate = model.log_prob(x, num_samples=4000)
    np.testing.assert_allclose(estimate.log_prob, truth, atol=4 * estimate.standard_error.max())


@pytest.mark.further
def test_trained_weights_are_the_ones_used():
    model = ConditionalVAE((4,), None, 2, backbone=MLP((8,)), seed=0)
    x = np.ones((8, 4), "float32")
    before = model.log_prob(x, num_samples=10).mean
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(x, epochs=20, verbose=0)
    assert model.log_prob(x, num_samples=10).mean > before + 0.5


@pytest.mark.further
def test_a_model_is_not_kept_alive():
    model = ConditionalVAE((4,), None, 2, backbone=MLP((8,)))
    model.log_prob(np.ones((2, 4)), num_samples=2)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_what_cannot_be_estimated_is_refused():
    model = ConditionalVAE((4,), Continuous(2), 2, backbone=MLP((8,)))
    with pytest.raises(ValueError, match="Expected one of several classes"):
        model.log_marginal(np.ones((2, 4)))
    with pytest.raises(ValueError, match="num_samples: received 0"):
        model.log_prob(np.ones((2, 4)), np.ones((2, 2)), num_samples=0)
    with pytest.raises(ValueError, match="class_prior"):
        Linear().model.log_marginal(np.ones((2, X)), 2, class_prior=[1.0, 1.0])


def test_parts_of_any_size_give_what_all_at_once_gives(monkeypatch, tmp_path):
    import keras

    from keras_cvae.data.batches import Batches
    from keras_cvae.data.containers import Split

    model = ConditionalVAE((3,), Categorical([5, 7]), 2, backbone=MLP((4,)), seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.random((150, 3), "float32"), rng.integers(0, 2, 150)
    whole = model.log_prob(x, [(5, 7)[k] for k in y], 5)

    class Endless(keras.utils.PyDataset):
        num_batches = None

    def some():
        for start in range(0, 150, 17):
            yield x[start : start + 17], y[start : start + 17]

    for data in (Batches(Split(x, y.astype("int32")), 40), some()):
        found = model.log_prob(data, num_samples=5)
        np.testing.assert_array_equal(found[:3], whole[:3])
    monkeypatch.setattr("keras_cvae.models.pairs.LARGE", 4 * 3 * 40)  # parts of ten
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(model.log_prob(mapped, np.take([5, 7], y), 5)[:3], whole[:3])
    x[33, 1] = np.nan
    with pytest.raises(ValueError, match=r"x\[30:40\] holds NaN.* in 1 of 10 examples.*row 3"):
        model.log_prob(x, 5)
    with pytest.raises(ValueError, match="no end"):
        model.log_prob(Endless())
    with pytest.raises(ValueError, match="yield"):
        model.log_prob(some(), y)
    with pytest.raises(ValueError, match="empty"):
        model.log_prob(iter([]))
