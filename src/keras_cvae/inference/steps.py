"""Compiled steps: what is computed with a model's weights, without changing or risking them.

A step is a pure function of a model and a dictionary of arrays. It runs on the values that the
weights had at one moment, so it may run in any thread, beside a training, and be interrupted.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae import errors
from keras_cvae.backend import closing_scopes, compiled, snapshot
from keras_cvae.trees import count, take

Step = Callable[[Any, dict[str, Any]], Any]

EXAMPLES = 64  # examples that share one compiled call; part of what defines the noise of a seed


class Work(NamedTuple):
    """A step with what it is to be given; rows of several with the same step and shared inputs can
    be computed together.

    Args:
        step: The step.
        inputs: Arrays, or dictionaries of them, with a row for each row of the answer.
        shared: Inputs that are the same for all rows.
    """

    step: Step
    inputs: dict[str, Any]
    shared: dict[str, Any]


class Programs:
    """The compiled steps of one model. They hold no weights: these are an argument.

    Args:
        model: Any Keras model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._programs: dict[Step, Callable[..., Any]] = {}
        self._compiled: set[tuple[Any, ...]] = set()
        self._lock = threading.RLock()

    def run(self, step: Step, values: list[Any], inputs: dict[str, Any]) -> Any:
        """The step's outputs; the first call with inputs of these shapes compiles it."""
        shapes = tuple((np.shape(leaf), str(leaf.dtype)) for leaf in keras.tree.flatten(inputs))
        key = (step, *sorted(inputs), *shapes)
        if key in self._compiled:
            return self._programs[step](values, inputs)
        with self._lock:  # several threads that ask at once compile once
            if step not in self._programs:
                self._programs[step] = compiled(self._pure(step))
            outputs = self._programs[step](values, inputs)
            self._compiled.add(key)
            return outputs

    def _pure(self, step: Step) -> Callable[..., Any]:
        @closing_scopes
        def run(values: Any, inputs: dict[str, Any]) -> Any:
            with keras.StatelessScope(
                list(zip(self.model.variables, values, strict=True)), initialize_variables=False
            ):
                return step(self.model, inputs)

        return run


class Snapshot:
    """The weights of a model at one moment: what is computed with them is consistent.

    Args:
        model: A `ConditionalVAE`, or one of its parts.
    """

    def __init__(self, model: Any):
        self.model = model
        self.variables, self.values = snapshot(model)

    def __call__(self, step: Step, inputs: dict[str, Any]) -> Any:
        """Run a step on one batch; the outputs may still be being computed."""
        return self.model.programs.run(step, self.values, inputs)

    def rows(
        self, step: Step, inputs: dict[str, Any], at_most: int, shared: dict[str, Any] | None = None
    ) -> Iterator[Any]:
        """Run a step on the rows of `inputs` batch by batch; yield its outputs as NumPy arrays.

        Args:
            step: The step; its outputs have a row for each row of `inputs`.
            inputs: Arrays, or dictionaries of them, of n rows each.
            at_most: Rows of a batch.
            shared: Inputs that every batch gets as they are.
        """
        n = count(inputs)
        size = batch_size(n, at_most)

        def batches() -> Iterator[tuple[int, dict[str, Any]]]:
            for start in range(0, n, size):
                there = min(size, n - start)
                filled = np.resize(np.arange(start, start + there), size)
                yield there, take(inputs, filled) | (shared or {})

        return self.each(step, batches())

    def each(self, step: Step, batches: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Any]:
        """Run a step on batches as they come; yield its outputs as NumPy arrays.

        Args:
            step: The step.
            batches: How many rows of its outputs count, and its inputs.
        """
        waiting = None
        for there, inputs in batches:
            outputs = self(step, inputs)
            if waiting is not None:  # fetched while the next batch is computed
                yield as_numpy(*waiting)
            waiting = outputs, there
        if waiting is not None:
            yield as_numpy(*waiting)

    def answer(self, work: Work, at_most: int) -> Any:
        """What a piece of work comes to, as NumPy arrays."""
        return self.whole(work.step, work.inputs, at_most, **work.shared)

    def whole(self, step: Step, inputs: dict[str, Any], at_most: int, **shared: Any) -> Any:
        """What `rows` yields, side by side."""
        return concatenated(list(self.rows(step, inputs, at_most, shared)))


def features(model: Any, inputs: dict[str, Any]) -> Any:
    """Features of the condition, or None; given already, if several draws share them."""
    if "features" in inputs:
        return inputs["features"]
    return model.condition.features(inputs.get("condition"))


def batch_size(n: int, at_most: int) -> int:
    """Rows of the batches that n rows are cut into, the last one filled up.

    Few sizes are ever used, because each is compiled: powers of two, or `at_most` itself. It is the
    largest that wastes an eighth or less; up to `EXAMPLES` rows, waste does not count.
    """
    if n <= min(EXAMPLES, at_most):
        return min(2 ** math.ceil(math.log2(n)), at_most)
    size = at_most
    while size > EXAMPLES and -n % size > n / 8:
        size = 2 ** (math.ceil(math.log2(size)) - 1)
    return size


def decoded_at_once(model: Any, batch_size: int | None = None) -> int:
    """How many z to decode at once; by default enough for fast products, few enough for caches."""
    if batch_size is not None:
        return errors.whole("batch_size", batch_size)
    size = math.prod(model.likelihood.parameter_shape(model.x_shape))
    return 2 ** int(math.log2(np.clip(2**21 // max(size, 1), EXAMPLES, 1024)))


def as_numpy(outputs: Any, rows: int | None = None) -> Any:
    """Outputs of a step as NumPy arrays, of which the first `rows` count."""
    return keras.tree.map_structure(lambda out: ops.convert_to_numpy(out)[:rows], outputs)


def concatenated(parts: list[Any]) -> Any:
    """Arrays, or structures of them, one after the other; they may be written to."""
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
