"""The ELBO taken apart: reconstruction, KL, active units, mutual information."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from keras import ops
from scipy.special import logsumexp

from keras_cvae.evaluation.metrics import Metric, Metrics
from keras_cvae.inference.importance import Progress
from keras_cvae.inference.steps import Snapshot, as_numpy, features
from keras_cvae.probability.normal import DiagonalNormal
from keras_cvae.trees import take

ACTIVE = 0.01  # Burda et al. 2016: variance of a posterior mean above which a unit is active


class Bound(NamedTuple):
    """The ELBO of n examples, term by term, and the latent that it was computed with.

    Args:
        reconstruction: -E_q[ log p(x | z, y) ], `(n,)` nats.
        kl: KL( q(z | x, y) || p(z | y) ) of each latent dimension, `(n, latent_dim)` nats.
        z: One draw from q, `(n, latent_dim)`.
        mean: Of q, given the groups of z above, `(n, latent_dim)`.
        log_var: Logarithm of q's variance, `(n, latent_dim)`.
        prior_mean: Of p(z | y), given the groups of z above, `(n, latent_dim)`.
        prior_log_var: Logarithm of the prior's variance, `(n, latent_dim)`.
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
        parts = np.split(self.kl.mean(axis=0), np.cumsum(self.groups, dtype=int)[:-1])
        return np.array([part.sum() for part in parts[: len(self.groups)]])


