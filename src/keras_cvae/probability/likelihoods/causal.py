"""Binary pictures whose pixels see their neighbours."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.backend import accelerated
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, sigmoid, unknown
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli


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
        return self.log_prob(x, parameters, training, unknown(known, scored), ahead)

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
            drawn = u[:, row, column] < sigmoid(logits[:, row, column] + hidden @ v)
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
