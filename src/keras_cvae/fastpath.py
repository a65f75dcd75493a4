"""Many training steps in one compiled program: what `fit` and `evaluate` do on JAX where they can.

Keras runs one compiled step for each batch, and prepares each batch on the host. Here the data lies
on the device as the bytes that it was stored in, and one program runs as many steps as take about
`SECONDS`: it gathers the rows of a batch, makes them numbers, draws the binarised pixels, and calls
the model's own `train_step`. Keras' loop around it stays: callbacks hear of every step, metrics are
means over the epoch, and the numbers are those of the plain path.

The only module that imports a backend.
"""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

SECONDS = 0.4  # of training between two looks at the clock, the callbacks and Ctrl-C
STEPS = 128  # likewise, on an accelerator: at most
MEMORY = 0.5  # of what is free on the device, for data


# ---------------------------------------------------------------------------------------------
# Binarisation


def binarized(x, rows, key, xp: Any = np):
    """x ~ Bernoulli(x) as float32, by a counter-based generator.

    A pixel's draw is a function of the key, the row and the pixel alone, so it does not matter who
    computes it, in which order or how many at once: NumPy and JAX agree bit for bit. The
    probability is right to 2^-16, and exact for 0 and 1.

    Args:
        x: `(m, ...)`, bytes that stand for 0..1, or floats within 0..1.
        rows: Numbers of these examples in their data set, `(m,)`.
        key: Two uint32, `(2,)`.
        xp: NumPy, or what looks like it.
    """
    flat = x.reshape((x.shape[0], -1))
    width = flat.shape[1]
    rows = rows.astype(np.uint32)[:, None]
    first, second = _mixed(rows ^ key[0]), _mixed(_mixed(rows + _GOLDEN) ^ key[1])
    counter = xp.arange(-(-width // 2), dtype=np.uint32)[None] * _GOLDEN
    words = _mixed(_mixed(counter + first) ^ second)
    uniform = xp.concatenate([words & np.uint32(0xFFFF), words >> np.uint32(16)], 1)[:, :width]
    if flat.dtype == np.uint8:
        below = uniform * np.uint32(255) < flat.astype(np.uint32) << np.uint32(16)
    else:
        below = (uniform.astype(np.float32) + np.float32(0.5)) * np.float32(2**-16) < flat
    return below.astype(np.float32).reshape(x.shape)


def moved(x, rows, how, xp: Any = np):
    """Pictures moved by whole pixels; what leaves the frame is lost, what enters it is 0.

    Counter-based like `binarized`: where a picture goes is a function of `how` and its row alone.

    Args:
        x: `(m, height, width, channels)`.
        rows: Numbers of these pictures in their data set, `(m,)`.
        how: Four uint32: a key of two, the pixels at most along each axis, and the share of the
            pictures that are moved, times 2^16.
        xp: NumPy, or what looks like it.
    """
    reach, share = how[2], how[3]
    word = _mixed(_mixed(rows.astype(np.uint32) ^ how[1]) + how[0])
    stays, side = word >> np.uint32(16) >= share, 2 * reach + np.uint32(1)
    word = _mixed(word + _GOLDEN)
    inside = xp.ones((len(x), 1, 1, 1), bool)
    for axis, draw in ((1, word & np.uint32(0xFFFF)), (2, word >> np.uint32(16))):
        by = xp.where(stays, 0, (draw % side).astype(np.int32) - reach.astype(np.int32))
        n, others = x.shape[axis], tuple({1, 2, 3} - {axis})
        place = xp.expand_dims(xp.arange(n, dtype=np.int32) - by[:, None], others)
        inside = inside & (place >= 0) & (place < n)
        x = xp.take_along_axis(x, xp.clip(place, 0, n - 1), axis)
    return xp.where(inside, x, xp.zeros((), x.dtype))


_GOLDEN = np.uint32(0x9E3779B9)


def _mixed(h):
    """A 32-bit integer hash without measurable bias (Wellons' lowbias32)."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


def _unit(x):
    """Bytes / 255 as NumPy rounds it; XLA's own division is up to one ulp off on a CPU."""
    x = x.astype(np.float32)
    return x * _HEAD + x * _TAIL


_HEAD = np.float32(0x010101 * 2**-24)  # x * _HEAD is exact for a byte x
_TAIL = np.float32(1 / 255 - 0x010101 * 2**-24)


# ---------------------------------------------------------------------------------------------
# Data


def _nothing() -> None:
    return None


@dataclass(frozen=True, eq=False)
class Stored:
    """Data as it is stored, and how an epoch goes through it.

    Attributes:
        x: `(n, *x_shape)`; bytes stand for 0..1.
        batch_size: Examples per step; the last step of an epoch may have fewer.
        y: The condition, one for each x: an array, a dictionary of them, or None.
        weight: `(n,)`, or None.
        known: In place of y, what is known of every x, booleans `x_shape`: y is x with NaN
            elsewhere.
        order: Called once an epoch: the rows in the order of this epoch, `(n,)`, or None as they
            lie.
        key: Called once an epoch: the key of `binarized`, or None where x is taken as it is.
        move: Called once an epoch: how x is `moved`, or None where it is not.
        begin: Called before an epoch, as `keras.utils.PyDataset.on_epoch_begin` is.
        end: Likewise, after it.
    """

    x: np.ndarray
    batch_size: int
    y: Any = None
    weight: np.ndarray | None = None
    known: np.ndarray | None = None
    order: Callable[[], np.ndarray | None] = _nothing
    key: Callable[[], np.ndarray | None] = _nothing
    move: Callable[[], np.ndarray | None] = _nothing
    begin: Callable[[], None] = _nothing
    end: Callable[[], None] = _nothing

    def arrays(self) -> list[np.ndarray]:
        """All that lies on the device."""
        parts = keras.tree.flatten((self.x, self.y, self.weight))
        return [part for part in parts if part is not None]


class _Steps(keras.utils.PyDataset):
    """What Keras' loop is told of the data: how many steps an epoch has, and when one begins."""

    def __init__(self, stored: Stored):
        super().__init__()
        self.stored = stored

    def __len__(self) -> int:
        return math.ceil(len(self.stored.x) / self.stored.batch_size)

    def on_epoch_begin(self) -> None:
        self.stored.begin()

    def on_epoch_end(self) -> None:
        self.stored.end()


# ---------------------------------------------------------------------------------------------
# The program


class UntrackedState:
    """A mixin for models whose steps are short: one attribute of theirs holds no layers.

    On JAX, Keras keeps the state of training here at every step, and would search all of it.
    """

    def __setattr__(self, name, value):
        if name == "_jax_state":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


class Fused:
    """The compiled programs of one model; `compile` makes a new one.

    Args:
        model: A compiled model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._programs: dict[str, Callable] = {}
        self.ahead = {"train": 1, "test": 1}  # steps at once

    def program(self, kind: str) -> Callable:
        """The program that runs `train_step` or `test_step`, compiled once for each size."""
        if kind not in self._programs:
            import jax

            run = partial(_run, self.model, getattr(self.model, f"{kind}_step"))
            # A GPU stops at every step to ask the host whether it was the last, unless it knows.
            fixed = ("count",) if accelerated() else ()
            self._programs[kind] = jax.jit(
                run, static_argnames=("batch_size", "size", "shape", *fixed), donate_argnums=0
            )
        return self._programs[kind]


def _run(
    model, step, state, data, known, order, key, move, first, *, count, batch_size, size, shape
):
    """`count` steps of an epoch from `first`, of `size` rows each; the state after, and logs."""
    import jax
    from jax import lax

    def taken(arrays, start, rows):
        def take(array):
            if rows is None:
                return lax.dynamic_slice_in_dim(array, start, size)
            return array.at[rows].get()

        return jax.tree.map(take, arrays)

    def body(i, state):
        start = (first + i) * batch_size
        rows = None if order is None else lax.dynamic_slice_in_dim(order, start, size)
        x, y, weight = taken(data, start, rows)
        numbers = start + jax.numpy.arange(size) if rows is None else rows
        if move is not None:
            x = moved(x.reshape((size, *shape)), numbers, move, jax.numpy).reshape(x.shape)
        if key is not None:
            x = binarized(x, numbers, key, jax.numpy)
        elif x.dtype == np.uint8:
            x = _unit(x)
        x = x.reshape((size, *shape))
        y = y if known is None else jax.numpy.where(known, x, np.float32(np.nan))
        # The step is compiled as on the plain path: not fused with what is around it.
        _, state = step(*lax.optimization_barrier((state, (x, y, weight))))
        return state

    state = lax.fori_loop(0, count, body, state)
    with keras.StatelessScope(zip(model.metrics_variables, state[-1], strict=True)):
        return state, model.get_metrics_result()


class _Function:
    """Stands for Keras' compiled step: called for each step, it runs many at once.

    Args:
        fused: The programs.
        kind: "train" or "test".
        stored: The data.
    """

    def __init__(self, fused: Fused, kind: str, stored: Stored):
        import jax

        self.program, self.kind, self.stored = fused.program(kind), kind, stored
        self.per_call = fused.model.steps_per_execution
        flat = stored.x.reshape(len(stored.x), -1)  # gathers rows faster than pictures
        self.data = jax.device_put((flat, stored.y, stored.weight))
        self.known = jax.device_put(stored.known)
        self.steps = len(_Steps(stored))
        self.iterator: Any = None
        self.fused, self.compiled = fused, False

    def __call__(self, state, iterator):
        if iterator is not self.iterator:  # Keras makes one for each epoch
            self.iterator, self.called, self.done = iterator, 0, 0
            self.of_epoch = self.stored.order(), self.stored.key(), self.stored.move()
        self.called += self.per_call
        while self.done < min(self.called, self.steps):
            state = self._advance(state)
        return self.logs, state

    def _advance(self, state):
        batch_size, n = self.stored.batch_size, len(self.stored.x)
        whole, first = n // batch_size, self.done
        size = batch_size if first < whole else n % batch_size
        count = self._count(first, whole)
        self.done = first + count
        began = time.perf_counter()
        state, logs = self.program(
            state,
            self.data,
            self.known,
            *self.of_epoch,
            first,
            count=count,
            batch_size=batch_size,
            size=size,
            shape=self.stored.x.shape[1:],
        )
        self.logs = {name: float(value) for name, value in logs.items()}  # waits for the steps
        if size == batch_size:
            if self.compiled:
                rate = count / (time.perf_counter() - began)
                ahead = min(4 * self.fused.ahead[self.kind], int(SECONDS * rate))
                self.fused.ahead[self.kind] = max(1, ahead)
            self.compiled = True
        return state

    def _count(self, first: int, whole: int) -> int:
        """How many steps the next call runs, of an epoch with so many whole batches."""
        if first >= whole:
            return 1  # the smaller last batch
        most = _even_part(whole, STEPS) if accelerated() else self.fused.ahead[self.kind]
        return min(most, whole - first)


def _even_part(n: int, most: int) -> int:
    """The largest part of n, of at most `most`, that leaves no rest; `most` if all are small."""
    whole = max(part for part in range(1, min(n, most) + 1) if n % part == 0)
    return whole if 4 * whole >= min(n, most) else most


def flush_denormals() -> None:
    """On PyTorch, for the process: count numbers below 1e-38 as 0; Adam's state is full of them.

    CPUs take many times as long for them; XLA and TensorFlow flush them anyhow.
    """
    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


# ---------------------------------------------------------------------------------------------
# The device


@functools.cache
def accelerated() -> bool:
    """Whether the backend computes on a GPU or TPU: few large kernels there, caches on a CPU."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    return False


# ---------------------------------------------------------------------------------------------
# Where it applies


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
        given |= {"x": _Steps(train), "y": None, "sample_weight": None}
        given |= {"batch_size": None, "shuffle": False, "validation_batch_size": rest}
    if test:
        given |= {"validation_data": _Steps(test), "validation_batch_size": None}
    with _installed(fused, train=train, test=test):
        yield given


@contextlib.contextmanager
def evaluating(fused: Fused, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Likewise for `evaluate`; within `fit` there is nothing left to do."""
    applies = _possible(fused.model) and not given.get("_use_cached_eval_dataset")
    if applies and not given.get("steps") and not _needs_each_batch(given.get("callbacks")):
        test = _stored(given, False)
        if test:
            given = given | {"x": _Steps(test), "y": None, "sample_weight": None}
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
        setattr(model, name, _Function(fused, kind, data[kind]))
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
        order: Callable = _nothing
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
