"""The ELBO taken apart: reconstruction, KL, active units, mutual information."""

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_cvae.inference.steps import Step, compiled
from keras_cvae.probability.normal import Gaussian
from keras_cvae.trees import take

ACTIVE = 0.01  # Burda et al. 2016: variance of a posterior mean above which a unit is active


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
