"""NumPy in, NumPy out, on whichever backend runs."""

import keras
import numpy as np

from keras_cvae.inference.drawing import uniforms


def tensor(x, dtype="float32"):
    return keras.ops.convert_to_tensor(x, dtype)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def compiled(function, *arrays):
    """What a function of arrays returns, in NumPy: one program on JAX.

    There, operations one by one are a program each for every shape, and compiling is the time that
    tests take. Weights are constants in it: none may be assigned by the function.
    """
    arrays = [np.asarray(x, "float32") for x in arrays]
    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(function)
    return keras.tree.map_structure(numpy, function(*map(tensor, arrays)))


def gradient(function, *inputs):
    """The gradient of a scalar function in its inputs, as NumPy: one, or a list for several."""
    arrays = [np.asarray(x, "float32") for x in inputs]
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        found = jax.grad(function, argnums=tuple(range(len(arrays))))(*arrays)
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


def log_prob(likelihood, x, parameters, training=False):
    """log p(x) `(...)` of x `(n, *x_shape)` at parameters `(..., n, *parameter_shape)`."""
    return numpy(likelihood.distribution(tensor(parameters), training).log_prob(tensor(x)))


def mean(likelihood, parameters):
    return numpy(likelihood.distribution(tensor(parameters)).mean())


def sample(likelihood, parameters, rng, x_shape=None):
    """A draw for each row of parameters `(n, *parameter_shape)`; x's shape is theirs or given."""
    x_shape = np.shape(parameters)[1:] if x_shape is None else x_shape
    u = uniforms(rng, (len(parameters), *likelihood.uniforms_shape(x_shape)))
    return numpy(likelihood.distribution(tensor(parameters)).sample(tensor(u)))
