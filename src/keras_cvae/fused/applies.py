"""Many training steps in one compiled program: what `fit` and `evaluate` do on JAX where they can.

Keras runs one compiled step for each batch, and prepares each batch on the host. Here the data lies
on the device as the bytes that it was stored in, and one program runs as many steps as take about
`SECONDS`: it gathers the rows of a batch, makes them numbers, draws the binarised pixels, and calls
the model's own `train_step`. Keras' loop around it stays: callbacks hear of every step, metrics are
means over the epoch, and the numbers are those of the plain path.

The only module that imports a backend.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_cvae.backend import accelerated
from keras_cvae.data.stored import Steps, Stored, nothing
from keras_cvae.fused.program import Fused, FusedFunction

MEMORY = 0.5  # of what is free on the device, for data


@contextlib.contextmanager
def fitting(fused: Fused, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Replace the data in the arguments of Keras' `fit`, and its functions, where that applies."""
    model = fused.model
    if not _possible(model) or _needs_each_batch(given.get("callbacks")):
        yield given
        return
    given = _held_out(given)
    batch_size, validation = given.get("batch_size"), given.get("validation_data")
    steps = given.get("steps_per_epoch")
    plain = steps or given.get("class_weight") is not None or given.get("validation_split")
    plain = plain or _slow_in_a_loop(model)
    train = None if plain else _stored(given, True)
    test, rest = None, given.get("validation_batch_size") or batch_size
    if validation is not None and not given.get("validation_steps"):
        parts = validation if isinstance(validation, tuple | list) else (validation,)
        names = ("x", "y", "sample_weight")
        test = _stored(dict(zip(names, parts, strict=False)) | {"batch_size": rest}, False)
    given = dict(given)
    if train:
        given |= {"x": Steps(train), "y": None, "sample_weight": None}
        given |= {"batch_size": None, "shuffle": False, "validation_batch_size": rest}
    if test:
        given |= {"validation_data": Steps(test), "validation_batch_size": None}
    with _installed(fused, train=train, test=test):
        yield given


@contextlib.contextmanager
def evaluating(fused: Fused, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Likewise for `evaluate`; within `fit` there is nothing left to do."""
    applies = _possible(fused.model) and not given.get("_use_cached_eval_dataset")
    if applies and not given.get("steps") and not _needs_each_batch(given.get("callbacks")):
        test = _stored(given, False)
        if test:
            given = given | {"x": Steps(test), "y": None, "sample_weight": None}
            given |= {"batch_size": None}
            with _installed(fused, test=test):
                yield given
            return
    yield given


@contextlib.contextmanager
def _installed(fused: Fused, **stored: Stored | None) -> Iterator[None]:
    """Put these in the places of the model's compiled functions, for a while."""
    model = fused.model
    data = {kind: part for kind, part in stored.items() if part}
    names = {kind: f"{kind}_function" for kind in data}
    before = {name: getattr(model, name) for name in names.values()}
    for kind, name in names.items():
        setattr(model, name, FusedFunction(fused, kind, data[kind]))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(model, name, function)


def _possible(model: keras.Model) -> bool:
    """Whether this model, as it was compiled, can be run so."""
    return (
        keras.backend.backend() == "jax"
        and os.environ.get("KERAS_CVAE_FASTPATH", "1") != "0"
        and bool(model.compiled and model.jit_compile and not model.run_eagerly)
        and keras.distribution.distribution() is None
    )


_CONVOLUTIONS = tuple(kind for name, kind in vars(keras.layers).items() if "Conv" in name)


def _slow_in_a_loop(model: keras.Model) -> bool:
    """Whether a step is faster alone: on CPUs XLA computes the gradients of convolutions ten times
    slower within a loop (github.com/jax-ml/jax/issues/12868).
    """
    layers = model._flatten_layers()
    return not accelerated() and any(isinstance(x, _CONVOLUTIONS) for x in layers)


def _needs_each_batch(callbacks) -> bool:
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


def _held_out(given: dict[str, Any]) -> dict[str, Any]:
    """`validation_split` as Keras does it: the last part of the arrays."""
    part, x = given.get("validation_split"), given.get("x")
    if not part or given.get("validation_data") is not None or not isinstance(x, np.ndarray):
        return given
    at = math.floor(len(x) * (1 - part))
    if not 0 < at < len(x):
        return given  # Keras says what is wrong
    names = ("x", "y", "sample_weight")
    head, tail = (
        [_rows(given.get(name), part) for name in names] for part in (slice(at), slice(at, None))
    )
    held = {"validation_split": 0.0, "validation_data": tuple(tail)}
    return given | dict(zip(names, head, strict=True)) | held


def _rows(arrays: Any, part: slice) -> Any:
    """These rows of an array, or of each in a dictionary; None stays."""
    return (
        None
        if arrays is None
        else keras.tree.map_structure(lambda array: np.asarray(array)[part], arrays)
    )


def _stored(given: dict[str, Any], train: bool) -> Stored | None:
    """The data in these arguments, if it is an array or a `Batches` of one, and fits."""
    x, batch_size, shuffle = given.get("x"), given.get("batch_size"), given.get("shuffle", True)
    stored = None
    if isinstance(x, np.ndarray):
        order: Callable = nothing
        if train and shuffle is True:  # the draw that Keras makes, from the same stream

            def order():
                return np.random.permutation(len(x)).astype(np.int32)  # noqa: NPY002

        elif train and shuffle:
            return None
        y, weight = given.get("y"), given.get("sample_weight")
        weight = None if weight is None else np.asarray(weight, "float32")
        stored = Stored(x, batch_size or 32, y, weight, order=order)
    elif x is not None and hasattr(x, "stored") and batch_size is None and not (train and shuffle):
        stored = x.stored()
    if not stored or any(len(array) != len(stored.x) for array in stored.arrays()):
        return None  # Keras says what is wrong
    return stored if _fits(stored.arrays()) else None


def _fits(arrays: Sequence[np.ndarray]) -> bool:
    import jax

    needed = sum(array.nbytes for array in arrays)
    memory = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in memory:
        free = memory["bytes_limit"] - memory["bytes_in_use"]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return needed <= MEMORY * free
