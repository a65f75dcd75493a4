"""How good is a model? Every figure a function on arrays and a model; `evaluate` runs them all.

Likelihoods are in nats with a standard error and a fixed seed. Samples are judged by a classifier
that was trained on real data only. A figure that does not apply is absent, never zero.
"""

import math
import time
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae import errors, importance, masks
from keras_cvae.conditions import Joint, Unconditional, classes_of, take
from keras_cvae.data import Batches, CompletionBatches, Data, Split
from keras_cvae.distributions import Gaussian
from keras_cvae.importance import LogProb, Progress, Step, compiled
from keras_cvae.likelihoods import Bernoulli, CategoricalValues
from keras_cvae.networks.conv import ConvEncoder
from keras_cvae.networks.mlp import DenseBody

ACTIVE = 0.01  # Burda et al. 2016: variance of a posterior mean above which a unit is active
NEIGHBOURS = 5  # whose balls stand for where data are
COMPONENTS = 64  # principal components in which samples are compared where there are no classes
FEW = 10.0  # effective samples below which log p is low by 1/20 nat and more


# --- the bound and the latent ---------------------------------------------------------------------


class Bound(NamedTuple):
    """The ELBO of n examples, term by term, and the latent that it was computed with.

    Args:
        reconstruction: -E_q[ log p(x | z, y) ], `(n,)` nats.
        kl: KL( q(z | x, y) || p(z | y) ) of each latent dimension, `(n, latent_dim)` nats.
        z: One draw from q, `(n, latent_dim)`.
        mean: Of q, met by that draw, `(n, latent_dim)`.
        log_var: Of q, `(n, latent_dim)`.
        prior_mean: Of p(z | y), met by that draw, `(n, latent_dim)`.
        prior_log_var: Likewise.
        groups: Sizes of the latent groups.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    z: np.ndarray
    mean: np.ndarray
    log_var: np.ndarray
    prior_mean: np.ndarray
    prior_log_var: np.ndarray
    groups: tuple[int, ...]

    @property
    def elbo(self) -> np.ndarray:
        """`(n,)` nats, higher is better; a lower bound of log p(x | y)."""
        return -self.reconstruction - self.kl.sum(axis=1)

    @property
    def kl_per_group(self) -> np.ndarray:
        """Mean KL of each latent group, `(groups,)` nats."""
        edges = np.cumsum((0, *self.groups[:-1]))
        return np.add.reduceat(self.kl.mean(axis=0), edges)


class BoundTerms(Step):
    """What `bound` collects of a batch."""

    def call(self, inputs):
        features = self.features(inputs)
        evidence = self.hierarchy.observe(inputs["x"], features)
        latents, parameters = self.hierarchy.infer(evidence, features, inputs["noise"])
        log_likelihood = self.likelihood.log_prob(inputs["x"], parameters)

        def whole(parts):  # (samples, batch, latent_dim)
            shaped = zip(parts, latents, strict=True)
            return ops.concatenate([p + ops.zeros_like(g.z) for p, g in shaped], axis=-1)

        kl = whole([_each(g.posterior).kl(_each(g.prior)) for g in latents])
        return {
            "reconstruction": -ops.mean(log_likelihood, axis=0),
            "kl": ops.mean(kl, axis=0),
            "z": whole([g.z for g in latents])[0],
            "mean": whole([g.posterior.mean for g in latents])[0],
            "log_var": whole([g.posterior.log_var for g in latents])[0],
            "prior_mean": whole([g.prior.mean for g in latents])[0],
            "prior_log_var": whole([g.prior.log_var for g in latents])[0],
        }


def _each(gaussian: Gaussian) -> Gaussian:
    """Each dimension as a distribution of its own."""
    return Gaussian(gaussian.mean[..., None], gaussian.log_var[..., None])


def bound(model, x, y=None, *, num_samples: int = 8, seed: int = 0, batch_size: int = 256) -> Bound:
    """The ELBO of each example with fixed noise.

    Args:
        model: A `ConditionalVAE`.
        x: `(n, *x_shape)`.
        y: Conditions, one for each x, or None: there are none, or all are missing.
        num_samples: Draws of z per example; the KL of a single group needs none.
        seed: Of the draws.
        batch_size: Examples at once.
    """
    x, nothing = np.asarray(x), y is None and model.condition.forgettable
    y = model.condition.unknown(len(x)) if nothing else model.condition.prepare(y)
    step, size = compiled(model, BoundTerms), min(batch_size, len(x))
    noise = np.random.default_rng(seed)
    collected: dict[str, list] = {}
    for start in range(0, len(x), size):
        rows = np.resize(np.arange(start, min(start + size, len(x))), size)
        inputs = {"x": np.asarray(x[rows], "float32")} | (
            {} if y is None else {"condition": take(y, rows)}
        )
        drawn = noise.standard_normal((num_samples, size, model.latent_dim), "float32")
        terms = step.predict_on_batch(inputs | {"noise": drawn})
        for name, values in terms.items():
            collected.setdefault(name, []).append(values[: len(x) - start])
    whole = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Bound(**whole, groups=model.latent_groups)


def active_units(terms: Bound) -> np.ndarray:
    """Which dimensions carry information about x, `(latent_dim,)` booleans (Burda et al. 2016).

    The variance over the data of q's mean, taken from the prior's mean: what a learned prior knows
    from y alone does not count.
    """
    return np.var(terms.mean - terms.prior_mean, axis=0) > ACTIVE


def mutual_information(terms: Bound, groups=None, limit: int = 4000) -> tuple[float, float]:
    """I(x; z | y) in nats, a lower estimate, and the ceiling that it cannot pass.

    E[ log q(z | x, y) - log q(z | y) ] with q(z | y) the mean of q(z | x_j, y) over the N examples
    of the same class (Hoffman & Johnson 2016); at most log N, so many examples are needed to see
    much. The mean KL is an upper bound.

    Args:
        terms: From `bound`.
        groups: Classes `(n,)`; None takes all examples as one class.
        limit: Examples used.
    """
    n = min(limit, len(terms.z))
    labels = np.zeros(n, int) if groups is None else np.asarray(groups)[:n]
    information, ceiling = 0.0, 0.0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        z, mean, log_var = (a[rows].astype("float64") for a in (terms.z, terms.mean, terms.log_var))
        precision = np.exp(-log_var)
        constant = np.sum(np.square(mean) * precision + log_var, axis=1)
        squared = np.square(z) @ precision.T - 2.0 * z @ (mean * precision).T + constant
        log_q = -0.5 * squared  # (i, j): log q(z_i | x_j), without the constant in 2 pi
        information += float(np.sum(np.diag(log_q) - _logmeanexp(log_q)))
        ceiling += len(rows) * math.log(len(rows))
    return information / n, ceiling / n


def aggregate_gap(terms: Bound) -> np.ndarray:
    """How far the aggregate posterior is from the prior in each dimension, `(latent_dim,)` nats.

    KL to N(0, 1) of the Gaussian with the moments of (z - prior mean) / prior deviation, z ~ q. At
    0 the prior draws what the decoder was trained on.
    """
    u = (terms.z - terms.prior_mean) * np.exp(-0.5 * terms.prior_log_var)
    mean, var = u.mean(axis=0), np.maximum(u.var(axis=0), 1e-12)
    return 0.5 * (np.square(mean) + var - 1.0 - np.log(var))


def verdict(active: int, latent_dim: int, kl: float) -> tuple[str, str]:
    """Posterior collapse in words: what is the case, and what to do about it."""
    remedy = (
        "Warm beta up (objective=ELBO(beta=Warmup(steps))), give free bits "
        "(ELBO(free_bits=...)), lower beta, or weaken the decoder"
    )
    if active == 0 or kl < 0.1:
        return (
            "Collapsed: the latent is ignored. All samples of a condition look alike.",
            f"{remedy}. Check that the reconstruction term is a sum over x, not a mean.",
        )
    if active < 0.5 * latent_dim:
        return (
            f"Partly collapsed: {active} of {latent_dim} dimensions carry information.",
            f"Harmless if the likelihood is good: a smaller latent_dim, about {active + 2}, does "
            f"the same faster. To use more of them: {remedy[0].lower()}{remedy[1:]}.",
        )
    return f"Healthy: {active} of {latent_dim} dimensions carry information.", "Nothing to do."


def _logmeanexp(values: np.ndarray) -> np.ndarray:
    peak = values.max(axis=1)
    return peak + np.log(np.mean(np.exp(values - peak[:, None]), axis=1))


# --- likelihood and classification ----------------------------------------------------------------


def negative(estimate: LogProb) -> dict[str, float | int]:
    """-log p in nats, its errors and settings, JSON-able."""
    return {
        "nats": -estimate.mean,
        "standard_error": estimate.mean_standard_error,
        "monte_carlo_error": estimate.monte_carlo_error,
        "median_effective_sample_size": float(np.median(estimate.effective_sample_size)),
        "examples": len(estimate.log_prob),
        "num_samples": estimate.num_samples,
        "seed": estimate.seed,
    }


def bits_per_dimension(nats: float, x_shape, levels: int | None = None) -> float:
    """-log2 p per value of x.

    Args:
        nats: -log p(x) per example.
        x_shape: Shape of one example.
        levels: For a density on [0, 1] of dequantised data, how many levels there were: 256 for
            8-bit images. None: p is a probability already.
    """
    return nats / (math.prod(x_shape) * math.log(2.0)) + (math.log2(levels) if levels else 0.0)


def reliability(probabilities: np.ndarray, y: np.ndarray, bins: int = 15) -> dict[str, Any]:
    """Accuracy, expected calibration error and reliability curve (Guo et al. 2017, eq. 3).

    Args:
        probabilities: p(y | x), `(n, K)`.
        y: True classes `(n,)`.
        bins: Of equal width in the confidence.

    Returns:
        `accuracy`, `calibration_error`, `log_loss` in nats, and for each bin that is not empty
        `confidence`, `accuracy_in_bin`, `count`.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    full = count > 0
    sure = np.bincount(which, confidence, bins)[full] / count[full]
    hit = np.bincount(which, right, bins)[full] / count[full]
    log_p = np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-30))
    return {
        "accuracy": float(right.mean()),
        "calibration_error": float(np.sum(count[full] * np.abs(sure - hit)) / len(y)),
        "log_loss": float(-log_p.mean()),
        "confidence": sure.tolist(),
        "accuracy_in_bin": hit.tolist(),
        "count": count[full].tolist(),
    }


