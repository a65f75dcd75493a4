"""Counts: whole numbers from 0, such as molecules of a gene in a cell, or sales of a day.

The decoder's output 0 means the mean of the training data, value by value, so that counts of any
size train alike:

    log mean = log(mean of the data) + output (+ log(exposure))
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.probability.bijections import Standardised
from keras_cvae.probability.distributions import (
    Independent,
    sum_over_values,
)
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.probability.special import (
    GAMMA_UNIFORMS,
    excess_over_log,
    gamma_draw,
    poisson_quantile,
    stirling_error,
)
from keras_cvae.tensors import Tensor

LOG_2PI = math.log(2.0 * math.pi)
STEEP = 10.0  # outputs above it raise the mean linearly, no longer exponentially
FEW = 3.0  # lowers the logits of added zeros: at the start there are few
LARGEST = 2.0**24  # up to which float32 tells whole numbers apart


@keras.saving.register_keras_serializable(package="keras_cvae")
class LogCounts(Standardised):
    """log(1 + x), standardised: what the networks see of counts.

    Args:
        size: Length of x's last axis; each of its places is standardised by itself.

    Attributes:
        log_mean: Logarithm of the mean count of each place.
    """

    def __init__(self, size: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.size = int(size)
        self.add_scaling(self.size)
        self.log_mean = self.add_weight(
            (self.size,), "zeros", trainable=False, dtype="float32", autocast=False, name="log_mean"
        )
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size}

    def call(self, x: Tensor) -> Tensor:
        return self.standardise(ops.log1p(ops.cast(x, "float32")))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def settle(self, values: np.ndarray, again: bool = True) -> None:
        if bool(ops.convert_to_numpy(self.adapted.value)) and not again:
            return
        counts = np.asarray(values, "float64").reshape(-1, self.size)
        super().settle(np.log1p(counts))
        # Half a count more than there are: a place without any has a logarithm too.
        self.log_mean.assign(np.log((counts.sum(axis=0) + 0.5) / len(counts)))

    def far(self, values: np.ndarray) -> str:
        found = super().far(np.log1p(values))
        return found and f"a count x whose log(1 + x) is {found}"


class Counts(Likelihood):
    """Base of likelihoods of counts.

    The networks see log(1 + x), standardised; `fit` takes the scale and the mean counts from the
    first x it is given, unless `adapt` has.
    """

    scalable = True

    view: LogCounts | None

    def build(self, x_shape: tuple[int, ...], view: Any = None) -> None:
        size, self.axes = x_shape[-1], len(x_shape)
        if self.view is None:
            shared = isinstance(view, LogCounts) and view.size == size
            self.view = view if shared else LogCounts(size, name="view")
        elif self.view.size != size:
            raise ValueError(
                f"This likelihood belongs to a model whose x has {self.view.size} values on its "
                f"last axis. Received examples of shape {tuple(x_shape)}; make a new likelihood."
            )

    def adapt(self, x: Any) -> None:
        """Take scale and mean counts from x `(n, *x_shape)`: for data sets that stream."""
        x = np.asarray(x)
        self.check(x)
        self.build(x.shape[1:])
        assert self.view is not None
        self.view.settle(x)

    def distribution(self, parameters: Tensor, training: bool = False) -> "IndependentCounts":
        raise NotImplementedError

    def log_mean(self, output: Tensor) -> Tensor:
        """Turn the decoder's output `(..., batch, *x_shape)` into log-means."""
        above = ops.maximum(output - STEEP, 0.0)
        start = 0.0 if self.view is None else self.view.log_mean
        return start + ops.clip(output, -60.0, STEEP) + ops.log1p(above)

    def check(self, x: np.ndarray) -> None:
        low, high = float(np.min(x)), float(np.max(x))
        whole = x.dtype.kind in "iub" or np.array_equal(x, np.floor(x))
        if low < 0 or high > LARGEST or not whole:
            raise ValueError(
                f"The {type(self).__name__} likelihood expects counts: whole numbers from 0 to "
                f"{LARGEST:.0f}. Received values from {low:g} to {high:g}"
                f"{'' if whole else ', some of them not whole'}. Give the counts themselves, "
                "neither normalised nor as logarithms."
            )


class IndependentCounts(Independent):
    """Independent counts.

    Attributes:
        axes: How many axes one example has.
    """

    axes: int

    def scaled(self, log_factor: Tensor) -> "IndependentCounts":
        raise NotImplementedError

    def along(self, factor: Tensor) -> Tensor:
        """Reshape numbers `(batch,)`, so that they go with `(..., batch, *x_shape)`."""
        return ops.reshape(factor, (-1, *[1] * self.axes))


