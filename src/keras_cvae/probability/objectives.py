"""From the terms of the model to what is maximised.

    elbo(x | y) = E_q[ log p(x | z, y) ] - beta KL( q(z | x, y) || p(z | y) )

An objective is nats per example, higher is better; the loss is its negative mean over the batch.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_cvae import errors
from keras_cvae.probability.normal import DiagonalNormal, split_normal
from keras_cvae.probability.schedules import Schedule
from keras_cvae.registry import Registry
from keras_cvae.tensors import Tensor, over_devices

OBJECTIVES = Registry("objective")


class Terms(NamedTuple):
    """What an objective sees of the model, in nats.

    Args:
        log_likelihood: log p(x | z, y) of each drawn z, `(samples, batch)`.
        kl: KL( q(z_g | x, y) || p(z_g | y, z_<g) ) of each latent group, `(batch, groups)`.
        log_ratio: log p(z | y) - log q(z | x, y) of each drawn z, `(samples, batch)`.
        from_prior: log p(x | z, y) of z ~ p(z | y), `(prior_samples, batch)`, where the objective
            asks for them; else empty, for Keras takes no None as what a model gives.
    """

    log_likelihood: Tensor
    kl: Tensor
    log_ratio: Tensor
    from_prior: Tensor = ()

    @property
    def reconstruction(self) -> Tensor:
        """-E_q[ log p(x | z, y) ], `(batch,)`."""
        return -ops.mean(self.log_likelihood, axis=0)

    @property
    def total_kl(self) -> Tensor:
        """KL( q(z | x, y) || p(z | y) ), `(batch,)`."""
        return ops.sum(self.kl, axis=-1)


class Objective:
    """Base of all objectives.

    Attributes:
        num_samples: How many z are drawn from q(z | x, y) per example.
        prior_samples: How many are drawn from p(z | y).
        doubly_reparameterized: Whether q learns by `doubly_reparameterize`.
    """

    num_samples = 1
    prior_samples = 0
    doubly_reparameterized = False

    def __call__(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """Compute the objective in nats, `(batch,)`.

        Args:
            terms: The model's terms.
            step: Number of the training step, or None in evaluation.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        """Rebuild from `get_config`."""
        return cls(**config)