# --- the quality of samples -----------------------------------------------------------------------


class Judge:
    """A small classifier, trained on real data only, that says what a sample shows.

    Convolutions for images (99 % on MNIST within a minute on two cores), dense layers for vectors.
    Weights and order come from `seed` alone.

    Args:
        x_shape: Shape of one example.
        classes: How many classes there are.
        epochs: None chooses by the size of the data.
        batch_size: Examples per step.
        seed: Of weights, dropout and order.
    """

    def __init__(self, x_shape, classes: int, *, epochs=None, batch_size: int = 128, seed: int = 0):
        self.x_shape, self.classes = tuple(x_shape), int(classes)
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        image = len(self.x_shape) == 3
        body = ConvEncoder((16, 48), 128, "relu") if image else DenseBody((256, 128), "relu")
        self.scaling = keras.layers.Normalization(axis=None if image else -1)
        self.scaling.build((None, *self.x_shape))
        inputs = keras.Input(self.x_shape)
        features = body([self.scaling(inputs)])
        dropped = keras.layers.Dropout(0.4, seed=seed)(features)
        self.network = keras.Model(inputs, keras.layers.Dense(classes)(dropped))
        self.body = keras.Model(inputs, features)
        rng = np.random.default_rng(seed)
        for weight in self.network.trainable_variables:
            if len(weight.shape) > 1:  # He et al. 2015
                fan_in = math.prod(weight.shape[:-1])
                weight.assign(rng.standard_normal(weight.shape) * math.sqrt(2.0 / fan_in))

    def fit(self, x: np.ndarray, y: np.ndarray, progress: Progress | None = None) -> "Judge":
        """Train on x `(n, *x_shape)`, uint8 0..255 or floats, and classes y `(n,)`."""
        batches = Batches(Split(x, y), self.batch_size, shuffle=True, seed=self.seed)
        if len(self.x_shape) == 1:
            self.scaling.adapt(np.asarray(x, "float32"))
        epochs = self.epochs or int(np.clip(math.ceil(200_000 / len(x)), 4, 20))
        steps = epochs * len(batches)
        warm = min(200, steps // 4)
        rate = keras.optimizers.schedules.CosineDecay(
            1e-4, max(1, steps - warm), warmup_target=3e-3, warmup_steps=max(1, warm)
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.network.compile(keras.optimizers.Adam(rate), loss)
        watch = [] if progress is None else [_Progress(progress, epochs)]
        self.network.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=watch)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes `(n,)`."""
        return np.argmax(self._run(self.network, x), axis=1)

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """Share of x that is judged to be y."""
        return float(np.mean(self.predict(x) == y))

    def features(self, x: np.ndarray) -> np.ndarray:
        """The last hidden layer, `(n, 128)`."""
        return self._run(self.body, x)

    @staticmethod
    def _run(network, x) -> np.ndarray:
        return network.predict(Batches(Split(x), 500), verbose=0)


class _Progress(keras.callbacks.Callback):
    def __init__(self, progress: Progress, epochs: int):
        super().__init__()
        self.bar = iter(progress(range(epochs + 1), total=epochs + 1, description="judge"))

    def on_epoch_begin(self, epoch, logs=None):
        next(self.bar)

    def on_train_end(self, logs=None):
        list(self.bar)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of Gaussians with the moments of a and b, `(n, d)` each.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) (Heusel et al. 2017, eq. 6). In a
    judge's features it is comparable only with the same judge; it is not the FID.
    """
    a, b = a.astype("float64"), b.astype("float64")
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = _root(np.atleast_2d(cov_a))
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(cov_b) @ root)
    shift = np.sum(np.square(a.mean(axis=0) - b.mean(axis=0)))
    traces = np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b))
    return float(shift + traces - 2.0 * np.sum(np.sqrt(np.maximum(cross, 0.0))))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def diversity(real: np.ndarray, samples: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage of samples, by balls to the k-th neighbour.

    Args:
        real: Features of real data `(n, d)`.
        samples: Features of as many samples `(m, d)`.
        k: Neighbours.

    Returns:
        `precision`: share of samples within a ball of real data; `recall`: share of real data
        within a ball of samples (Kynkäänniemi et al. 2019, eq. 2). `density`: how many real balls
        hold a sample, over k; `coverage`: share of real balls that hold a sample (Naeem et al.
        2020, eq. 3, 4); both near 1 for samples as good as real data.
    """
    real_ball = _radii(real, k)
    sample_ball = _radii(samples, k)
    precise, recalled = np.zeros(len(samples), bool), np.zeros(len(real), bool)
    covered, hits = np.zeros(len(real), bool), 0
    for rows, squared in _squared_distances(samples, real):
        within = squared <= real_ball
        precise[rows] = within.any(axis=1)
        covered |= within.any(axis=0)
        hits += int(within.sum())
        recalled |= (squared <= sample_ball[rows, None]).any(axis=0)
    return {
        "precision": float(precise.mean()),
        "recall": float(recalled.mean()),
        "density": hits / (k * len(samples)),
        "coverage": float(covered.mean()),
    }


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th other point, `(n,)`."""
    parts = [np.partition(s, k, axis=1)[:, k] for _, s in _squared_distances(points, points)]
    return np.concatenate(parts)


def _squared_distances(a: np.ndarray, b: np.ndarray, chunk: int = 1000):
    """Yield slices of a and their squared distances to b, `(rows, m)`."""
    a, b = a.astype("float32"), b.astype("float32")
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre  # smaller numbers, smaller rounding errors
    norm = np.einsum("nd,nd->n", b, b)
    for start in range(0, len(a), chunk):
        part = a[start : start + chunk]
        squared = np.einsum("nd,nd->n", part, part)[:, None] + norm - 2.0 * part @ b.T
        yield slice(start, start + len(part)), np.maximum(squared, 0.0)


def nearest(x: np.ndarray, train: Split, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Distances to and indices of the k nearest training examples, `(n, k)` each, nearest first.

    Args:
        x: `(n, *x_shape)` floats.
        train: The training data; read in parts.
        k: Neighbours.
    """
    x = np.asarray(x, "float32").reshape(len(x), -1)
    best = np.full((len(x), k), np.inf, "float32")
    index = np.zeros((len(x), k), int)
    for start in range(0, len(train), 5000):
        part = train.floats(slice(start, start + 5000))
        part = part.reshape(len(part), -1)
        for rows, squared in _squared_distances(x, part):
            both = np.concatenate([best[rows], squared], axis=1)
            known = np.arange(start, start + len(part))
            names = np.concatenate([index[rows], np.broadcast_to(known, squared.shape)], axis=1)
            few = np.argpartition(both, k - 1, axis=1)[:, :k]
            few = np.take_along_axis(few, np.argsort(np.take_along_axis(both, few, 1), axis=1), 1)
            best[rows] = np.take_along_axis(both, few, 1)
            index[rows] = np.take_along_axis(names, few, 1)
    return np.sqrt(best), index


def memorising(samples: np.ndarray, train: Split, held_out: np.ndarray) -> dict[str, Any]:
    """Whether samples are copies of training examples.

    A copy is much nearer to one training example than to that example's neighbours: the ratio of
    the nearest distance to the mean of the 50 nearest (Carlini et al. 2023, sec. 4.2) is compared
    with the same ratio of real data that was not trained on, of which 1 % lies below the threshold.

    Args:
        samples: `(n, *x_shape)` floats.
        train: What the model was trained on.
        held_out: Real data that it was not trained on, `(m, *x_shape)` floats.

    Returns:
        `share`: of samples below the threshold, 0.01 expected; `memorised`: whether that is more
        than 0.05; `median_ratio` and `median_ratio_held_out`.
    """
    k = min(50, len(train))

    def ratio(x):
        distance, _ = nearest(x, train, k)
        return distance[:, 0] / np.maximum(distance.mean(axis=1), 1e-12)

    of_samples, of_real = ratio(samples), ratio(held_out)
    share = float(np.mean(of_samples < np.quantile(of_real, 0.01)))
    return {
        "share": share,
        "memorised": share > 0.05,
        "median_ratio": float(np.median(of_samples)),
        "median_ratio_held_out": float(np.median(of_real)),
    }


# --- the calibration of draws ---------------------------------------------------------------------


class Calibration(NamedTuple):
    """Ranks of true values among draws from p(x | y): uniform, if the model is right about both.

    Args:
        ranks: How many draws lie below the truth, `(n, *x_shape)`, whole numbers 0 .. draws.
        draws: For each y.
    """

    ranks: np.ndarray
    draws: int

    def chi_square(self, bins: int | None = None) -> np.ndarray:
        """p-values of uniform ranks, `(*x_shape)`, by a chi-square test.

        Args:
            bins: Of the ranks, as equal as can be; None: 20, or fewer for less than 200 examples.
        """
        from scipy import stats

        n = len(self.ranks)
        bins = min(bins or int(np.clip(n // 10, 2, 20)), self.draws + 1)
        edges = np.arange(self.draws + 1) * bins // (self.draws + 1)
        expected = n * np.bincount(edges, minlength=bins) / (self.draws + 1)
        which = edges[self.ranks.reshape(n, -1)]
        found = np.stack([np.bincount(column, minlength=bins) for column in which.T])
        p = stats.chisquare(found, np.broadcast_to(expected, found.shape), axis=1).pvalue
        return np.reshape(p, self.ranks.shape[1:])

    def kolmogorov_smirnov(self) -> np.ndarray:
        """p-values of uniform ranks, `(*x_shape)`, by the largest gap of the distributions.

        Sharper than `chi_square` where all is too high or too low, blunter where the spread is off.
        """
        from scipy import stats

        u = (self.ranks + 0.5) / (self.draws + 1)
        p = [stats.kstest(one, "uniform").pvalue for one in u.reshape(len(u), -1).T]
        return np.reshape(p, u.shape[1:])

    def coverage(self, levels=(0.5, 0.8, 0.9, 0.95)) -> np.ndarray:
        """Share of truths in the central interval of each level, `(levels, *x_shape)`."""
        u = (self.ranks + 0.5) / (self.draws + 1)
        return np.stack([np.mean(np.abs(u - 0.5) <= level / 2, axis=0) for level in levels])


def calibration(model, x, y, *, draws: int = 199, seed: int = 0) -> Calibration:
    """Simulation-based calibration (Talts et al. 2018, algorithm 1).

    Args:
        model: A `ConditionalVAE`.
        x: True values `(n, *x_shape)` that were not trained on: parameters drawn from their prior.
        y: What was simulated from each, conditions `(n, ...)`.
        draws: From p(x | y), for each y. Equal values, of discrete x, are ordered at random.
        seed: Of the draws.
    """
    x, y, draws = np.asarray(x), model.condition.prepare(y), errors.whole("draws", draws)
    at_once = max(1, 2**22 // (draws * math.prod(model.x_shape)))
    rng, ranks = np.random.default_rng([seed, 1]), []
    for start in range(0, len(x), at_once):
        truth = x[start : start + at_once, None]
        some = take(y, slice(start, start + at_once))
        drawn = model.generate(some, draws, seed=seed + start, output="sample")
        drawn = drawn.reshape(len(truth), draws, *model.x_shape)
        ties = np.sum(drawn == truth, axis=1)
        ranks.append(np.sum(drawn < truth, axis=1) + rng.integers(0, ties + 1))
    return Calibration(np.concatenate(ranks), draws)


# --- all of it ------------------------------------------------------------------------------------


def evaluate(
    model,
    data: Data,
    *,
    samples: int = 500,
    binarize: Literal["none", "dynamic"] = "none",
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of a model on a data set's test split (its validation split, if it has none).

    Args:
        model: A `ConditionalVAE`.
        data: What it was trained on. Its training split trains the judge and shows memorising; its
            validation split, if that is not the test split, calibrates p(y | x).
        samples: Importance samples per example.
        binarize: "dynamic": x ~ Bernoulli(pixel), one fixed draw. "none": x as it is; grey levels
            under a Bernoulli likelihood are then no likelihood, and not called one.
        limit: Test examples used, at most; evenly spread, as the first ones may be alike (those of
            MNIST are 1.4 nats harder).
        seed: Of every draw.
        progress: Wraps long loops as `progress(iterable, total=, description=)`.

    Returns:
        A JSON-able dictionary:

        - `settings`: `data`, `split`, `examples`, `samples`, `binarize`, `seed`
        - `elbo`: `elbo`, `standard_error`, `reconstruction`, `kl`, `kl_per_group`,
          `kl_per_dimension`, all in nats
        - `latent`: `latent_dim`, `active_units`, `mutual_information`,
          `mutual_information_ceiling`, `aggregate_gap`, `verdict`, `advice`
        - `conditional`: -log p(x | y) as in `negative`, with `per_class` where there are classes;
          `marginal`: -log p(x), likewise. For Bernoulli on grey levels in their place
          `grey_level_cross_entropy`: `loss` (reconstruction + KL), `importance_weighted`
        - `from_prior`, where y is the known part of x: as `conditional`, with draws from p(z | y),
          which is what completions are drawn from; then no figures of samples
        - `bits_per_dimension` for images that are not binarised, of dequantised 8-bit data
        - `classification`: as in `reliability`, with `temperature`; `uncalibrated`: the same at 1
        - `samples`: `output` (what is judged: "mean" or "sample"), `count`, `judge_accuracy` (real
          to real), `on_label_accuracy`, `tstr`, `frechet_distance`, `frechet_distance_real` (of
          as many training examples), and those of `diversity`. Of named conditions, the first that
          is one of several classes, called `label`, is asked for
        - `components`, where there are no classes: `output`, `count`, `frechet_distance`,
          `frechet_distance_real` and those of `diversity`, in principal components of x in place of
          a judge's features
        - `calibration` of vectors under a condition: `draws`, `examples`, `least_p_value` of
          uniform ranks (times the number of values, as the least of so many), `coverage_50`,
          `coverage_90`; see `Calibration`
        - `memorising`: as in `memorising`
        - `left_out`: sentences that say which figures have no meaning here, and why
        - `seconds`: of each part
    """
    test, name = (data.validation, "validation") if data.test is None else (data.test, "test")
    test = test if limit is None else test.spread(limit)
    x = prepared(model, test, binarize)
    y = None if isinstance(model.condition, Unconditional) else test.y
    if model.condition.knows_part:
        x, y = known_part(model, test, binarize)
    classes = test.y if data.class_names else None
    clock = _Clock()
    metrics: dict[str, Any] = {
        "settings": {
            "data": data.name,
            "split": name,
            "examples": len(x),
            "samples": samples,
            "binarize": binarize,
            "seed": seed,
        }
    }
    terms = bound(model, x, y, seed=seed)
    metrics["elbo"] = _elbo_figures(terms)
    labelled = y is not None and not model.condition.knows_part
    metrics["latent"] = _latent_figures(terms, classes if labelled else None)
    clock.lap("elbo")
    metrics |= _likelihood_figures(model, data, x, y, samples, binarize, seed, progress)
    if "grey_level_cross_entropy" in metrics:
        metrics["grey_level_cross_entropy"]["loss"] = -metrics["elbo"]["elbo"]
    clock.lap("likelihood")
    if model.condition.knows_part:
        drawn = model.log_prob(x, y, samples, seed, proposal="prior", progress=progress)
        metrics["from_prior"] = negative(drawn)
        clock.lap("from prior")
    else:
        metrics |= _sample_figures(model, data, test, y, seed, progress, clock)
        if y is not None and len(model.x_shape) == 1 and _is_continuous(model):
            metrics["calibration"] = _calibration_figures(model, x, y, seed)
            clock.lap("calibration")
        if why := _left_out(model, y, metrics):
            metrics["left_out"] = why
    metrics["seconds"] = clock.laps
    return metrics


class _Clock:
    def __init__(self):
        self.laps, self.last = {}, time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self.last = round(now - self.last, 2), now


def prepared(model, split: Split, binarize: Literal["none", "dynamic"] = "none") -> np.ndarray:
    """x as the likelihood expects it, `(n, *x_shape)` float32; binarised by one fixed draw."""
    batches = Batches(split, 1000, binarize=binarize)
    x = np.concatenate([batches[i][0] for i in range(len(batches))])
    if isinstance(model.likelihood, CategoricalValues) and _is_image(model):
        low, high = model.likelihood.low, model.likelihood.high
        return low + x * (high - low)
    return x


def known_part(
    model, split: Split, binarize: Literal["none", "dynamic"] = "none"
) -> tuple[np.ndarray, np.ndarray]:
    """x, and the part of it that is known to a model that completes; random parts by one draw."""
    fixed = model.condition.fixed
    mask = masks.RANDOM if fixed is None else fixed
    batches = CompletionBatches(split, 1000, mask, binarize=binarize)
    x, y = zip(*(batches[i] for i in range(len(batches))), strict=True)
    return np.concatenate(x), np.concatenate(y)


def drawn(model, y, n: int, seed: int, output: str = "mean", guidance: float = 1.0) -> np.ndarray:
    """n draws, one for each condition if there are any; images as uint8, 0..255.

    Args:
        model: A `ConditionalVAE`.
        y: Conditions `(n, ...)` or None.
        n: How many.
        seed: Of the draws.
        output: "mean" or "sample".
        guidance: As in `ConditionalVAE.generate`.
    """
    image, parts = _is_image(model), []
    for start in range(0, n, 5000):
        stop = min(start + 5000, n)
        count = stop - start if y is None else 1
        some = take(y, slice(start, stop))
        x = model.generate(some, count, seed=seed + start, output=output, guidance=guidance)
        parts.append(_as_uint8(model, x) if image else x)
    return np.concatenate(parts)


def _as_uint8(model, x: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(brightness(model, x), 0, 1) * 255).astype("uint8")


def brightness(model, x: np.ndarray) -> np.ndarray:
    """Undo `prepared`'s scale: images in 0..1, whatever values the likelihood counts in."""
    low = getattr(model.likelihood, "low", 0.0)
    return (x - low) / (getattr(model.likelihood, "high", 1.0) - low)


def _is_continuous(model) -> bool:
    return not (model.likelihood.discrete or isinstance(model.likelihood, Bernoulli))


def _is_image(model) -> bool:
    return len(model.x_shape) == 3


def _elbo_figures(terms: Bound) -> dict[str, Any]:
    elbo = terms.elbo
    return {
        "elbo": float(elbo.mean()),
        "standard_error": float(elbo.std(ddof=1) / math.sqrt(len(elbo))) if len(elbo) > 1 else None,
        "reconstruction": float(terms.reconstruction.mean()),
        "kl": float(terms.kl.sum(axis=1).mean()),
        "kl_per_group": terms.kl_per_group.tolist(),
        "kl_per_dimension": terms.kl.mean(axis=0).tolist(),
    }


def _latent_figures(terms: Bound, classes) -> dict[str, Any]:
    active = int(active_units(terms).sum())
    information, ceiling = mutual_information(terms, classes)
    said, advice = verdict(active, terms.z.shape[1], float(terms.kl.sum(axis=1).mean()))
    return {
        "latent_dim": terms.z.shape[1],
        "active_units": active,
        "mutual_information": information,
        "mutual_information_ceiling": ceiling,
        "aggregate_gap": float(aggregate_gap(terms).sum()),
        "verdict": said,
        "advice": advice,
    }


def _likelihood_figures(model, data, x, y, samples, binarize, seed, progress) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    likelihood = getattr(model.likelihood, "likelihood", model.likelihood)  # of a masked one
    grey = isinstance(likelihood, Bernoulli) and not np.isin(x, (0.0, 1.0)).all()
    options: dict[str, Any] = {"progress": progress}
    known = classes_of(model.condition)
    if known and y is not None:
        given = importance.class_log_prob(model, x, samples, seed, always=y, **options)
        prior = _class_frequencies(data.train.y, known.num_classes)
        conditional, marginal = given.of(y), given.marginal(prior)
        figures["classification"] = _classification_figures(
            model, data, given.joint(prior), y, prior, samples, binarize, seed, progress
        )
    else:
        conditional, marginal = model.log_prob(x, y, samples, seed, **options), None
    if grey:
        return {"grey_level_cross_entropy": {"importance_weighted": -conditional.mean}} | figures
    figures["conditional"] = negative(conditional)
    if marginal is not None:
        figures["marginal"] = negative(marginal)
        figures["conditional"]["per_class"] = {
            str(label): negative(_rows(conditional, y == k))
            for k, label in enumerate(data.class_names)
            if np.any(y == k)
        }
    whole = _is_image(model) and not model.condition.knows_part
    if whole and binarize == "none" and not isinstance(likelihood, Bernoulli):
        figures["bits_per_dimension"] = _bits(model, data, x, y, conditional, samples, seed)
    return figures


def _rows(estimate: LogProb, rows) -> LogProb:
    log_p, error, effective = (part[rows] for part in estimate[:3])
    return LogProb(log_p, error, effective, estimate.num_samples, estimate.seed)


def _bits(model, data, x, y, conditional, samples, seed) -> dict[str, Any]:
    """Bits per dimension of p(x | y); a density needs dequantised data to mean anything."""
    n = len(x)
    if model.likelihood.discrete:
        estimate, levels = conditional, None
    else:  # uniform dequantisation (Theis et al. 2016, eq. 2), on as much as is needed
        n, levels = min(n, 1000), 256
        u = np.random.default_rng([seed, 2]).random(x[:n].shape, "float32")
        noisy = (x[:n] * 255.0 + u) / 256.0
        estimate = model.log_prob(noisy, take(y, slice(n)), samples, seed)
    per_nat = 1.0 / (math.prod(model.x_shape) * math.log(2.0))
    return {
        "bits": bits_per_dimension(-estimate.mean, model.x_shape, levels),
        "standard_error": estimate.mean_standard_error * per_nat,
        "examples": n,
    }


def _class_frequencies(y: np.ndarray, classes: int) -> np.ndarray:
    """p(y) in the training data, with one example more of each class."""
    count = np.bincount(y, minlength=classes) + 1.0
    return count / count.sum()


def _classification_figures(
    model, data, joint, y, prior, samples, binarize, seed, progress
) -> dict[str, Any]:
    plain = reliability(importance.class_posterior(joint), y)
    if data.test is None or data.validation is data.test:
        return plain | {"temperature": 1.0}
    held = data.validation.take(slice(0, 1000))
    x = prepared(model, held, binarize)
    given = importance.class_log_prob(model, x, min(samples, 100), seed, progress=progress)
    temperature = importance.fit_temperature(given.joint(prior), held.y)
    calibrated = reliability(importance.class_posterior(joint, temperature), y)
    return calibrated | {"temperature": temperature, "uncalibrated": plain}


def _sample_figures(model, data, test, y, seed, progress, clock) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    train = data.train
    output = "mean" if _is_image(model) else "sample"
    count = min(len(train), 60_000)
    rows = np.random.default_rng(seed).permutation(len(train))[:count]
    wanted = None if y is None else take(train.y, rows)
    fake = drawn(model, wanted, count, seed, output)
    about = {"output": output, "count": count}
    clock.lap("sampling")
    labels = _labels(model, data, test)
    if labels:
        judged = _judged(model, train, test, fake, rows, labels, wanted, seed, progress, clock)
        figures["samples"] = about | judged
    elif len(test) > NEIGHBOURS:
        figures["components"] = about | _by_components(train, test, fake, rows, seed)
        clock.lap("components")
    few = slice(0, 1000)
    floats = Split(fake).floats(few)
    figures["memorising"] = memorising(floats, train, test.floats(few))
    clock.lap("memorising")
    return figures


class _Labels(NamedTuple):
    """Classes of training and test examples, -1 where unknown, `(n,)` each.

    Args:
        name: Of the condition that they are, "" if there is but one.
        names: Of the classes.
        train: Of the training examples.
        test: Of the test examples.
        asked: Whether the model was conditioned on them.
    """

    name: str
    names: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray
    asked: bool


def _labels(model, data, test) -> _Labels | None:
    """The classes that samples are judged by: the data's, or the first named ones."""
    if data.class_names:
        asked = classes_of(model.condition) is not None
        return _Labels("", data.class_names, data.train.y, test.y, asked)
    parts = model.condition.parts if isinstance(model.condition, Joint) else {}
    for name, part in parts.items():
        classes = classes_of(part)
        if classes:
            both = [part.prepare(split.y[name]) for split in (data.train, test)]
            if all(labels.ndim == 1 and (labels >= 0).any() for labels in both):
                return _Labels(name, classes.names, both[0], both[1], asked=True)
    return None


def _judged(
    model, train, test, fake, rows, labels: _Labels, wanted, seed, progress, clock
) -> dict[str, Any]:
    """What a classifier of real data says of draws for the conditions of `train` at `rows`."""
    some = slice(0, 10_000)
    known, tested = np.flatnonzero(labels.train >= 0), np.flatnonzero(labels.test >= 0)
    judge = Judge(model.x_shape, len(labels.names), seed=seed)
    judge.fit(train.x[known], labels.train[known], progress)
    real = judge.features(test.x[some])
    figures: dict[str, Any] = {"label": labels.name} if labels.name else {}
    figures["judge_accuracy"] = judge.accuracy(test.x[tested], labels.test[tested])
    figures |= _likeness(
        real, judge.features(fake[some]), judge.features(train.x[rows[: len(real)]])
    )
    clock.lap("judge")
    if labels.asked and wanted is not None:
        asked = labels.train[rows]
        said = asked[some] >= 0
        figures["on_label_accuracy"] = judge.accuracy(fake[some][said], asked[some][said])
        student = Judge(model.x_shape, len(labels.names), seed=seed)
        student.fit(fake[asked >= 0], asked[asked >= 0], progress)
        figures["tstr"] = student.accuracy(test.x[tested], labels.test[tested])
        clock.lap("tstr")
    return figures


def _likeness(real: np.ndarray, seen: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """Figures of features `(n, d)`: of test data, of samples, of training data."""
    return {
        "frechet_distance": frechet_distance(seen, real),
        "frechet_distance_real": frechet_distance(train, real),
        **diversity(real, seen[: len(real)], NEIGHBOURS),
    }


def _by_components(train: Split, test: Split, fake, rows, seed) -> dict[str, float]:
    """The same without a judge: in the principal components of x, values of vectors to scale."""
    from sklearn.decomposition import PCA

    some = slice(0, 10_000)
    seen = Split(fake).floats(some)
    real = test.floats(some)
    own = train.floats(rows[: max(len(real), 4000)])
    flat = [part.reshape(len(part), -1).astype("float64") for part in (own, seen, real)]
    if seen.ndim == 2:
        spread = flat[0].std(axis=0)
        flat = [part / np.where(spread > 0, spread, 1.0) for part in flat]
    size = min(COMPONENTS, *flat[0].shape)
    axes = PCA(size, svd_solver="randomized", random_state=seed).fit(flat[0][:4000])
    own, seen, real = (axes.transform(part) for part in flat)
    return _likeness(real, seen, own[: len(real)])


def _calibration_figures(model, x, y, seed, limit: int = 1000) -> dict[str, Any]:
    ranks = calibration(model, x[:limit], take(y, slice(limit)), seed=seed)
    inside = ranks.coverage((0.5, 0.9)).mean(axis=1)
    p = ranks.chi_square()
    return {
        "draws": ranks.draws,
        "examples": len(ranks.ranks),
        "least_p_value": min(1.0, float(p.min() * p.size)),  # Bonferroni
        "coverage_50": float(inside[0]),
        "coverage_90": float(inside[1]),
    }


def _left_out(model, y, metrics) -> list[str]:
    """Which figures of a conditional model need classes that it does not have."""
    if y is None or "classification" in metrics:
        return []
    said = [
        f"−log p(x) and p(y | x) sum over classes; the condition is {model.condition.summary()}."
    ]
    if "samples" not in metrics:
        said.append(
            "On-label accuracy and TSTR need classes; samples are compared with real data "
            + ("in principal components of x." if "components" in metrics else "by copies alone.")
        )
    return said


# --- during training ------------------------------------------------------------------------------


class BoundCallback(keras.callbacks.Callback):
    """A bound of log p(x | y) on held-out data every few epochs, in the logs and the history.

    Args:
        x: `(n, *x_shape)`.
        y: Conditions or None.
        num_samples: 1 gives the ELBO, logged as `val_elbo`; more the importance-weighted bound,
            logged as `val_log_prob`. In nats, higher is better.
        every: Epochs between; the others are logged as NaN.
        seed: Of the draws: the same at every epoch.
    """

    def __init__(self, x, y=None, *, num_samples: int = 50, every: int = 1, seed: int = 0):
        super().__init__()
        self.x, self.y = x, y
        self.num_samples, self.every, self.seed = num_samples, every, seed
        self.name = "val_elbo" if num_samples == 1 else "val_log_prob"

    def on_epoch_end(self, epoch, logs=None):
        value = math.nan
        if (epoch + 1) % self.every == 0:
            getattr(self.model, "jax_state_sync", lambda: None)()
            if self.num_samples == 1:
                value = float(bound(self.model, self.x, self.y, seed=self.seed).elbo.mean())
            else:
                value = self.model.log_prob(self.x, self.y, self.num_samples, self.seed).mean
        if logs is not None:
            logs[self.name] = value