@LIKELIHOODS.register("poisson")
class Poisson(Counts):
    """Poisson counts: variance and mean are equal.

    Examples:
        >>> Poisson().parameter_shape((2000,))  # of 2,000 genes: the logarithm of the mean of each
        (2000,)
    """

    def distribution(self, parameters: Tensor, training: bool = False) -> "IndependentPoisson":
        return IndependentPoisson(self.log_mean(parameters), self.axes)

    def uniforms_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*x_shape, 1)


class IndependentPoisson(IndependentCounts):
    """Poisson counts.

    Args:
        log_rate: Logarithms of the rates, `(..., batch, *x_shape)`.
        axes: How many axes one example has.
    """

    def __init__(self, log_rate: Tensor, axes: int = 1):
        self.log_rate, self.axes = log_rate, axes

    def log_density(self, x: Tensor) -> Tensor:
        return log_poisson(x, self.log_rate)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        return sum_over_values(log_poisson, x, self.log_rate, scored=scored)

    def mean(self) -> Tensor:
        return ops.exp(self.log_rate)

    def sample(self, uniforms: Tensor) -> Tensor:
        """Draw counts; their probabilities are exact to 5e-5."""
        return poisson_quantile(uniforms[..., 0], ops.exp(self.log_rate))

    def scaled(self, log_factor: Tensor) -> "IndependentPoisson":
        return IndependentPoisson(self.log_rate + self.along(log_factor), self.axes)


def log_poisson(x: Tensor, log_rate: Tensor) -> Tensor:
    """Compute log Poisson(x; rate) of each value in nats (Loader 2000, eq. 4)."""
    rate, some = ops.exp(log_rate), ops.maximum(x, 1.0)
    distance = some * excess_over_log((rate - some) / some, rate / some)
    log_p = -distance - stirling_error(some) - 0.5 * (LOG_2PI + ops.log(some))
    return ops.where(x > 0.0, log_p, -rate)


@LIKELIHOODS.register("negative_binomial")
class NegativeBinomial(Counts):
    """Counts that vary more than Poisson ones: Poisson, with a rate that is gamma distributed.

        variance = mean + mean^2 / r

    Args:
        dispersion: "learned": one r for each value of x's last axis, such as a gene (scvi-tools'
            "gene"). "predicted": the decoder gives r for each value (scvi-tools' "gene-cell").

    Examples:
        >>> NegativeBinomial("predicted").parameter_shape((2000,))  # of 2,000 genes: two of each
        (4000,)
    """

    DISPERSIONS = ("learned", "predicted")

    def __init__(self, dispersion: str = "learned", **kwargs: Any):
        super().__init__(**kwargs)
        if dispersion not in self.DISPERSIONS:
            raise ValueError(
                f"NegativeBinomial dispersion: received {dispersion!r}, expected one of "
                f"{self.DISPERSIONS}."
            )
        self.dispersion = dispersion
        self.parameters_per_value = 2 if dispersion == "predicted" else 1

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"dispersion": self.dispersion}

    def build(self, x_shape: tuple[int, ...], view: Any = None) -> None:
        first = self.view is None
        super().build(x_shape, view)
        if first and self.dispersion == "learned":
            self.log_r = self.add_weight(
                (x_shape[-1],), "zeros", dtype="float32", autocast=False, name="log_r"
            )

    def distribution(
        self, parameters: Tensor, training: bool = False
    ) -> "IndependentNegativeBinomial":
        if self.dispersion == "learned":
            return IndependentNegativeBinomial(self.log_mean(parameters), self.log_r, self.axes)
        output, log_r = ops.split(parameters, 2, axis=-1)
        return IndependentNegativeBinomial(self.log_mean(output), log_r, self.axes)

    def uniforms_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*x_shape, GAMMA_UNIFORMS + 1)


class IndependentNegativeBinomial(IndependentCounts):
    """Negative binomial counts: of variance mean + mean^2 / r.

    Args:
        log_mean: Logarithms of the means, `(..., batch, *x_shape)`.
        log_r: Logarithms of r; may broadcast against x_shape.
        axes: How many axes one example has.
    """

    def __init__(self, log_mean: Tensor, log_r: Tensor, axes: int = 1):
        self.log_mean, self.log_r, self.axes = log_mean, ops.clip(log_r, -12.0, 16.0), axes

    def log_density(self, x: Tensor) -> Tensor:
        return log_negative_binomial(x, self.log_mean, self.log_r)

    def log_prob(self, x: Tensor, scored: Tensor | None = None) -> Tensor:
        return sum_over_values(log_negative_binomial, x, self.log_mean, self.log_r, scored=scored)

    def mean(self) -> Tensor:
        return ops.exp(self.log_mean)

    def sample(self, uniforms: Tensor) -> Tensor:
        """Draw counts; their probabilities are exact to 2e-4."""
        r = ops.broadcast_to(ops.exp(self.log_r), ops.shape(self.log_mean))
        rate = gamma_draw(uniforms[..., :GAMMA_UNIFORMS], r) * ops.exp(self.log_mean) / r
        return poisson_quantile(uniforms[..., GAMMA_UNIFORMS], rate)

    def scaled(self, log_factor: Tensor) -> "IndependentNegativeBinomial":
        log_mean = self.log_mean + self.along(log_factor)
        return IndependentNegativeBinomial(log_mean, self.log_r, self.axes)