@OBJECTIVES.register("elbo")
class ELBO(Objective):
    """The evidence lower bound (Kingma & Welling 2014; conditional: Sohn, Lee & Yan 2015, eq. 4).

    Args:
        beta: Weight of the KL: a number (Higgins et al. 2017), or a `Schedule`.
        free_bits: Nats per latent group below which the batch's mean KL is not pushed further
            (Kingma et al. 2016, eq. 15).
        num_samples: How many z are drawn per example.

    Examples:
        >>> slow = ELBO(beta=Warmup(1000), free_bits=0.1)
        >>> warm = ConditionalVAE((8, 8, 1), 10, 2, objective=slow, backbone=MLP((16,)))
    """

    def __init__(self, beta: float | Schedule = 1.0, free_bits: float = 0.0, num_samples: int = 1):
        self.beta = beta if isinstance(beta, Schedule) else errors.number("beta", beta)
        self.free_bits = errors.number("free_bits", free_bits)
        self.num_samples = errors.whole("num_samples", num_samples)

    def __call__(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        return -terms.reconstruction - self._beta(step) * ops.sum(self._free(terms.kl), axis=-1)

    def _beta(self, step: Tensor | None) -> Tensor:
        if not isinstance(self.beta, Schedule):
            return self.beta
        return self.beta.final if step is None else self.beta(step)

    def _free(self, kl: Tensor) -> Tensor:
        # max(free_bits, batch mean) in value and gradient, still one number per example.
        if not self.free_bits:
            return kl
        above = over_devices(ops.mean(kl, axis=0, keepdims=True)) > self.free_bits
        return ops.where(above, kl, self.free_bits)

    def get_config(self) -> dict[str, Any]:
        beta = keras.saving.serialize_keras_object(self.beta)
        return {"beta": beta, "free_bits": self.free_bits, "num_samples": self.num_samples}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        beta = keras.saving.deserialize_keras_object(config["beta"])
        return cls(**config | {"beta": beta})


@OBJECTIVES.register("iwae")
class IWAE(Objective):
    """The importance-weighted bound: log of the mean of p(x, z | y) / q(z | x, y) (Burda 2016).

    Args:
        num_samples: How many z are drawn per example, the paper's k.

    Examples:
        >>> tight = ConditionalVAE((6,), 3, 2, objective=IWAE(num_samples=10), backbone=MLP((8,)))
        >>> tight.objective.num_samples
        10
    """

    def __init__(self, num_samples: int = 5):
        self.num_samples = errors.whole("num_samples", num_samples)

    def __call__(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        log_weights = terms.log_likelihood + terms.log_ratio  # (samples, batch)
        return ops.logsumexp(log_weights, axis=0) - math.log(self.num_samples)

    def get_config(self) -> dict[str, Any]:
        return {"num_samples": self.num_samples}


@OBJECTIVES.register("dreg")
class DReG(IWAE):
    """The importance-weighted bound, whose q learns by another gradient (Tucker et al. 2019).

        grad_q = sum_k w_k^2  d log( p(x, z_k | y) / q(z_k | x, y) ) / d z_k  d z_k / d q    (eq. 8)

    with w_k the draws' weights over their sum. In mean it is the gradient of `IWAE`, with less
    noise: it vanishes where q is exact. Prior and decoder learn as from `IWAE`. Not for a top-down
    network, whose weights belong to q and p alike.

    Args:
        num_samples: How many z are drawn per example, the paper's K.

    Examples:
        >>> tight = ConditionalVAE((6,), 3, 2, objective=DReG(num_samples=10), backbone=MLP((8,)))
        >>> tight.objective.num_samples
        10
    """

    doubly_reparameterized = True


def doubly_reparameterize(q: DiagonalNormal, num_samples: int) -> tuple[DiagonalNormal, Tensor]:
    """Repeat q(z | x, y) for every draw, its gradients weighed once more by the draw's weight.

    Args:
        q: With parameters `(batch, n)`.
        num_samples: How many z are drawn from it.

    Returns:
        The same q, `(num_samples, batch, n)`, and zeros `(num_samples, batch)` to be added to the
        draws' log-weights: the gradients that reach these zeros are the weights.
    """

    @ops.custom_gradient
    def weigh(packed: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        def grad(*inputs: Tensor, upstream: Tensor | None = None) -> Tensor:
            upstream = inputs[0] if upstream is None else upstream
            weight = upstream[..., -1:]
            total = ops.sum(weight, axis=0, keepdims=True)
            return upstream * weight / ops.where(total == 0, ops.ones_like(total), total)

        return packed, grad

    packed = ops.concatenate([q.mean, q.log_var, ops.zeros_like(q.mean[..., :1])], axis=-1)
    packed = weigh(ops.broadcast_to(packed, (num_samples, *ops.shape(packed))))
    return split_normal(packed[..., :-1]), packed[..., -1]


@OBJECTIVES.register("hybrid")
class Hybrid(Objective):
    """Draws from q and from the prior: training sees what sampling does (Sohn 2015, eq. 8).

        alpha L + (1 - alpha) L_GSNN,    L_GSNN = E_p(z|y)[ log p(x | z, y) ]    (eq. 7)

    The Gaussian stochastic network (GSNN) alone learns no q, and puts less into z: draws from its
    prior are better, and less varied.

    Args:
        objective: L, another objective or its name.
        alpha: Its weight, from 0 to 1.
        prior_samples: How many z are drawn from the prior per example.

    Examples:
        >>> hybrid = Hybrid("elbo", alpha=0.9)
        >>> mixed = ConditionalVAE((6,), 3, 2, objective=hybrid, backbone=MLP((8,)))
        >>> mixed.objective.alpha
        0.9
    """

    def __init__(self, objective: Any = "elbo", alpha: float = 0.5, prior_samples: int = 1):
        self.objective: Objective = OBJECTIVES.get(objective)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha: received {alpha}, expected a number from 0 to 1.")
        self.alpha = alpha
        self.num_samples = self.objective.num_samples
        self.doubly_reparameterized = self.objective.doubly_reparameterized
        self.prior_samples = errors.whole("prior_samples", prior_samples)

    def __call__(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        gsnn = ops.mean(terms.from_prior, axis=0)
        return self.alpha * self.objective(terms, step) + (1.0 - self.alpha) * gsnn

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.objective)
        return {"objective": inner, "alpha": self.alpha, "prior_samples": self.prior_samples}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        inner = keras.saving.deserialize_keras_object(config["objective"])
        return cls(**config | {"objective": inner})


@OBJECTIVES.register("gsnn")
class GSNN(Hybrid):
    """The hybrid objective at alpha = 0: the Gaussian stochastic network (Sohn 2015, eq. 7).

    Args:
        prior_samples: How many z are drawn from the prior per example.

    Examples:
        >>> GSNN(prior_samples=5).alpha
        0.0
    """

    def __init__(self, prior_samples: int = 1):
        super().__init__("elbo", 0.0, prior_samples)

    def get_config(self) -> dict[str, Any]:
        return {"prior_samples": self.prior_samples}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        return cls(**config)
