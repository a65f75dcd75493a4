"""Many training steps in one compiled program."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_cvae.backend import accelerated, divided_rows
from keras_cvae.data.hashed import binarized, moved, unit
from keras_cvae.data.stored import Checked, Stored
from keras_cvae.devices import Rows, exchanged, joined
from keras_cvae.fused.applies import StepByStep

SECONDS = 0.4  # of training between two looks at the clock, the callbacks and Ctrl-C
STEPS = 128  # at most, between two such looks on an accelerator

logger = logging.getLogger(__name__)


class Fused:
    """The compiled programs of one model, and the data that they run on at present.

    Args:
        model: A compiled model; `compile` makes a new `Fused`.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.ahead = {"train": 1, "test": 1}  # steps at once
        self._programs: dict[str, Callable] = {}
        self.feeds: dict[str, FusedFunction | None] = {}
        self.made = 0  # steps of the epoch that begins, which an earlier training made
        self.to_pass = 0  # calls for these, which are still to come
        self.logs: dict[str, float] = {}  # after these

    def program(self, kind: str) -> Callable:
        """The program that runs `train_step` or `test_step`, compiled once for each size."""
        if kind not in self._programs:
            import jax

            kept = self.model.state_shardings(kind)  # of logs and state; here the state comes first
            run = partial(_run, self.model, getattr(self.model, f"{kind}_step"), divided_rows())
            # A GPU stops at every step to ask the host whether it was the last, unless it knows.
            fixed = ("count",) if accelerated() else ()
            self._programs[kind] = jax.jit(
                run,
                static_argnames=("batch_size", "size", "shape", *fixed),
                out_shardings=kept and kept[::-1],
            )
        return self._programs[kind]

    def feed(self, **found: Stored | StepByStep | None) -> None:
        """Run many steps at once of what is `Stored`, for "train" or "test", till `feeds` is reset.

        What resets it is a plain `finally` in the caller: an interrupt may fall into the entry of a
        context manager, and its exit is never called then.
        """
        for kind, data in found.items():
            if isinstance(data, StepByStep):
                logger.debug("%s: steps run one by one, because %s", kind, data.value)
        self.feeds = self.feeds | {
            kind: FusedFunction(self, kind, data) if isinstance(data, Stored) else None
            for kind, data in found.items()
        }

    def around(self, kind: str, step: Callable) -> Callable:
        """What Keras calls for each step of a kind: many at once where there is data for it."""

        def function(*args: Any) -> Any:
            feed = self.feeds.get(kind)
            if kind == "train" and self.to_pass:
                return self._passed(args, feed is None)
            return (feed or step)(*args)

        return function

    def resume(self, steps: int) -> None:
        """Pass over so many steps of the epoch that begins: they are in the model's metrics."""
        self.made, self.to_pass = steps, math.ceil(steps / self.model.steps_per_execution)
        self.logs = {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def _passed(self, args: tuple, plain: bool) -> Any:
        """What a step gives that was made before."""
        self.to_pass -= 1
        *state, data = args
        if plain and hasattr(data, "__next__"):  # PyTorch's loop has taken the batch itself
            for _ in range(self.model.steps_per_execution):
                next(data, None)
        return (self.logs, *state) if state else self.logs


def _run(
    model: keras.Model,
    step: Callable,
    divided: Rows | None,
    state: Any,
    data: Any,
    known: Any,
    order: Any,
    key: Any,
    move: Any,
    first: Any,
    *,
    count: Any,
    batch_size: int,
    size: int,
    shape: tuple[int, ...],
) -> tuple[Any, dict[str, Any]]:
    """Run steps of an epoch, within a compiled program.

    Args:
        model: The model.
        step: Its `train_step` or `test_step`.
        divided: How the rows of a batch are divided among devices, if there are several.
        state: What the step updates, as Keras' trainer has it.
        data: x `(n, size of x)`, y and weights, on the device.
        known: As in `Stored`.
        order: Rows in the order of this epoch, `(n,)`, or None.
        key: Of the binarisation, or None.
        move: How x is moved, or None.
        first: Number of the first step within the epoch.
        count: How many steps.
        batch_size: Examples in a whole batch.
        size: Examples in each of these steps.
        shape: Of one x.

    Returns:
        The state after the steps, and the metrics of the epoch so far.
    """
    import jax
    from jax import lax

    def taken(arrays: Any, start: Any, rows: Any) -> Any:
        def take(array: Any) -> Any:
            if rows is None:
                return lax.dynamic_slice_in_dim(array, start, size)
            return array.at[rows].get()

        return jax.tree.map(take, arrays)

    def body(i: Any, state: Any) -> Any:
        start = (first + i) * batch_size
        rows = None if order is None else lax.dynamic_slice_in_dim(order, start, size)
        x, y, weight = taken(data, start, rows)
        numbers = start + jax.numpy.arange(size) if rows is None else rows
        if move is not None:
            x = moved(x.reshape((size, *shape)), numbers, move, jax.numpy).reshape(x.shape)
        if key is not None:
            x = binarized(x, numbers, key, jax.numpy)
        elif x.dtype == np.uint8:
            x = unit(x)
        x = x.reshape((size, *shape))
        y = y if known is None else jax.numpy.where(known, x, np.float32(np.nan))
        batch = Checked(x, y, weight)
        if divided is not None:
            batch = lax.with_sharding_constraint(batch, divided.of(size))
        # The step is compiled as on the plain path: not fused with what is around it.
        _, state = step(*lax.optimization_barrier((state, batch)))
        return state

    state = lax.fori_loop(0, count, body, state)
    with keras.StatelessScope(zip(model.metrics_variables, state[-1], strict=True)):
        return state, model.get_metrics_result()


class FusedFunction:
    """Runs a block of steps when Keras calls it for the first of them, and nothing for the others.

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
        divided = divided_rows()
        place = None if divided is None else divided.whole
        rows = joined()
        put = partial(jax.device_put, device=place) if rows is None else rows.everywhere
        self.data = put((flat, stored.y, stored.weight))
        self.known = put(stored.known)
        self.batch_size = min(stored.batch_size, len(stored.x))
        self.steps = math.ceil(len(stored.x) / self.batch_size)
        self.iterator: Any = None
        self.fused, self.compiled = fused, False

    def __call__(self, state: Any, iterator: Any) -> tuple[dict[str, float], Any]:
        if iterator is not self.iterator:  # Keras makes one for each epoch
            made, self.fused.made = (self.fused.made, 0) if self.kind == "train" else (0, 0)
            self.iterator, self.called, self.done = iterator, made, made
            self.of_epoch = self.stored.order(), self.stored.key(), self.stored.move()
        self.called += self.per_call
        while self.done < min(self.called, self.steps):
            state = self._advance(state)
        return self.logs, state

    def _advance(self, state: Any) -> Any:
        """Run the next block of steps; return the state after it."""
        batch_size, n = self.batch_size, len(self.stored.x)
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
                # Processes that have joined run as many: as the first one measures.
                self.fused.ahead[self.kind] = int(exchanged([max(1, ahead)])[0, 0])
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
