"""Densities on the line, or between bounds."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.probability.bijections import Bijection
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood, mean_over
from keras_cvae.probability.normal import LOG_2PI


@LIKELIHOODS.register("gaussian")
class Gaussian(Likelihood):
    """Gaussian with one of four variances.

    Args:
        variance: "fixed": `sigma` squared. "learned": one number for all values, trained.
            "predicted": the decoder gives a log-variance for each value. "optimal": the variance
            that maximises the likelihood of the batch, in closed form (sigma-VAE, Rybkin,
            Daniilidis & Levine 2021, eq. 4); outside training its running average, so that p(x|z)
            is a density. None: "fixed" where `sigma` is given, else "optimal".
        sigma: Standard deviation, fixed or initial; None: 1.
        momentum: Of the running average of the optimal variance.
    """

    VARIANCES = ("fixed", "learned", "predicted", "optimal")
    least_variance = 1e-8  # where x never changes the likelihood would grow without bound

    def __init__(self, variance=None, sigma=None, momentum=0.99, **kwargs):
        variance = variance or ("optimal" if sigma is None else "fixed")
        sigma = 1.0 if sigma is None else sigma
        if variance not in self.VARIANCES:
            raise ValueError(
                f"Gaussian variance: received {variance!r}, expected one of {self.VARIANCES}."
            )
        if not sigma > 0:
            raise ValueError(f"Gaussian sigma: received {sigma}, expected a positive number.")
        super().__init__(**kwargs)
        self.variance, self.sigma, self.momentum = variance, sigma, momentum
        if variance == "predicted":
            self.units = 2
        if variance in ("learned", "optimal"):
            self.log_var = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(2.0 * np.log(sigma)),
                trainable=variance == "learned",
                dtype="float32",
                autocast=False,
                name="log_var",
            )
        if variance == "optimal":
            self.updates = self.add_weight(
                shape=(), initializer="zeros", trainable=False, dtype="int32", name="updates"
            )

    def get_config(self):
        own = {"variance": self.variance, "sigma": self.sigma, "momentum": self.momentum}
        return super().get_config() | own

    def _mean_and_log_var(self, parameters) -> tuple[Any, Any]:
        if self.variance == "predicted":
            mean, log_var = ops.split(parameters, 2, axis=-1)
            return mean, ops.maximum(log_var, float(np.log(self.least_variance)))
        if self.variance == "fixed":
            return parameters, 2.0 * float(np.log(self.sigma))
        return parameters, ops.convert_to_tensor(self.log_var)

    def log_density(self, x, parameters, training=False, scored=None):
        mean, log_var = self._mean_and_log_var(parameters)
        squared = ops.square(x - mean)
        if self.variance == "optimal" and training:
            log_var = ops.log(ops.maximum(mean_over(squared, scored), self.least_variance))
            self._average(ops.stop_gradient(log_var))
        return -0.5 * (squared * ops.exp(-log_var) + log_var + LOG_2PI)

    def _average(self, log_var) -> None:
        # A plain mean at first, so that the initial value is forgotten at once.
        self.updates.assign_add(1)
        share = ops.maximum(1.0 - self.momentum, 1.0 / ops.cast(self.updates, "float32"))
        self.log_var.assign(self.log_var + share * (log_var - self.log_var))

    def mean(self, parameters):
        return self._mean_and_log_var(parameters)[0]

    def sample(self, parameters, rng):
        mean, log_var = map(ops.convert_to_numpy, self._mean_and_log_var(parameters))
        noise = rng.standard_normal(mean.shape)
        return (mean + np.exp(0.5 * log_var) * noise).astype("float32")


@LIKELIHOODS.register("bounded")
class Bounded(Gaussian):
    """Values between bounds, or of any scale: Gaussian after a bijection (see `Bijection`).

        u = (b(x) - mean) / scale,    log p(x) = log N(u) + log du/dx

    with b the logit, the logarithm or the identity. x are vectors `(d,)`, such as the parameters of
    a simulator. `fit` takes mean and scale from the first x it is given, unless `adapt` has; so
    values of 1e-3 and of 1e3 train alike. The recognition network sees u, too.

    Args:
        low: The lower bound of each of the d values; None where there is none.
        high: The upper bound of each, likewise. Either may be None for all.
        variance: Of u, as in `Gaussian`, "predicted" by default.
        sigma: As in `Gaussian`, of u.
        momentum: As in `Gaussian`.

    Raises:
        ValueError: Bounds that are out of order, or for another number of values than x has.
    """

    NODES, _weights = np.polynomial.hermite_e.hermegauss(48)  # of Gauss-Hermite quadrature
    WEIGHTS = _weights / _weights.sum()

    def __init__(self, low, high=None, variance="predicted", sigma=1.0, momentum=0.99, **kwargs):
        super().__init__(variance, sigma, momentum, **kwargs)
        self.view = Bijection(low, high)

    def get_config(self):
        bounds = self.view.get_config()
        return super().get_config() | {name: bounds[name] for name in ("low", "high")}

    def parameter_shape(self, x_shape):
        if tuple(x_shape) != self.view.low.shape:
            raise ValueError(
                f"The bounded likelihood has bounds for {len(self.view.low)} values. Expected x of "
                f"shape (n, {len(self.view.low)}). Received examples of shape {tuple(x_shape)}."
            )
        return super().parameter_shape(x_shape)

    def adapt(self, x) -> None:
        """Take the scale of u from x `(n, d)`: for data sets that stream."""
        self.view.adapt(x)

    def log_density(self, x, parameters, training=False, scored=None):
        density = super().log_density(self.view(x), parameters, training, scored)
        return density + self.view.log_slope(x)

    def mean(self, parameters):
        """E[x | parameters] by quadrature: exact for the identity, to float32 for the others
        unless u spreads over many times the scale."""
        mean, log_var = self._mean_and_log_var(parameters)
        nodes = ops.reshape(ops.cast(self.NODES, "float32"), (-1, *[1] * len(mean.shape)))
        x = self.view.inverse(mean + nodes * ops.exp(0.5 * log_var))  # (nodes, ..., d)
        return ops.tensordot(ops.cast(self.WEIGHTS, "float32"), x, axes=1)

    def sample(self, parameters, rng):
        u = super().sample(parameters, rng)
        return self.view.inside(ops.convert_to_numpy(self.view.inverse(u)))

    def check(self, x):
        self.view.check(x)