def bound_terms(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What `bound` collects of a batch: a step, see `inference.steps`."""
    given = features(model, inputs)
    evidence = model.hierarchy.observe(inputs["x"], given)
    latents, parameters = model.hierarchy.infer(evidence, given, inputs["noise"])
    log_likelihood = model.distribution(parameters, inputs.get("condition")).log_prob(inputs["x"])

    def whole(parts: list[Any]) -> Any:  # (samples, batch, latent_dim), which may be 0
        shaped = [p + ops.zeros_like(g.z) for p, g in zip(parts, latents, strict=True)]
        return ops.concatenate([inputs["noise"][..., :0], *shaped], axis=-1)

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


def _each(normal: DiagonalNormal) -> DiagonalNormal:
    """Each dimension as a distribution of its own."""
    return DiagonalNormal(normal.mean[..., None], normal.log_var[..., None])


def bound(
    model: Any,
    x: Any,
    condition: Any = None,
    *,
    num_samples: int = 8,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Bound:
    """The ELBO of each example with fixed noise.

    Args:
        model: A `ConditionalVAE`.
        x: `(n, *x_shape)`, an array or what is read when rows of it are asked for.
        condition: One for each x, or None: the model has none, or all are missing.
        num_samples: Draws of z per example; the KL of a single group needs none.
        seed: Of the draws.
        batch_size: Examples at once.
        progress: Wraps the loop over batches as `progress(iterable, total=, description=)`.
    """
    spec = model.condition.spec
    missing = condition is None and spec.forgettable
    y = spec.unknown(len(x)) if missing else spec.prepare(condition)
    weights, size = Snapshot(model), min(batch_size, len(x))
    noise = np.random.default_rng(seed)
    collected: dict[str, list] = {}
    starts: Any = range(0, len(x), size)
    if progress is not None:
        starts = progress(starts, total=len(starts), description="the ELBO")
    for start in starts:
        rows = np.resize(np.arange(start, min(start + size, len(x))), size)
        inputs = {"x": np.asarray(x[rows], "float32")} | (
            {} if y is None else {"condition": take(y, rows)}
        )
        drawn = noise.standard_normal((num_samples, size, model.latent_dim), "float32")
        terms = as_numpy(weights(bound_terms, inputs | {"noise": drawn}))
        for name, values in terms.items():
            collected.setdefault(name, []).append(values[: len(x) - start])
    whole = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Bound(**whole, groups=model.latent_groups)


def active_units(terms: Bound, groups: np.ndarray | None = None) -> np.ndarray:
    """Which dimensions carry information about x, `(latent_dim,)` booleans (Burda et al. 2016).

    The variance over the data of q's mean, taken from the prior's mean: what a learned prior knows
    from y alone does not count; nor does what q only repeats of a class.

    Args:
        terms: From `bound`.
        groups: Classes `(n,)`, within which the variance is taken; None takes all as one.
    """
    away = terms.mean - terms.prior_mean
    if groups is not None:
        each = np.unique(np.asarray(groups), return_inverse=True)[1]
        count = np.bincount(each)
        sums = np.zeros((len(count), away.shape[1]))
        np.add.at(sums, each, away)
        away = away - (sums / count[:, None])[each]
    return np.var(away, axis=0) > ACTIVE


def mutual_information(
    terms: Bound, groups: np.ndarray | None = None, limit: int = 4000
) -> tuple[float, float]:
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
        most = math.log(len(rows))
        information += float(np.sum(np.diag(log_q) - logsumexp(log_q, axis=1) + most))
        ceiling += len(rows) * most
    return information / n, ceiling / n


def aggregate_gap(terms: Bound) -> np.ndarray:
    """How far the aggregate posterior is from the prior in each dimension, `(latent_dim,)` nats.

    KL to N(0, 1) of the Gaussian with the moments of (z - prior mean) / prior deviation, z ~ q. At
    0 the prior draws what the decoder was trained on.
    """
    u = (terms.z - terms.prior_mean) * np.exp(-0.5 * terms.prior_log_var)
    mean, var = u.mean(axis=0), np.maximum(u.var(axis=0), 1e-12)
    return 0.5 * (np.square(mean) + var - 1.0 - np.log(var))


@dataclass(frozen=True, kw_only=True)
class Elbo(Metrics):
    """The ELBO in the mean over the examples, nats.

    Args:
        elbo: Higher is better.
        standard_error: Of the mean, as an estimate for new examples; None of a single one.
        reconstruction: -E_q[ log p(x | z, y) ].
        kl: KL( q(z | x, y) || p(z | y) ).
        kl_per_group: The same of each latent group.
        kl_per_dimension: The same of each latent dimension.
    """

    elbo: Annotated[
        float,
        Metric(
            "−ELBO",
            unit="nats",
            better=-1,
            negated=True,
            error="standard_error",
            note="The bound that training minimises.",
        ),
    ]
    standard_error: float | None = None
    reconstruction: Annotated[float, Metric("reconstruction", unit="nats")]
    kl: Annotated[float, Metric("KL", unit="nats", note="What the latent says about x.")]
    kl_per_group: tuple[float, ...]
    kl_per_dimension: tuple[float, ...]

    @classmethod
    def of(cls, terms: Bound) -> "Elbo":
        """The means of the terms of a bound."""
        elbo, n = terms.elbo, len(terms.elbo)
        return cls(
            elbo=float(elbo.mean()),
            standard_error=float(elbo.std(ddof=1) / math.sqrt(n)) if n > 1 else None,
            reconstruction=float(terms.reconstruction.mean()),
            kl=float(terms.kl.sum(axis=1).mean()),
            kl_per_group=tuple(terms.kl_per_group.tolist()),
            kl_per_dimension=tuple(terms.kl.mean(axis=0).tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class Latent(Metrics):
    """What the latent is used for.

    Args:
        latent_dim: How many dimensions there are.
        active_units: How many of them carry information about x, see `active_units`.
        mutual_information: I(x; z | y), a lower estimate, nats.
        mutual_information_ceiling: What that estimate cannot pass, nats.
        aggregate_gap: KL of the aggregate posterior from the prior, nats, see `aggregate_gap`.
        state: Whether the posterior has collapsed onto the prior.
        verdict: The state in a sentence.
    """

    latent_dim: int
    active_units: Annotated[int, Metric("active dimensions")]
    mutual_information: Annotated[
        float,
        Metric(
            "I(x; z | y), at least",
            unit="nats",
            note="An estimate that cannot pass the logarithm of the number of examples.",
        ),
    ]
    mutual_information_ceiling: float
    aggregate_gap: Annotated[
        float,
        Metric(
            "aggregate posterior to prior",
            unit="nats",
            better=-1,
            note="0 when drawing from the prior is drawing from what the decoder knows.",
        ),
    ]
    state: Literal["healthy", "partly collapsed", "collapsed"]
    verdict: str

    @classmethod
    def of(cls, terms: Bound, classes: np.ndarray | None = None) -> "Latent":
        """The latent of a bound, for examples of these classes `(n,)`; None: all of one."""
        active = int(active_units(terms, classes).sum())
        information, ceiling = mutual_information(terms, classes)
        return cls(
            latent_dim=terms.z.shape[1],
            active_units=active,
            mutual_information=information,
            mutual_information_ceiling=ceiling,
            aggregate_gap=float(aggregate_gap(terms).sum()),
            **verdict(active, terms.z.shape[1], float(terms.kl.sum(axis=1).mean())),
        )


def verdict(active: int, latent_dim: int, kl: float) -> dict[str, Any]:
    """Whether the posterior has collapsed: `state` and `verdict` of `Latent`.

    Args:
        active: How many dimensions carry information about x.
        latent_dim: Out of how many.
        kl: Mean KL of all of them, nats.
    """
    if active == 0 or kl < 0.1:
        said = "Collapsed: the latent is ignored. All samples of a condition look alike."
        return {"state": "collapsed", "verdict": said}
    return {
        "state": "partly collapsed" if active < 0.5 * latent_dim else "healthy",
        "verdict": f"{active} of {latent_dim} dimensions of z carry information.",
    }


@dataclass(frozen=True, kw_only=True)
class Generalization(Metrics):
    """Whether what was learned holds for examples that were not trained on.

    Args:
        train: -ELBO of training examples, nats.
        gap: How many nats held-out examples have more.
        standard_error: Of `gap`; None of a single example.
        examples: How many training examples there are.
    """

    train: Annotated[
        float,
        Metric("−ELBO of training examples", unit="nats", note="Far lower: learned by heart."),
    ]
    gap: float
    standard_error: float | None
    examples: int

    @classmethod
    def of(cls, held_out: Bound, train: Bound, examples: int) -> "Generalization":
        """Compare the bounds of held-out and of training examples."""
        both = [-terms.elbo.astype("float64") for terms in (held_out, train)]
        error = math.sqrt(sum(one.var(ddof=1) / len(one) for one in both if len(one) > 1))
        return cls(
            train=float(both[1].mean()),
            gap=float(both[0].mean() - both[1].mean()),
            standard_error=error if min(map(len, both)) > 1 else None,
            examples=examples,
        )
