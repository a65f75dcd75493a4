"""Whether `fit` and `evaluate` can run many steps as one program on JAX, and if not, why.

Keras runs one compiled step for each batch, and prepares each batch on the host. Here the data lies
on the device as the bytes that it was stored in, and one program runs as many steps as take about
`program.SECONDS`: it gathers the rows of a batch, makes them numbers, draws the binarised pixels,
and calls the model's own `train_step`. Keras' loop around it stays: callbacks hear of every step,
metrics are means over the epoch, and the numbers are those of the plain path.
"""

import enum
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_cvae.backend import accelerated, dividing_rows, layers_of
from keras_cvae.data.stored import Stored, nothing
from keras_cvae.devices import exchanged, joined

MEMORY = 0.5  # of what is free on the device, for data


class StepByStep(enum.Enum):
    """Why Keras' steps run one by one, in words."""

    BACKEND = "the backend is not JAX"
    SWITCHED_OFF = "KERAS_CVAE_FASTPATH is 0"
    UNCOMPILED = "the model runs eagerly, or with jit_compile=False"
    DISTRIBUTED = "a keras.distribution is one of its own, or divides other processes' rows"
    CALLBACK = "a callback looks at single batches and does not say async_safe = True"
    STEPS = "the number of steps is given"
    CONVOLUTIONS = "on a CPU, gradients of convolutions are slow in a loop"
    STREAM = "the data set makes its batches one by one"
    WORKERS = "the data set asks for workers that prepare its batches"
    SHUFFLE = "batches are shuffled as a whole"
    MEMORY = "the data do not fit the memory that is free on the device"


def decide(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    training: bool,
    batch_size: int | None = None,
    shuffle: bool | str = False,
    steps: int | None = None,
    callbacks: Any = None,
) -> Stored | StepByStep:
    """Decide whether many steps run as one program.

    Args:
        model: A compiled model.
        x: An array `(n, *x_shape)`, or a data set.
        y: With an array: the conditions, canonical.
        sample_weight: With an array: `(n,)`, or None.
        training: Whether it is learned from, not evaluated.
        batch_size: With an array; None stands for 32.
        shuffle: As in Keras' `fit`.
        steps: How many steps an epoch has, where the caller says so.
        callbacks: What hears of the steps.

    Returns:
        The data as the program takes them, or the reason why steps run one by one.
    """
    if reason := _against_model(model, training):
        return reason
    if steps:
        return StepByStep.STEPS
    if _needs_each_batch(callbacks):
        return StepByStep.CALLBACK
    if training and shuffle and (not isinstance(x, np.ndarray) or shuffle is not True):
        return StepByStep.SHUFFLE
    if isinstance(x, np.ndarray):
        order: Callable = nothing
        if training and shuffle:  # the draw that Keras makes, from the same stream

            def order() -> np.ndarray:
                return np.random.permutation(len(x)).astype(np.int32)  # noqa: NPY002

        weight = None if sample_weight is None else np.asarray(sample_weight, "float32")
        stored = Stored(x, batch_size or 32, y, weight, order=order)
    else:
        found = x.stored() if hasattr(x, "stored") else None
        if found is None:
            return StepByStep.STREAM
        if x.workers > 1:
            return StepByStep.WORKERS
        stored = found
    fit = exchanged([_fits(stored.arrays())])  # of every process, or none
    return stored if fit.all() else StepByStep.MEMORY


def _against_model(model: keras.Model, training: bool) -> StepByStep | None:
    """What speaks against it in the model, as it was compiled."""
    if keras.backend.backend() != "jax":
        return StepByStep.BACKEND
    if os.environ.get("KERAS_CVAE_FASTPATH", "1") == "0":
        return StepByStep.SWITCHED_OFF
    if not model.compiled or not model.jit_compile or model.run_eagerly:
        return StepByStep.UNCOMPILED
    if not joined() and keras.distribution.distribution() and not dividing_rows():
        return StepByStep.DISTRIBUTED
    if training and _slow_in_a_loop(model):
        return StepByStep.CONVOLUTIONS
    return None


_CONVOLUTIONS = tuple(kind for name, kind in vars(keras.layers).items() if "Conv" in name)


def _slow_in_a_loop(model: keras.Model) -> bool:
    """Whether a step is faster alone: on CPUs XLA computes the gradients of convolutions ten times
    slower within a loop (github.com/jax-ml/jax/issues/12868).
    """
    return not accelerated() and any(isinstance(x, _CONVOLUTIONS) for x in layers_of(model))


def _needs_each_batch(callbacks: Any) -> bool:
    """Whether a callback looks at the model after single steps.

    One that does not says so with `async_safe = True`, as to Keras itself.
    """
    return any(
        any(
            getattr(getattr(callback, hook), "__func__", None)
            is not getattr(keras.callbacks.Callback, hook)
            for kind in ("", "train_", "test_")
            for hook in (f"on_{kind}batch_begin", f"on_{kind}batch_end")
        )
        for callback in keras.tree.flatten(getattr(callbacks, "callbacks", callbacks))
        if callback is not None
        and not getattr(callback, "async_safe", False)
        and not isinstance(callback, keras.callbacks.ProgbarLogger | keras.callbacks.TerminateOnNaN)
        and "epoch" not in (getattr(callback, name, 0) for name in ("save_freq", "update_freq"))
    )


def _fits(arrays: Sequence[np.ndarray]) -> bool:
    import jax

    needed = sum(array.nbytes for array in arrays)
    memory = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in memory:
        free = memory["bytes_limit"] - memory["bytes_in_use"]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return needed <= MEMORY * free
