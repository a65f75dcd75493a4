"""What counts need and `keras.ops` lacks: factorials exact to single precision, draws of uniforms.

Factorials and powers of large counts are huge and nearly cancel: in single precision the difference
of two log-gammas at 1e6 is off by a nat. The functions here are the small differences themselves
(Loader 2000, "Fast and accurate computation of binomial probabilities").
"""

from keras import ops

from keras_cvae.backend import repeated
from keras_cvae.probability.normal import standard_quantile
from keras_cvae.tensors import Tensor

LEAST = 2.0**-25  # the distance that recycled uniforms keep from 0 and 1


def stirling_error(z: Tensor) -> Tensor:
    """Compute what Stirling's formula lacks of the log-factorial, to 2e-6.

        log Gamma(z + 1) - (z + 1/2) log z + z - log(2 pi) / 2

    Args:
        z: Numbers above 0, whole or not.
    """
    shifted = z + 3.0
    square = 1.0 / ops.square(shifted)
    series = 1.0 / 1260.0 - square / 1680.0
    total = (1.0 / 12.0 - square * (1.0 / 360.0 - square * series)) / shifted
    for i in range(3):  # the series is for z from 3; each step down adds its own difference
        total = total + (z + (i + 0.5)) * ops.log1p(1.0 / (z + float(i))) - 1.0
    return total


def excess_over_log(excess: Tensor, ratio: Tensor) -> Tensor:
    """Compute ratio - 1 - log(ratio), which is 0 at 1, without cancellation around it.

    Args:
        excess: ratio - 1, computed without rounding the ratio first.
        ratio: Numbers above 0.
    """
    near = ops.abs(excess) < 0.25
    v = ops.where(near, excess / (2.0 + excess), 0.0)
    square = ops.square(v)
    series = 1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square / 9.0))
    far = excess - ops.log(ops.where(near, 1.0, ratio))
    return ops.where(near, v * (excess - 2.0 * square * series), far)


def poisson_quantile(uniforms: Tensor, rate: Tensor) -> Tensor:
    """Draw from Poisson distributions by inverting them; probabilities are exact to 5e-5.

    Up to a rate of 12 the probabilities are added up; above, the quantile is expanded in powers of
    rate^-1/2 (Giles 2016, "Algorithm 955", eq. 10).

    Args:
        uniforms: From U(0, 1).
        rate: Tensor of the same shape.

    Returns:
        Whole numbers in float32.
    """
    few = rate < 12.0
    small = ops.where(few, rate, 1.0)
    term = ops.exp(-small)

    def add(i: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        count, term, below = state
        count = count + ops.cast(uniforms > below, "float32")
        term = term * small / (ops.cast(i, "float32") + 1.0)
        return count, term, below + term

    added, _, _ = repeated(40, add, (ops.zeros_like(term), term, term))
    large = ops.where(few, 12.0, rate)
    w, root = standard_quantile(uniforms), ops.sqrt(large)
    w2 = ops.square(w)
    first = (w * (1.0 / 36.0 + w2 / 72.0)) / root
    second = (-8.0 / 405.0 + w2 * (7.0 / 810.0 + w2 / 270.0)) / large
    expanded = large + root * w + (1.0 / 3.0 + w2 / 6.0) - first + second
    return ops.where(few, added, ops.floor(ops.maximum(expanded, 0.0)))


GAMMA_UNIFORMS = 4  # that one draw of `gamma_draw` takes


def gamma_draw(uniforms: Tensor, shape: Tensor) -> Tensor:
    """Draw from gamma distributions of scale 1, within 1e-4 in total variation.

    Marsaglia & Tsang (2000): a cubed normal is accepted with a probability of at least 0.95. Here
    the third is taken unasked, so that the number of uniforms is fixed. A shape below 1 is a shape
    above 1 times a power of one more uniform: what is left of the one that accepted.

    Args:
        uniforms: From U(0, 1), `(..., 4)`.
        shape: The shape parameters, `(...)`.
    """
    small = shape < 1.0
    d = ops.where(small, shape + 1.0, shape) - 1.0 / 3.0
    c = 1.0 / ops.sqrt(9.0 * d)
    free = uniforms[..., 3]
    cube, taken = ops.ones_like(free), ops.zeros_like(free, "bool")
    for i in range(3):
        z = standard_quantile(uniforms[..., i])
        root = 1.0 + c * z
        v = ops.maximum(root, 1e-3) ** 3
        log_chance = ops.minimum(0.5 * ops.square(z) + d * (1.0 - v + ops.log(v)), 0.0)
        chance = ops.where(root > 0.0, ops.exp(log_chance), 0.0)
        accepted = free < chance
        low, width = ops.where(accepted, 0.0, chance), ops.where(accepted, chance, 1.0 - chance)
        left = ops.clip((free - low) / ops.maximum(width, LEAST), LEAST, 1.0 - LEAST)
        cube, free = ops.where(taken, cube, v), ops.where(taken, free, left)
        taken = ops.logical_or(taken, accepted)
    power = ops.exp(ops.log(free) / ops.where(small, shape, 1.0))
    return d * cube * ops.where(small, power, 1.0)
