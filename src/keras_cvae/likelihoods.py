"""p(x | z, y): how the decoder's output becomes a distribution of the data.

To add a likelihood, subclass `Likelihood`, set `units`, write `log_density`, `mean`, `sample` and
`check`, and register it. The loss, sampling and every estimate use these four and nothing else.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.distributions import LOG_2PI
from keras_cvae.fastpath import accelerated
from keras_cvae.registry import Registry
from keras_cvae.scaling import Bijection

LIKELIHOODS = Registry("likelihood")


class Likelihood(keras.layers.Layer):
    """Base of all likelihoods: independent over the values of x given the decoder's parameters.

    The parameters have x's shape with the last axis `units` times as long.

    Attributes:
        units: Parameters for each value of x.
        link: The activation that turns logits into probabilities, where the parameters are logits.
        discrete: Whether log_prob is that of a probability of 8-bit values, not of a density.
        completes: Whether some values of x can be known while the others are drawn.
        view: What the recognition network sees in place of x, if not x itself: a layer.
    """

    units = 1
    discrete = False
    link: str | None = None
    completes = True

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.view: Any = None
        self.built = True

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape, without the batch, that the decoder must give for data of `x_shape`."""
        return (*x_shape[:-1], self.units * x_shape[-1])

    def log_prob(self, x, parameters, training: bool = False, scored=None):
        """Log p(x | parameters) in nats, summed over x's dimensions.

        Args:
            x: Tensor `(batch, *x_shape)`.
            parameters: Tensor `(..., batch, *parameter_shape)`.
            training: Whether this is a training step.
            scored: Booleans `(batch or 1, *x_shape)`: the values that count. None: all of them.

        Returns:
            Tensor `(..., batch)`.
        """
        if self.units == 1:  # as vectors: XLA vectorises over the last axis, often a single channel
            lead = ops.shape(parameters)[: 1 - len(x.shape)]
            size = math.prod(x.shape[1:])
            x, parameters = ops.reshape(x, (-1, size)), ops.reshape(parameters, (*lead, size))
            scored = None if scored is None else ops.reshape(scored, (-1, size))
        density = self.log_density(x, parameters, training, scored)
        if scored is not None:
            density = ops.where(scored, density, 0.0)
        return ops.sum(density, axis=tuple(range(1 - len(x.shape), 0)))

    def log_prob_given(self, x, parameters, known, training: bool = False, scored=None):
        """Log p of the values that are not known, given those that are: booleans like `scored`."""
        return self.log_prob(x, parameters, training, _unknown(known, scored))

    def log_density(self, x, parameters, training: bool = False, scored=None):
        """Log-density of each value, `(..., batch, *x_shape)`.

        `scored` matters only to what is estimated from the batch; `log_prob` leaves the rest out.
        """
        raise NotImplementedError

    def mean(self, parameters):
        """E[x | parameters], `(..., *x_shape)`."""
        raise NotImplementedError

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw x in NumPy, so that a seed gives the same x on every backend."""
        raise NotImplementedError

    def mean_given(self, parameters, values, known):
        """The mean where some values are known: `values` where `known`, `(batch, *x_shape)`."""
        return ops.where(known, values, self.mean(parameters))

    def sample_given(self, parameters, values, known, rng: np.random.Generator) -> np.ndarray:
        """Draw the values that are not known, in NumPy."""
        return np.where(known, values, self.sample(parameters, rng)).astype("float32")

    def completing(self) -> "Likelihood":
        """This likelihood as it is built where a part of x is known."""
        return self

    def check(self, x: np.ndarray) -> None:
        """Refuse data outside the support.

        Raises:
            ValueError: Naming what was received and what this likelihood expects.
        """

    def call(self, parameters):
        """Return the mean, so that a likelihood also works as a layer."""
        return self.mean(parameters)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.units)


def _unknown(known, scored):
    """What is to be scored where some values are known."""
    unknown = ops.logical_not(known)
    return unknown if scored is None else ops.logical_and(unknown, scored)


def _mean(values, scored):
    """Over the values that count."""
    if scored is None:
        return ops.mean(values)
    weights = ops.broadcast_to(ops.cast(scored, "float32"), ops.shape(values))
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def _check_unit_interval(x: np.ndarray, name: str) -> None:
    low, high = float(np.min(x)), float(np.max(x))
    if low < 0.0 or high > 1.0:
        hint = " Divide by 255 to scale 8-bit images." if 1.0 < high <= 255.0 and low >= 0 else ""
        raise ValueError(
            f"The {name} likelihood expects x in [0, 1]. Received values from {low:g} to {high:g}."
            f"{hint} For unbounded data use likelihood='gaussian'."
        )


@LIKELIHOODS.register("bernoulli")
class Bernoulli(Likelihood):
    """Bernoulli with logits as parameters: log p = x log s(l) + (1 - x) log(1 - s(l)).

    For grey levels strictly between 0 and 1 this is a cross-entropy, not a likelihood.
    """

    link = "sigmoid"

    def log_density(self, x, parameters, training=False, scored=None):
        # softplus(l) = l / 2 + |l| / 2 + log(1 + exp(-|l|)): exact, and three times as fast in XLA
        size = ops.abs(parameters)
        return (x - 0.5) * parameters - 0.5 * size - ops.log1p(ops.exp(-size))

    def mean(self, parameters):
        return ops.sigmoid(parameters)

    def sample(self, parameters, rng):
        return (rng.random(parameters.shape) < _sigmoid(parameters)).astype("float32")

    def check(self, x):
        _check_unit_interval(x, "Bernoulli")


@LIKELIHOODS.register("causal_bernoulli")
class CausalBernoulli(Bernoulli):
    """Bernoulli pixels that also see their neighbours: those above and to the left, as drawn.

        logit_i = l_i + v . relu(a x_<i + b l_near + c)
        logit_i = l_i + v . relu(a x_<i + d x_K>i + b l_near + c)        with `surround`

    with l the decoder's output, x_<i the pixels before i within `reach`, coded -1 and 1, x_K>i the
    known ones after it, 0 where nothing is known, and l_near those of l within `near`. A PixelVAE
    (Gulrajani et al. 2017) with one masked convolution: z is left with what cannot be seen nearby.
    Drawing goes pixel by pixel.

    The mean of x has no closed form; `mean` goes through the pixels once, each seeing the means of
    those before it.

    Args:
        channels: Length of a, b, c and v: hidden units at each pixel.
        reach: Pixels seen on each side and above.
        near: Neighbourhood of the decoder's output, likewise, on all sides.
        surround: Whether pixels see what is known on their other sides too; models that complete
            pictures set it by themselves.
    """

    chunk, parallel = 40, 1024  # pictures at once: what fits a CPU's caches, what fills a GPU

    def __init__(self, channels=16, reach=3, near=1, surround=False, **kwargs):
        super().__init__(**kwargs)
        if channels < 1 or reach < 1 or near < 0:
            raise ValueError(
                f"CausalBernoulli: received channels={channels}, reach={reach}, near={near}; "
                "expected channels and reach of at least 1, near of at least 0."
            )
        self.channels, self.reach, self.near = int(channels), int(reach), int(near)
        sides = range(-self.reach, self.reach + 1)
        self.before = [(i, j) for i in range(-self.reach, 1) for j in sides if (i, j) < (0, 0)]
        around = range(-self.near, self.near + 1)
        self.around = [(i, j) for i in around for j in around]
        he = keras.initializers.VarianceScaling(2.0, "fan_out")  # the last axis is summed over
        kept: dict[str, Any] = {"dtype": "float32", "autocast": False}
        self.a = self.add_weight((self.channels, len(self.before)), he, name="a", **kept)
        self.b = self.add_weight((self.channels, len(self.around)), he, name="b", **kept)
        self.c = self.add_weight((self.channels, 1), "zeros", name="c", **kept)
        self.v = self.add_weight((1, self.channels), "zeros", name="v", **kept)
        self.surround, self.after = bool(surround), [(-i, -j) for i, j in self.before]
        if self.surround:
            self.d = self.add_weight((self.channels, len(self.after)), he, name="d", **kept)

    def get_config(self):
        own = {"channels": self.channels, "reach": self.reach, "near": self.near}
        return super().get_config() | own | {"surround": self.surround}

    def completing(self):
        return self if self.surround else type(self)(**self.get_config() | {"surround": True})

    def parameter_shape(self, x_shape):
        if len(x_shape) != 3 or x_shape[-1] != 1:
            raise ValueError(
                "The causal Bernoulli likelihood expects pictures with one channel, (height, "
                f"width, 1). Received data of shape {tuple(x_shape)}."
            )
        return tuple(x_shape)

    def log_prob_given(self, x, parameters, known, training=False, scored=None):
        ahead = ops.where(known, 2.0 * x - 1.0, 0.0) if self.surround else None
        return self.log_prob(x, parameters, training, _unknown(known, scored), ahead)

    def log_prob(self, x, parameters, training=False, scored=None, ahead=None):
        batch, height, width, _ = x.shape
        lead, n = ops.shape(parameters)[:-3], ops.shape(x)[0]
        samples = math.prod(size or 1 for size in parameters.shape[:-4])
        at_most = max(1, (self.parallel if accelerated() else self.chunk) // samples)
        some = max(i for i in range(1, at_most + 1) if (batch or 1) % i == 0)
        some = n if some * samples < 4 else some  # no even parts: all at once
        logits = ops.reshape(parameters, (-1, n // some, some, height, width, 1))
        logits = ops.swapaxes(logits, 0, 1)  # (parts, samples, some, height, width, 1)
        parts = {
            name: ops.reshape(ops.broadcast_to(part, ops.shape(x)), (-1, some, height, width))
            for name, part in {"x": x, "scored": scored, "ahead": ahead}.items()
            if part is not None
        }
        shifted = keras.remat(self._given_neighbours)  # its hidden units would not fit the caches
        weights = self._weights()

        def of(part):
            ahead = [part["ahead"]] if "ahead" in part else []
            logits = shifted(part["x"], part["logits"], *weights, *ahead)
            x, logits = (ops.reshape(p, (-1, some, height * width)) for p in (part["x"], logits))
            density = Bernoulli.log_density(self, x, logits)
            if "scored" in part:
                density = ops.where(ops.reshape(part["scored"], (some, -1)), density, 0.0)
            return ops.sum(density, axis=-1)

        each = ops.map(of, parts | {"logits": logits})
        return ops.reshape(ops.swapaxes(each, 0, 1), lead)

    def log_density(self, x, parameters, training=False, scored=None):
        logits = self._given_neighbours(x, parameters, *self._weights())
        return super().log_density(x, logits, training)

    def _weights(self) -> list:
        # As tensors: TensorFlow's recomputed gradients reach arguments, not variables in a loop.
        weights = [self.a, self.b, self.c, self.v, *([self.d] if self.surround else [])]
        return [ops.convert_to_tensor(weight) for weight in weights]

    def _given_neighbours(self, x, parameters, a, b, c, v, d=None, ahead=None):
        """The logits `(..., batch, height, width, 1)` of p(x_i | x_<i, z, y)."""
        height, width = x.shape[1:3]
        signs = ops.reshape(2.0 * x - 1.0, (-1, height, width))
        logits = ops.reshape(parameters, (-1, height, width))
        seen = a @ _windows(signs, self.before, self.reach) + c
        if ahead is not None:
            seen = seen + d @ _windows(ahead, self.after, self.reach)
        near = b @ _windows(logits, self.around, self.near)
        near = ops.reshape(near, (self.channels, -1, seen.shape[-1] or ops.shape(seen)[-1]))
        hidden = ops.relu(seen[:, None] + near)  # (channels, samples, batch * height * width)
        shift = v @ ops.reshape(hidden, (self.channels, -1))
        return parameters + ops.reshape(shift, ops.shape(parameters))

    def mean(self, parameters):
        return self.mean_given(parameters, 0.0, False)

    def mean_given(self, parameters, values, known):
        lead, (height, width) = ops.shape(parameters)[:-3], parameters.shape[-3:-1]
        logits = ops.reshape(parameters, (-1, height, width))
        given, certain = (
            ops.reshape(ops.broadcast_to(part, ops.shape(parameters)), (-1, height, width))
            for part in (2.0 * values - 1.0, known)
        )
        n, reach = ops.shape(logits)[0], self.reach
        near = self._near(logits, ops.where(certain, given, 0.0))
        near = ops.reshape(near, (self.channels, -1, height, width))
        taps = self._taps()
        canvas = ops.zeros((n, height + reach, width + 2 * reach), "float32")

        def at(picture, row, column):
            return ops.slice(picture, (0, row, column), (n, 1, 1))[:, 0]

        def draw(i, canvas):
            row, column = i // width, i % width
            window = ops.slice(canvas, (0, row, column), (n, reach + 1, 2 * reach + 1))
            seen = ops.reshape(window, (n, -1)) @ taps  # (n, channels)
            here = ops.slice(near, (0, 0, row, column), (self.channels, n, 1, 1))
            hidden = ops.relu(seen + ops.transpose(here[:, :, 0, 0]))
            logit = at(logits, row, column) + hidden @ self.v[0][:, None]
            value = 2.0 * ops.sigmoid(logit) - 1.0
            value = ops.where(at(certain, row, column), at(given, row, column), value)
            return ops.slice_update(canvas, (0, row + reach, column + reach), value[..., None])

        canvas = ops.fori_loop(0, height * width, draw, canvas)
        x = 0.5 * (canvas[:, reach:, reach : reach + width] + 1.0)
        return ops.where(known, values, ops.reshape(x, (*lead, height, width, 1)))

    def sample(self, parameters, rng):
        return self.sample_given(parameters, np.float32(0.0), np.False_, rng)

    def sample_given(self, parameters, values, known, rng):
        *lead, height, width, _ = parameters.shape
        logits = parameters.reshape(-1, height, width)
        given, certain = (
            np.broadcast_to(part, parameters.shape).reshape(logits.shape)
            for part in (2.0 * values - 1.0, known)
        )
        u, reach = rng.random(logits.shape), self.reach
        near = ops.convert_to_numpy(self._near(logits, np.where(certain, given, np.float32(0.0))))
        near = np.ascontiguousarray(near.reshape(self.channels, len(logits), -1).transpose(2, 1, 0))
        taps, v = ops.convert_to_numpy(self._taps()), ops.convert_to_numpy(self.v)[0]
        canvas = np.zeros((len(logits), height + reach, width + 2 * reach), "float32")
        for i, (row, column) in enumerate(np.ndindex(height, width)):
            window = canvas[:, row : row + reach + 1, column : column + 2 * reach + 1]
            hidden = np.maximum(window.reshape(len(logits), -1) @ taps + near[i], 0.0)
            drawn = u[:, row, column] < _sigmoid(logits[:, row, column] + hidden @ v)
            value = np.where(certain[:, row, column], given[:, row, column], 2.0 * drawn - 1.0)
            canvas[:, row + reach, column + reach] = value
        x = 0.5 * (canvas[:, reach:, reach : reach + width] + 1.0)
        return np.where(known, values, x.reshape(*lead, height, width, 1)).astype("float32")

    def _near(self, logits, ahead):
        """What each pixel may see before any is drawn, `(channels, n * height * width)`."""
        near = self.b @ _windows(logits, self.around, self.near) + self.c
        return near + self.d @ _windows(ahead, self.after, self.reach) if self.surround else near

    def _taps(self):
        """a on the whole window around and above a pixel: `(rows * columns, channels)`."""
        missing = (self.reach + 1) * (2 * self.reach + 1) - len(self.before)  # this pixel and after
        return ops.pad(ops.transpose(self.a), ((0, missing), (0, 0)))


def _windows(x, places, reach: int):
    """What is seen from each pixel of x `(n, height, width)`: `(places, n * height * width)`."""
    height, width = x.shape[1:]
    padded = ops.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    seen = [
        padded[:, reach + i : reach + i + height, reach + j : reach + j + width] for i, j in places
    ]
    return ops.reshape(ops.stack(seen), (len(places), -1))


@LIKELIHOODS.register("continuous_bernoulli")
class ContinuousBernoulli(Likelihood):
    """Continuous Bernoulli on [0, 1] (Loaiza-Ganem & Cunningham 2019), with logits as parameters.

    In the logit l the normaliser of the paper, 2 artanh(1 - 2s) / (1 - 2s), is l / tanh(l / 2).
    """

    link = "sigmoid"
    small = 0.05  # |l| below which the series in l^2 is exact to float32

    def log_density(self, x, parameters, training=False, scored=None):
        return x * parameters - ops.softplus(parameters) + self._log_normaliser(parameters)

    def _log_normaliser(self, logits):
        near = ops.abs(logits) < self.small
        safe = ops.where(near, ops.ones_like(logits), logits)
        series = np.log(2.0) + ops.square(logits) / 12.0
        return ops.where(near, series, ops.log(safe / ops.tanh(0.5 * safe)))

    def mean(self, parameters):
        near = ops.abs(parameters) < self.small
        safe = ops.where(near, ops.ones_like(parameters), parameters)
        exact = ops.sigmoid(safe) / ops.tanh(0.5 * safe) - 1.0 / safe
        return ops.where(near, 0.5 + parameters / 12.0, exact)

    def sample(self, parameters, rng):
        # The inverse of F(x) = (exp(l x) - 1) / (exp(l) - 1), at -|l|, where exp cannot overflow.
        u, steep = rng.random(parameters.shape), -np.abs(parameters.astype("float64"))
        steep = np.where(steep > -1e-6, -1e-6, steep)
        x = np.log1p(u * np.expm1(steep)) / steep
        return np.where(parameters > 0, 1.0 - x, x).astype("float32")

    def check(self, x):
        _check_unit_interval(x, "continuous Bernoulli")


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
            log_var = ops.log(ops.maximum(_mean(squared, scored), self.least_variance))
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


@LIKELIHOODS.register("categorical")
class CategoricalValues(Likelihood):
    """Each value of x is one of `levels` evenly spaced values, with its own softmax.

    Args:
        levels: How many values there are: 2 for binary, 256 for 8-bit data.
        low: The lowest value.
        high: The highest value; None means `low + levels - 1`, whole numbers.
    """

    link = "softmax"
    discrete = True

    def __init__(self, levels=256, low=0.0, high=None, **kwargs):
        super().__init__(**kwargs)
        self.levels = self.units = errors.whole("levels", levels, 2)
        self.low, self.high = float(low), float(low + levels - 1 if high is None else high)
        if not self.high > self.low:
            raise ValueError(f"high: received {high}, expected more than low={low}.")

    def get_config(self):
        return super().get_config() | {"levels": self.levels, "low": self.low, "high": self.high}

    @property
    def values(self) -> np.ndarray:
        """The values that x can take, `(levels,)`."""
        return np.linspace(self.low, self.high, self.levels, dtype="float32")

    def _level(self, x):
        return (x - self.low) * ((self.levels - 1) / (self.high - self.low))

    def _logits(self, parameters):
        shape = ops.shape(parameters)
        return ops.reshape(parameters, (*shape[:-1], shape[-1] // self.levels, self.levels))

    def log_density(self, x, parameters, training=False, scored=None):
        log_p = ops.log_softmax(self._logits(parameters), axis=-1)
        index = ops.cast(ops.round(self._level(x)), "int32")
        index = ops.broadcast_to(index, ops.shape(log_p)[:-1])
        return ops.squeeze(ops.take_along_axis(log_p, index[..., None], axis=-1), axis=-1)

    def mean(self, parameters):
        # TensorFlow's softmax takes five axes at most, its log_softmax any number.
        p = ops.exp(ops.log_softmax(self._logits(parameters), axis=-1))
        return ops.sum(p * ops.convert_to_tensor(self.values), axis=-1)

    def sample(self, parameters, rng):
        shape = (*parameters.shape[:-1], -1, self.levels)
        logits = np.asarray(parameters).reshape(shape)
        return self.values[np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)]

    def check(self, x):
        low, high = float(np.min(x)), float(np.max(x))
        level = self._level(np.asarray(x, "float64"))
        whole = np.allclose(level, np.round(level), atol=1e-3)
        if low < self.low or high > self.high or not whole:
            raise ValueError(
                f"The categorical likelihood expects x to be one of {self.levels} evenly spaced "
                f"values from {self.low:g} to {self.high:g}. Received values from {low:g} to "
                f"{high:g}{'' if whole else ', some of them in between'}."
            )


@LIKELIHOODS.register("discretized_logistic")
class DiscretizedLogistic(Likelihood):
    """A mixture of logistics on evenly spaced values in [0, 1] (Salimans et al. 2017, sec. 2.1).

    The mass of a value is what the logistic puts on the interval around it; the lowest and the
    highest value get the tails. The components are those of a pixel, not of a channel: the mean of
    each channel depends linearly on the channels before it, as in the paper's eq. 3.

    Args:
        components: Logistics at each pixel.
        levels: How many values there are, 256 for 8-bit data.
    """

    units = 0  # for a pixel, not for a value: see `parameter_shape`
    discrete = True
    completes = False  # the channels of a pixel are mixed together
    narrowest = -7.0  # of log-scales, in units of half the range

    def __init__(self, components=5, levels=256, **kwargs):
        super().__init__(**kwargs)
        if components < 1 or levels < 2:
            raise ValueError(
                f"DiscretizedLogistic: received components={components}, levels={levels}; expected "
                "at least 1 component and 2 levels."
            )
        self.components, self.levels = int(components), int(levels)

    def get_config(self):
        return super().get_config() | {"components": self.components, "levels": self.levels}

    def parameter_shape(self, x_shape):
        return (*x_shape[:-1], self.components * _logistic_parameters(x_shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self._channels(input_shape[-1]))

    def log_density(self, x, parameters, training=False, scored=None):
        """log p of each pixel with all its channels: `(..., batch, *places, 1)`."""
        log_weight, means, log_scales, slopes = self._split(parameters)
        x = 2.0 * x - 1.0
        before = [x[..., c, None] for c in range(x.shape[-1])]
        log_p = log_weight
        for c, (mean, log_scale) in enumerate(zip(means, log_scales, strict=True)):
            mean = mean + sum(w * b for w, b in zip(slopes[c], before, strict=False))
            log_p = log_p + self._log_mass(before[c] - mean, log_scale, before[c])
        return ops.logsumexp(log_p, axis=-1, keepdims=True)

    def _log_mass(self, distance, log_scale, x):
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for the logistic function s: never 0, never NaN.
        half, rate = 1.0 / (self.levels - 1), ops.exp(-log_scale)
        above, below = rate * (distance + half), rate * (distance - half)
        width = ops.log(-ops.expm1(-2.0 * half * rate))
        low = -ops.softplus(-above)  # log s(a)
        high = -ops.softplus(below)  # log s(-b)
        inside = low + high + width
        return ops.where(x < half - 1.0, low, ops.where(x > 1.0 - half, high, inside))

    def mean(self, parameters):
        log_weight, means, _, slopes = self._split(parameters)
        expected: list = []
        for mean, slope in zip(means, slopes, strict=True):
            expected.append(mean + sum(w * b for w, b in zip(slope, expected, strict=True)))
        each = ops.stack(expected, axis=-2)  # (..., channels, components)
        mixed = ops.sum(ops.exp(log_weight)[..., None, :] * each, axis=-1)
        return ops.clip(0.5 * (mixed + 1.0), 0.0, 1.0)

    def sample(self, parameters, rng):
        parts = self._split(ops.convert_to_tensor(parameters))
        log_weight, means, log_scales, slopes = keras.tree.map_structure(
            ops.convert_to_numpy, parts
        )
        chosen = np.argmax(log_weight + rng.gumbel(size=log_weight.shape), axis=-1)[..., None]

        def pick(values):
            return np.take_along_axis(values, chosen, axis=-1)[..., 0]

        drawn: list[np.ndarray] = []
        for mean, log_scale, slope in zip(means, log_scales, slopes, strict=True):
            centre = pick(mean) + sum(pick(w) * b for w, b in zip(slope, drawn, strict=True))
            value = centre + np.exp(pick(log_scale)) * rng.logistic(size=centre.shape)
            level = np.round(np.clip(0.5 * (value + 1.0), 0.0, 1.0) * (self.levels - 1))
            drawn.append(2.0 * level / (self.levels - 1) - 1.0)
        return (0.5 * (np.stack(drawn, axis=-1) + 1.0)).astype("float32")

    def check(self, x):
        _check_unit_interval(x, "discretized logistic")

    def _channels(self, size: int) -> int:
        found = [c for c in range(1, 65) if self.components * _logistic_parameters(c) == size]
        if not found:
            raise ValueError(f"{size} parameters fit no number of channels.")
        return found[0]

    def _split(self, parameters):
        """Log-weights `(..., components)`, and lists by channel: means, log-scales, slopes."""
        channels = self._channels(parameters.shape[-1])
        shape = (*ops.shape(parameters)[:-1], -1, self.components)
        parts = ops.unstack(ops.reshape(parameters, shape), _logistic_parameters(channels), axis=-2)
        log_weight, parts = ops.log_softmax(parts[0], axis=-1), parts[1:]
        means, log_scales = parts[:channels], parts[channels : 2 * channels]
        log_scales = [ops.maximum(part - 2.0, self.narrowest) for part in log_scales]
        rest = [ops.tanh(part) for part in parts[2 * channels :]]
        slopes = [rest[c * (c - 1) // 2 : c * (c + 1) // 2] for c in range(channels)]
        return log_weight, means, log_scales, slopes


def _logistic_parameters(channels: int) -> int:
    """A weight, a mean and a scale for each channel, a slope for each pair of channels."""
    return 1 + 2 * channels + channels * (channels - 1) // 2


class Given(NamedTuple):
    """A likelihood's parameters, and the part of x that the condition knows already.

    Args:
        parameters: Tensor `(..., batch, *parameter_shape)`.
        values: The known values, `(batch, *x_shape)`.
        known: Where they are, booleans `(batch, *x_shape)`.
    """

    parameters: Any
    values: Any
    known: Any


@LIKELIHOODS.register("masked")
class Masked(Likelihood):
    """Another likelihood for what is unknown; what is known is certain.

    Its parameters are `Given`; plain ones know nothing. The models wrap their likelihood in it by
    themselves if the condition is a part of x.

    Args:
        likelihood: Of the unknown values.
    """

    def __init__(self, likelihood: Any = "bernoulli", **kwargs):
        super().__init__(**kwargs)
        self.likelihood: Likelihood = LIKELIHOODS.get(likelihood)
        if not self.likelihood.completes:
            raise ValueError(
                f"{type(self.likelihood).__name__} cannot draw some values of x while others are "
                "known. Expected another likelihood, such as 'bernoulli' or 'gaussian'."
            )
        self.units, self.link = self.likelihood.units, self.likelihood.link
        self.view = self.likelihood.view

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.likelihood)
        return super().get_config() | {"likelihood": inner}

    @classmethod
    def from_config(cls, config):
        inner = keras.saving.deserialize_keras_object(config["likelihood"])
        return cls(**config | {"likelihood": inner})

    def parameter_shape(self, x_shape):
        return self.likelihood.parameter_shape(x_shape)

    def log_prob(self, x, parameters, training=False, scored=None):
        if not isinstance(parameters, Given):
            return self.likelihood.log_prob(x, parameters, training, scored)
        parameters, _, known = parameters
        return self.likelihood.log_prob_given(x, parameters, known, training, scored)

    def mean(self, parameters):
        if not isinstance(parameters, Given):
            return self.likelihood.mean(parameters)
        return self.likelihood.mean_given(*parameters)

    def sample(self, parameters, rng):
        if not isinstance(parameters, Given):
            return self.likelihood.sample(parameters, rng)
        return self.likelihood.sample_given(*parameters, rng)

    def check(self, x):
        self.likelihood.check(x)


def for_condition(likelihood: Any, knows_part: bool) -> Likelihood:
    """The likelihood, masked if the condition knows a part of x."""
    likelihood = LIKELIHOODS.get(likelihood)
    masked = isinstance(likelihood, Masked)
    return Masked(likelihood.completing()) if knows_part and not masked else likelihood
