"""Densities on the line, or between bounds."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.probability.bijections import Bijection, bounds, check_bounds, listed_bounds
from keras_cvae.probability.distributions import Distribution, Independent, sum_over_values
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.probability.normal import log_normal, standard_quantile
from keras_cvae.tensors import Tensor, over_devices


@LIKELIHOODS.register("gaussian")
class Gaussian(Likelihood):
    """Gaussian values of any scale, with one of four variances.

        u = (x - mean) / scale,    log p(x) = log N(u) - log scale

    `fit` takes mean and scale from the first x that it is given: for each value of vectors `(d,)`,
    for each channel of pictures and signals. The networks see u, and the decoder gives the mean of
    u, so that values of 1e-8 and of 1e7 train alike; log p, the mean and draws are those of x. A
    value that never changes gets a hundredth of its size as its scale (or 0.01).

    Args:
        variance: "fixed": `sigma` squared. "learned": one number for all values, trained.
            "predicted": the decoder gives a log-variance for each value of u. "optimal": the
            variance of u that maximises the likelihood of the batch, in closed form (sigma-VAE,
            Rybkin, Daniilidis & Levine 2021, eq. 4); outside training its running average, so that
            p(x|z) is a density. None: "fixed" where `sigma` is given, else "optimal".
        sigma: Standard deviation in the units of x, fixed or where learning starts. None: as much
            as each value has in the data, which is 1 for u. ("optimal" forgets it at once.)
        momentum: Of the running average of the optimal variance.

    Raises:
        ValueError: Another variance, or a sigma that is not a positive number.

    Examples:
        >>> fixed = ConditionalVAE((6,), 3, 2, likelihood=Gaussian(sigma=0.1), backbone=MLP((8,)))
        >>> fixed.likelihood.variance, Gaussian().variance
        ('fixed', 'optimal')
    """

    VARIANCES = ("fixed", "learned", "predicted", "optimal")
    least_variance = 1e-8  # of u: where x is certain the likelihood would grow without bound

    def __init__(
        self,
        variance: str | None = None,
        sigma: float | None = None,
        momentum: float = 0.99,
        **kwargs: Any,
    ):
        variance = variance or ("optimal" if sigma is None else "fixed")
        if variance not in self.VARIANCES:
            raise ValueError(
                f"Gaussian variance: received {variance!r}, expected one of {self.VARIANCES}."
            )
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"Gaussian sigma: received {sigma}, expected a positive number.")
        super().__init__(**kwargs)
        self.variance, self.sigma, self.momentum = variance, sigma, momentum
        self.view: Bijection | None = None
        if variance == "predicted":
            self.parameters_per_value = 2
        self.start = 0.0 if sigma is None else 2.0 * math.log(sigma)
        if variance in ("learned", "optimal"):
            self.log_var = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(self.start),
                trainable=variance == "learned",
                dtype="float32",
                autocast=False,
                name="log_var",
            )
        if variance == "optimal":
            self.updates = self.add_weight(
                shape=(), initializer="zeros", trainable=False, dtype="int32", name="updates"
            )

    def get_config(self) -> dict[str, Any]:
        own = {"variance": self.variance, "sigma": self.sigma, "momentum": self.momentum}
        return super().get_config() | own

    def build(self, x_shape: tuple[int, ...], view: Bijection | None = None) -> None:
        low, high = self._bounds(x_shape)
        if self.view is None:
            shared = view is not None and view.has_bounds(low, high)
            self.view = view if shared else Bijection(low, high, name="view")
        elif not self.view.has_bounds(low, high):
            raise ValueError(
                f"This likelihood belongs to a model whose x has {len(self.view.low)} values or "
                f"channels. Received examples of shape {tuple(x_shape)}; make a new likelihood."
            )

    def _bounds(self, x_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        return bounds([None] * x_shape[-1], None)

    def adapt(self, x: Any) -> None:
        """Fit mean and scale to x `(n, *x_shape)`: for data sets that stream."""
        self.check(np.asarray(x))
        self.build(np.shape(x)[1:])
        assert self.view is not None
        self.view.settle(np.asarray(x))

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        normal = self._normal(parameters, training)
        return normal if self.view is None else Transformed(normal, self.view)

    def _normal(self, parameters: Tensor, training: bool) -> "IndependentNormal":
        if self.variance == "predicted":
            location, log_var = ops.split(parameters, 2, axis=-1)
            least = float(np.log(self.least_variance))
            return IndependentNormal(location, ops.maximum(log_var, least))
        if self.variance == "fixed":
            return IndependentNormal(parameters, self._of_u(self.start))
        log_var = ops.convert_to_tensor(self.log_var)
        if self.variance == "learned":
            return IndependentNormal(parameters, self._of_u(log_var))
        if training:
            return BestNormal(parameters, log_var, self.least_variance, self._average)
        return IndependentNormal(parameters, log_var)

    def _of_u(self, log_var: Any) -> Any:
        """The log-variance of u where `log_var` is that of x, which it is if sigma was given."""
        if self.sigma is None or self.view is None:
            return log_var
        return log_var - 2.0 * ops.log(self.view.scale)

    def _average(self, log_var: Tensor) -> None:
        # A plain mean at first, so that the initial value is forgotten at once.
        self.updates.assign_add(1)
        share = ops.maximum(1.0 - self.momentum, 1.0 / ops.cast(self.updates, "float32"))
        self.log_var.assign(self.log_var + share * (log_var - self.log_var))


class IndependentNormal(Independent):
    """Normal values.

    Args:
        location: Means, `(..., batch, *x_shape)`.
        log_var: Logarithms of the variances; may broadcast against x_shape.
    """

    def __init__(self, location: Tensor, log_var: Tensor):
        self.location, self.log_var = location, log_var

    def log_density(self, x: Tensor) -> Tensor:
        return log_normal(x, self.location, self.log_var)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        return sum_over_values(log_normal, x, self.location, self.log_var, scored=scored)

    def mean(self) -> Tensor:
        return self.location

    def sample(self, uniforms: Tensor) -> Tensor:
        return self.location + ops.exp(0.5 * self.log_var) * standard_quantile(uniforms)

    def expectation(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute E[function(x)] of each value by Gauss-Hermite quadrature with 48 nodes."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(48)
        nodes = ops.reshape(ops.cast(nodes, "float32"), (-1, *[1] * len(self.location.shape)))
        values = function(self.location + nodes * ops.exp(0.5 * self.log_var))  # (nodes, ...)
        return ops.tensordot(ops.cast(weights / weights.sum(), "float32"), values, axes=1)


class BestNormal(IndependentNormal):
    """Normal values whose variance maximises the likelihood of the x that are scored.

    Args:
        location: Means, `(..., batch, *x_shape)`.
        log_var: The variance where no x is at hand, for the mean and for draws.
        least: The least variance.
        record: Is told the logarithm of the best variance, without gradients.
    """

    def __init__(
        self, location: Tensor, log_var: Tensor, least: float, record: Callable[[Tensor], None]
    ):
        super().__init__(location, log_var)
        self.least, self.record = least, record

    def log_density(self, x: Tensor) -> Tensor:
        return self._at(x).log_density(x)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        return self._at(x, scored).log_prob(x, scored)

    def _at(self, x: Tensor, scored: Tensor | None = None) -> IndependentNormal:
        squared = ops.square(x - self.location)
        if scored is None:
            best = over_devices(ops.mean(squared))
        else:
            weights = ops.broadcast_to(ops.cast(scored, "float32"), ops.shape(squared))
            count = ops.maximum(over_devices(ops.sum(weights)), 1.0)
            best = over_devices(ops.sum(squared * weights)) / count
        log_var = ops.log(ops.maximum(best, self.least))
        self.record(ops.stop_gradient(log_var))
        return IndependentNormal(self.location, log_var)


class Transformed(Independent):
    """Values x of which u = view(x) are normal: log p(x) = log p(u) + log du/dx.

    Args:
        normal: The distribution of u.
        view: The bijection, value by value.
    """

    def __init__(self, normal: IndependentNormal, view: Bijection):
        self.normal, self.view = normal, view

    def log_density(self, x: Tensor) -> Tensor:
        return self.normal.log_density(self.view(x)) + self.view.log_slope(x)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        slope = sum_over_values(lambda slope: slope, self.view.log_slope(x), scored=scored)
        return self.normal.log_prob(self.view(x), scored) + slope

    def mean(self) -> Tensor:
        """Compute E[x], exactly where the view is linear; elsewhere by quadrature, to float32
        unless u spreads over many times the scale."""
        if self.view.linear:
            return self.view.inverse(self.normal.mean())
        return self.normal.expectation(self.view.inverse)

    def sample(self, uniforms: Tensor) -> Tensor:
        return self.view.inverse(self.normal.sample(uniforms))


@LIKELIHOODS.register("bounded")
class Bounded(Gaussian):
    """Values between bounds: Gaussian after a bijection from x to the line (see `Bijection`).

        u = (b(x) - mean) / scale,    log p(x) = log N(u) + log du/dx

    with b the logit, the logarithm or the identity. x are vectors `(d,)`, such as the parameters of
    a simulator. The networks see u, as under `Gaussian`.

    Args:
        low: The lower bound of each of the d values; None where there is none.
        high: The upper bound of each of them. Either may be None for all.
        variance: Of u, one of those of `Gaussian`; "predicted" by default.
        sigma: Standard deviation of u, fixed or where learning starts.
        momentum: Of the running average of the optimal variance.

    Raises:
        ValueError: Bounds that are out of order, or for another number of values than x has.

    Examples:
        >>> bounded = Bounded(low=0.0, high=[1.0, 5.0])
        >>> shares = ConditionalVAE((2,), Signal((16, 1)), 2, likelihood=bounded)
        >>> drawn = shares.generate(np.zeros(16), n=50, output="sample", seed=0)
        >>> bool((drawn > 0).all() and (drawn < [1, 5]).all())
        True
    """

    def __init__(
        self,
        low: Any,
        high: Any = None,
        variance: str | None = "predicted",
        sigma: float | None = 1.0,
        momentum: float = 0.99,
        **kwargs: Any,
    ):
        super().__init__(variance, sigma, momentum, **kwargs)
        self.low, self.high = bounds(low, high)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | listed_bounds(self.low, self.high)

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(x_shape) != self.low.shape:
            raise ValueError(
                f"The bounded likelihood has bounds for {len(self.low)} values. Expected x of "
                f"shape (n, {len(self.low)}). Received examples of shape {tuple(x_shape)}."
            )
        return super().parameter_shape(x_shape)

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        if self.view is None:
            raise ValueError("Bounded has no scale yet. Expected build((d,)) or adapt(x) first.")
        return super().distribution(parameters, training)

    def _bounds(self, x_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        return self.low, self.high

    def check(self, x: np.ndarray) -> None:
        check_bounds(x, self.low, self.high)

    def check_known(self, x: np.ndarray) -> None:
        check_bounds(x, self.low, self.high)

    def _of_u(self, log_var: Any) -> Any:
        return log_var
