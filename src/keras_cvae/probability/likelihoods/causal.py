"""Binary pictures whose pixels see their neighbours."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_cvae.backend import accelerated, repeated
from keras_cvae.probability.distributions import Distribution, more_known
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli, log_bernoulli
from keras_cvae.tensors import Tensor


@LIKELIHOODS.register("causal_bernoulli")
class CausalBernoulli(Bernoulli):
    """Bernoulli pixels that also see their neighbours: those above and to the left, as drawn.

        logit_i = l_i + v . relu(a x_<i + b l_near + c)
        logit_i = l_i + v . relu(a x_<i + d x_K>i + b l_near + c)        with `surround`

    with l the decoder's output, x_<i the pixels before i within `reach`, coded -1 and 1, x_K>i the
    known ones after it, 0 where nothing is known, and l_near those of l within `near`. A PixelVAE
    (Gulrajani et al. 2017) with one masked convolution: z is left with what cannot be seen nearby.
    Drawing goes pixel by pixel.

    Args:
        channels: Length of a, b, c and v: hidden units at each pixel.
        reach: How many pixels are seen on each side and above.
        near: How many of the decoder's outputs are seen on each of the four sides.
        surround: Whether pixels see what is known on their other sides too; models that complete
            pictures set it by themselves.

    Examples:
        >>> pixels = CausalBernoulli(channels=4, reach=2)
        >>> near = ConditionalVAE((8, 8, 1), 10, 2, likelihood=pixels, backbone=MLP((16,)))
        >>> near.likelihood.reach
        2
    """

    chunk, parallel = 40, 1024  # pictures at once: what fits a CPU's caches, what fills a GPU

    def __init__(
        self,
        channels: int = 16,
        reach: int = 3,
        near: int = 1,
        surround: bool = False,
        **kwargs: Any,
    ):
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

    def get_config(self) -> dict[str, Any]:
        own = {"channels": self.channels, "reach": self.reach, "near": self.near}
        return super().get_config() | own | {"surround": self.surround}

    def completing(self) -> Likelihood:
        return self if self.surround else type(self)(**self.get_config() | {"surround": True})

    def parameter_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(x_shape) != 3 or x_shape[-1] != 1:
            raise ValueError(
                "The causal Bernoulli likelihood expects pictures with one channel, (height, "
                f"width, 1). Received data of shape {tuple(x_shape)}."
            )
        return tuple(x_shape)

    def distribution(self, parameters: Tensor, training: bool = False) -> Distribution:
        return CausalPixels(self, parameters)


class CausalPixels(Distribution):
    """Binary pixels, each a Bernoulli variable given those before it.

    The mean of x has no closed form; `mean` goes through the pixels once, each seeing the means of
    those before it.

    Args:
        net: The likelihood, for its weights.
        logits: The decoder's output, `(..., batch, height, width, 1)`.
        values: Known pixels, `(batch, height, width, 1)`.
        known: Where they are known, booleans; None: nowhere.
    """

    def __init__(
        self, net: CausalBernoulli, logits: Tensor, values: Tensor = 0.0, known: Tensor = None
    ):
        self.net, self.logits, self.values, self.known = net, logits, values, known

    def given(self, values: Tensor, known: Tensor) -> Distribution:
        if self.known is not None:
            values, known = more_known(self.values, self.known, values, known)
        return CausalPixels(self.net, self.logits, values, known)

    def log_prob(self, x: Tensor) -> Tensor:
        net, height, width = self.net, x.shape[1], x.shape[2]
        pictures = {"x": x}
        if self.known is not None:
            pictures["scored"] = ops.logical_not(self.known)
            if net.surround:
                pictures["ahead"] = ops.where(self.known, 2.0 * x - 1.0, 0.0)
        # Computed again for the gradient: its hidden units would not fit the caches. The weights
        # are tensors: TensorFlow's recomputed gradients reach arguments, not variables in a loop.
        shifted = keras.remat(self._shifted)
        weights = [net.a, net.b, net.c, net.v, *([net.d] if net.surround else [])]
        weights = [ops.convert_to_tensor(weight) for weight in weights]

        def summed(block: dict[str, Tensor]) -> Tensor:
            """log p of some pictures, `(samples, some)`."""
            ahead = [block["ahead"]] if "ahead" in block else []
            logits = shifted(block["x"], block["logits"], *weights, *ahead)
            flat = (-1, ops.shape(block["x"])[0], height * width)
            x, logits = (ops.reshape(part, flat) for part in (block["x"], logits))
            density = log_bernoulli(x, logits)
            if "scored" in block:
                density = ops.where(ops.reshape(block["scored"], flat[1:]), density, 0.0)
            return ops.sum(density, axis=-1)

        return blockwise(
            summed, self.logits, pictures, net.parallel if accelerated() else net.chunk
        )

    def _shifted(
        self,
        x: Tensor,
        logits: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        v: Tensor,
        d: Tensor = None,
        ahead: Tensor = None,
    ) -> Tensor:
        """The logits of p(x_i | x_<i, z, y), for x `(some, height, width)`."""
        net = self.net
        signs = ops.reshape(2.0 * x - 1.0, (-1, *x.shape[1:3]))
        seen = a @ _windows(signs, net.before, net.reach) + c
        if ahead is not None:
            seen = seen + d @ _windows(ahead, net.after, net.reach)
        near = b @ _windows(ops.reshape(logits, (-1, *x.shape[1:3])), net.around, net.near)
        near = ops.reshape(near, (net.channels, -1, seen.shape[-1] or ops.shape(seen)[-1]))
        hidden = ops.relu(seen[:, None] + near)  # (channels, samples, some * height * width)
        shift = v @ ops.reshape(hidden, (net.channels, -1))
        return logits + ops.reshape(shift, ops.shape(logits))

    def mean(self) -> Tensor:
        return self._pixel_by_pixel(lambda probability, at: probability)

    def sample(self, uniforms: Tensor) -> Tensor:
        uniforms = ops.reshape(uniforms, (-1, *self.logits.shape[-3:-1]))

        def drawn(probability: Tensor, at: Callable[[Tensor], Tensor]) -> Tensor:
            return ops.cast(at(uniforms) < probability, "float32")

        return self._pixel_by_pixel(drawn)

    def _pixel_by_pixel(
        self, value: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]
    ) -> Tensor:
        """Fill the picture in the order in which pixels see each other.

        Args:
            value: A pixel's value `(n, 1)`, from its probability `(n, 1)` given those before it,
                and a function that picks the pixel out of pictures `(n, height, width)`.
        """
        net, logits = self.net, self.logits
        lead, (height, width) = ops.shape(logits)[:-3], logits.shape[-3:-1]
        known = False if self.known is None else self.known
        given, certain = (
            ops.reshape(ops.broadcast_to(part, ops.shape(logits)), (-1, height, width))
            for part in (2.0 * self.values - 1.0, known)
        )
        logits = ops.reshape(logits, (-1, height, width))
        n, reach = ops.shape(logits)[0], net.reach
        near = net.b @ _windows(logits, net.around, net.near) + net.c
        if net.surround:
            near = near + net.d @ _windows(ops.where(certain, given, 0.0), net.after, reach)
        near = ops.reshape(near, (net.channels, -1, height, width))
        # a on the whole window around and above a pixel, 0 at the pixel itself and after it.
        missing = (reach + 1) * (2 * reach + 1) - len(net.before)
        taps = ops.pad(ops.transpose(net.a), ((0, missing), (0, 0)))
        canvas = ops.zeros((n, height + reach, width + 2 * reach), "float32")

        def fill(i: Tensor, canvas: Tensor) -> Tensor:
            row, column = i // width, i % width

            def at(pictures: Tensor) -> Tensor:
                return ops.slice(pictures, (0, row, column), (n, 1, 1))[:, 0]

            window = ops.slice(canvas, (0, row, column), (n, reach + 1, 2 * reach + 1))
            seen = ops.reshape(window, (n, -1)) @ taps  # (n, channels)
            here = ops.slice(near, (0, 0, row, column), (net.channels, n, 1, 1))
            hidden = ops.relu(seen + ops.transpose(here[:, :, 0, 0]))
            logit = at(logits) + hidden @ net.v[0][:, None]
            sign = 2.0 * value(ops.sigmoid(logit), at) - 1.0
            sign = ops.where(at(certain), at(given), sign)
            return ops.slice_update(canvas, (0, row + reach, column + reach), sign[..., None])

        canvas = repeated(height * width, fill, canvas)
        x = 0.5 * (canvas[:, reach:, reach : reach + width] + 1.0)
        return ops.where(known, self.values, ops.reshape(x, (*lead, height, width, 1)))


def blockwise(
    function: Callable[[dict[str, Tensor]], Tensor],
    logits: Tensor,
    pictures: dict[str, Tensor],
    at_most: int,
) -> Tensor:
    """Compute a function of each picture, on even blocks of the batch one after the other.

    Args:
        function: From a block, `logits` `(samples, some, height, width, 1)` and the pictures by
            name, each `(some, height, width)`, to `(samples, some)`.
        logits: Tensor `(..., batch, height, width, 1)`.
        pictures: "x" `(batch, height, width, 1)`, and others that broadcast against it.
        at_most: How many pictures make a block, counting each sample.

    Returns:
        Tensor `(..., batch)`.
    """
    x = pictures["x"]
    batch, height, width, _ = x.shape
    lead, n = ops.shape(logits)[:-3], ops.shape(x)[0]
    samples = math.prod(size or 1 for size in logits.shape[:-4])
    some = max(i for i in range(1, max(1, at_most // samples) + 1) if (batch or 1) % i == 0)
    some = n if some * samples < 4 else some  # no even parts: all at once
    blocks = {
        name: ops.reshape(ops.broadcast_to(part, ops.shape(x)), (-1, some, height, width))
        for name, part in pictures.items()
    }
    parts = ops.reshape(logits, (-1, n // some, some, height, width, 1))
    blocks["logits"] = ops.swapaxes(parts, 0, 1)  # (blocks, samples, some, height, width, 1)
    return ops.reshape(ops.swapaxes(ops.map(function, blocks), 0, 1), lead)


def _windows(x: Tensor, places: list[tuple[int, int]], reach: int) -> Tensor:
    """What is seen from each pixel of x `(n, height, width)`: `(places, n * height * width)`."""
    height, width = x.shape[1:]
    padded = ops.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    seen = [
        padded[:, reach + i : reach + i + height, reach + j : reach + j + width] for i, j in places
    ]
    return ops.reshape(ops.stack(seen), (len(places), -1))
