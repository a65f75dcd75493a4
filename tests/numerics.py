"""NumPy in, NumPy out, on whichever backend runs."""

import functools

import keras
import numpy as np

from keras_cvae.inference.drawing import uniforms


def tensor(x, dtype="float32"):
    return keras.ops.convert_to_tensor(x, dtype)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


@functools.lru_cache(maxsize=8)
def _jax_program(function):
    import jax

    def program(*arrays):
        with keras.StatelessScope():
            return function(*arrays)

    return jax.jit(program)


def compiled(function, *arrays):
    """What a function of arrays returns, in NumPy: one program on JAX.

    There, operations one by one are a program each for every shape, and compiling is the time that
    tests take. Weights are constants in it, and what it assigns to them is forgotten.
    """
    arrays = [np.asarray(x, "float32") for x in arrays]
    if keras.backend.backend() == "jax":
        function = _jax_program(function)
    return keras.tree.map_structure(numpy, function(*map(tensor, arrays)))


@functools.lru_cache(maxsize=32)
def _jax_gradient(function, inputs):
    import jax

    return jax.jit(jax.grad(function, argnums=tuple(range(inputs))))


def gradient(function, *inputs):
    """The gradient of a scalar function in its inputs, as NumPy: one, or a list for several."""
    arrays = [np.asarray(x, "float32") for x in inputs]
    backend = keras.backend.backend()
    if backend == "jax":
        found = _jax_gradient(function, len(arrays))(*arrays)
    elif backend == "torch":
        import torch

        tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
        found = torch.autograd.grad(function(*tensors), tensors)
    else:
        import tensorflow as tf

        tensors = [tf.Variable(x) for x in arrays]
        with tf.GradientTape() as tape:
            value = function(*(tf.identity(t) for t in tensors))
        found = tape.gradient(value, tensors)
    found = [numpy(g) for g in found]
    return found[0] if len(found) == 1 else found


@functools.cache
def _jax_answer():
    import jax

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def program(likelihood, question, state, parameters, *given):
        with keras.StatelessScope(list(zip(likelihood.variables, state, strict=True))):
            return getattr(likelihood.distribution(parameters), question)(*given)

    return program


def answer(likelihood, question, parameters, *given):
    """What the distribution at parameters says: one program on JAX, as in `compiled`."""
    arrays = [tensor(x) for x in (parameters, *given)]
    if keras.backend.backend() == "jax":
        state = [v.value for v in likelihood.variables]
        return numpy(_jax_answer()(likelihood, question, state, *arrays))
    return numpy(getattr(likelihood.distribution(arrays[0]), question)(*arrays[1:]))


def log_prob(likelihood, x, parameters, training=False):
    """log p(x) `(...)` of x `(n, *x_shape)` at parameters `(..., n, *parameter_shape)`."""
    if training:  # which may change what the likelihood keeps
        return numpy(likelihood.distribution(tensor(parameters), training).log_prob(tensor(x)))
    return answer(likelihood, "log_prob", parameters, x)


def mean(likelihood, parameters):
    return answer(likelihood, "mean", parameters)


def sample(likelihood, parameters, rng, x_shape=None):
    """A draw for each row of parameters `(n, *parameter_shape)`; x's shape is theirs or given."""
    x_shape = np.shape(parameters)[1:] if x_shape is None else x_shape
    u = uniforms(rng, (len(parameters), *likelihood.uniforms_shape(x_shape)))
    return answer(likelihood, "sample", parameters, u)