def log_negative_binomial(x: Tensor, log_mean: Tensor, log_r: Tensor) -> Tensor:
    """Compute the log-probability of each value in nats.

    log Gamma(x + r) - log Gamma(r) - log x! + r log(r / (r + mean)) + x log(mean / (r + mean)),
    arranged as the deviations of r and x from what is expected of them (Loader 2000, sec. 6).
    """
    mean, r, some = ops.exp(log_mean), ops.exp(log_r), ops.maximum(x, 1.0)
    total, expected = r + some, r + mean
    share = total / expected
    of_r = r * excess_over_log((some - mean) / expected, share)
    of_x = some * excess_over_log((r / expected) * ((mean - some) / some), mean / some * share)
    errors = stirling_error(total) - stirling_error(r) - stirling_error(some)
    log_p = errors - of_r - of_x + 0.5 * (log_r - ops.log(total) - ops.log(some) - LOG_2PI)
    return ops.where(x > 0.0, log_p, -r * ops.log1p(mean / r))


@LIKELIHOODS.register("zero_inflated")
class ZeroInflated(Counts):
    """Counts with more zeros than another likelihood of counts has.

        p(x) = share [x = 0] + (1 - share) p'(x)

    The share of added zeros is predicted for each value.

    Args:
        likelihood: p', a likelihood of counts or its name.

    Raises:
        ValueError: A likelihood of something else.

    Examples:
        >>> ZeroInflated("poisson").parameter_shape((20,))  # of 20 products: mean and share of each
        (40,)
    """

    def __init__(self, likelihood: Any = "negative_binomial", **kwargs: Any):
        super().__init__(**kwargs)
        self.likelihood: Counts = LIKELIHOODS.get(likelihood)
        if not isinstance(self.likelihood, Counts) or isinstance(self.likelihood, ZeroInflated):
            raise ValueError(
                f"ZeroInflated adds zeros to counts; received {type(self.likelihood).__name__}. "
                "Expected Poisson or NegativeBinomial."
            )
        self.parameters_per_value = self.likelihood.parameters_per_value + 1

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.likelihood)
        return super().get_config() | {"likelihood": inner}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ZeroInflated":
        inner = keras.saving.deserialize_keras_object(config["likelihood"])
        return cls(**config | {"likelihood": inner})

    def build(self, x_shape: tuple[int, ...], view: Any = None) -> None:
        self.likelihood.build(x_shape, view)
        if self.view is None:
            self.view = self.likelihood.view

    def distribution(self, parameters: Tensor, training: bool = False) -> "IndependentZeroInflated":
        size = parameters.shape[-1] // self.parameters_per_value
        counts = self.likelihood.distribution(parameters[..., :-size], training)
        return IndependentZeroInflated(counts, parameters[..., -size:] - FEW)

    def uniforms_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        *places, uniforms = self.likelihood.uniforms_shape(x_shape)
        return (*places, uniforms + 1)


class IndependentZeroInflated(IndependentCounts):
    """Counts with added zeros.

    Args:
        counts: The counts without them.
        logits: Of the share of added zeros, `(..., batch, *x_shape)`.
    """

    def __init__(self, counts: IndependentCounts, logits: Tensor):
        self.counts, self.logits, self.axes = counts, logits, counts.axes

    def log_density(self, x: Tensor) -> Tensor:
        log_p = self.counts.log_density(x)
        either = ops.where(x > 0.0, log_p, ops.logaddexp(self.logits, log_p))
        return either - ops.softplus(self.logits)

    def mean(self) -> Tensor:
        return ops.sigmoid(-self.logits) * self.counts.mean()

    def sample(self, uniforms: Tensor) -> Tensor:
        counts = self.counts.sample(uniforms[..., 1:])
        return ops.where(uniforms[..., 0] < ops.sigmoid(self.logits), 0.0, counts)

    def scaled(self, log_factor: Tensor) -> "IndependentZeroInflated":
        return IndependentZeroInflated(self.counts.scaled(log_factor), self.logits)
