"""Networks as lists of a few instructions, which a page can follow without Keras.

A tape is made by playing a network once on symbols; `run` follows it in NumPy, and the page's
`engine.js` in JavaScript. Values are rows of numbers, `(n, *shape)`, laid out flat.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from keras import ops

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + scipy.special.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * scipy.special.expit(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "tanh": np.tanh,
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(x, 0),
    "log1p": np.log1p,
}


class Value(NamedTuple):
    """A symbol on a tape: which register holds it, and its shape without the rows."""

    register: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape)


class Arrays:
    """The weights of all tapes, each once."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._places: dict[int, tuple[int, Any]] = {}  # by identity, of what is kept alive

    def place(self, array: Any) -> int:
        """The number of an array, or of a Keras variable, which is kept if it is new."""
        if id(array) not in self._places:
            self._places[id(array)] = len(self.arrays), array
            self.arrays.append(np.asarray(ops.convert_to_numpy(array), "float32"))
        return self._places[id(array)][0]


@dataclasses.dataclass
class Tape:
    """A list of instructions from named inputs to named outputs.

    Args:
        arrays: Where weights are kept.

    Attributes:
        inputs: Register of each input.
        outputs: Register of each output.
        steps: The instructions, `[name, register of the result, ...]`.
        sizes: How many numbers a row of each register has.
    """

    arrays: Arrays
    inputs: dict[str, int] = dataclasses.field(default_factory=dict)
    outputs: dict[str, int] = dataclasses.field(default_factory=dict)
    steps: list[list[Any]] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The tape in values that JSON has."""
        return {name: getattr(self, name) for name in ("inputs", "outputs", "steps", "sizes")}

    def input(self, name: str, shape: tuple[int, ...]) -> Value:
        """An input of this name; the same symbol if it is asked for twice."""
        if name not in self.inputs:
            self.inputs[name] = self._register(shape).register
        return Value(self.inputs[name], shape)

    def output(self, name: str, value: Value) -> None:
        """Name a result."""
        self.outputs[name] = value.register

    def dense(self, value: Value, kernel: Any, bias: Any = None) -> Value:
        """value @ kernel + bias, on the last axis."""
        *places, width = value.shape
        units = int(kernel.shape[-1])
        return self._step(
            "dense", (*places, units), value, *self._weights(kernel, bias), width, units
        )

    def convolution(self, value: Value, kernel: Any, bias: Any = None) -> Value:
        """A convolution that keeps the size, by a kernel of odd sizes `(*sizes, from, to)`."""
        *sizes, channels = value.shape
        units = int(kernel.shape[-1])
        spans = [*[1] * (2 - len(sizes)), *map(int, kernel.shape[:-2])]
        area = [*[1] * (2 - len(sizes)), *sizes]
        weights = self._weights(kernel, bias)
        return self._step("conv", (*sizes, units), value, *weights, area, spans, channels, units)

    def activation(self, value: Value, name: str) -> Value:
        """One of `ACTIVATIONS`, or "linear"."""
        return value if name == "linear" else self._step("activation", value.shape, value, name)

    def add(self, value: Value, other: Value) -> Value:
        """value + other; the other may lack the axes between the rows and the last one."""
        return self._step("add", value.shape, value, other.register, value.size // other.size)

    def concatenate(self, values: list[Value]) -> Value:
        """Flat rows side by side."""
        if len(values) == 1:
            return self.reshape(values[0], (values[0].size,))
        parts = [value.register for value in values]
        sizes = [value.size for value in values]
        return self._append("concatenate", (sum(sizes),), parts, sizes)

    def cut(self, value: Value, start: int, stop: int) -> Value:
        """Part of the last axis."""
        *places, width = value.shape
        return self._step("cut", (*places, stop - start), value, start, stop, width)

    def crop(self, value: Value, sizes: tuple[int, ...]) -> Value:
        """The first places of each axis but the last."""
        *places, channels = value.shape
        if tuple(places) == tuple(sizes):
            return value
        before, after = ([*[1] * (2 - len(s)), *s] for s in (places, list(sizes)))
        return self._step("resize", (*sizes, channels), value, before, after, channels)

    def pad(self, value: Value, sizes: tuple[int, ...]) -> Value:
        """Zeros behind each axis but the last, up to these sizes."""
        return self.crop(value, sizes)

    def fold(self, value: Value) -> Value:
        """Space to depth: halve each axis but the last, which grows."""
        *sizes, channels = value.shape
        halves = tuple(size // 2 for size in sizes)
        rank = len(sizes)
        return self._step("fold", (*halves, 2**rank * channels), value, list(halves), channels)

    def unfold(self, value: Value) -> Value:
        """Depth to space: undo `fold`."""
        *sizes, channels = value.shape
        left = channels // 2 ** len(sizes)
        return self._step("unfold", (*(2 * size for size in sizes), left), value, sizes, left)

    def standardise(self, value: Value, mean: Any, scale: Any) -> Value:
        """(value - mean) / scale, on the last axis; the numbers stand in the step, unrounded."""
        lists = (ops.convert_to_numpy(one).tolist() for one in (mean, scale))
        return self._step("standardise", value.shape, value, *lists)

    def normalise(self, value: Value) -> Value:
        """value / sqrt(mean(value^2) + 1e-6), over the last axis."""
        return self._step("normalise", value.shape, value, value.shape[-1])

    def soften(self, value: Value, limit: float) -> Value:
        """limit tanh(value / limit)."""
        return self._step("soften", value.shape, value, limit)

    def constant(self, array: Any) -> Value:
        """The same numbers `(1, size)` in each row."""
        return self._append("constant", (int(array.shape[-1]),), self.arrays.place(array))

    def reshape(self, value: Value, shape: tuple[int, ...]) -> Value:
        """The same numbers under another shape."""
        return Value(value.register, tuple(shape))

    def _weights(self, *weights: Any) -> list[int]:
        return [-1 if weight is None else self.arrays.place(weight) for weight in weights]

    def _register(self, shape: tuple[int, ...]) -> Value:
        self.sizes.append(math.prod(shape))
        return Value(len(self.sizes) - 1, tuple(shape))

    def _step(self, name: str, shape: tuple[int, ...], value: Value, *rest: Any) -> Value:
        return self._append(name, shape, value.register, *rest)

    def _append(self, name: str, shape: tuple[int, ...], *rest: Any) -> Value:
        result = self._register(shape)
        self.steps.append([name, result.register, *rest])
        return result


def run(
    tape: Tape, arrays: list[np.ndarray], given: Mapping[str, np.ndarray], n: int
) -> dict[str, Any]:
    """Follow a tape in NumPy.

    Args:
        tape: The tape.
        arrays: Its weights, as they are or rounded.
        given: The inputs by name, each `(n, size)`.
        n: How many rows there are.

    Returns:
        The outputs by name, each `(n, size)`.
    """
    registers: dict[int, np.ndarray] = {
        place: np.asarray(given[name], "float32").reshape(n, -1)
        for name, place in tape.inputs.items()
    }

    def weight(place: int) -> Any:
        return 0.0 if place < 0 else arrays[place]

    for name, result, *rest in tape.steps:
        if name == "concatenate":
            out = np.concatenate([registers[one] for one in rest[0]], axis=1)
        elif name == "constant":
            out = np.repeat(weight(rest[0]).reshape(1, -1), n, axis=0)
        else:
            out = _STEPS[name](registers, weight, registers[rest[0]], *rest[1:])
        registers[result] = np.asarray(out, "float32").reshape(n, -1)
    return {name: registers[place] for name, place in tape.outputs.items()}


def _dense(_: Any, weight: Any, x: Any, kernel: int, bias: int, width: int, units: int) -> Any:
    return x.reshape(-1, width) @ weight(kernel).reshape(width, units) + weight(bias)


def _conv(
    _: Any, weight: Any, x: Any, kernel: int, bias: int, area: Any, spans: Any, c: int, units: int
) -> Any:
    (height, width), (tall, wide) = area, spans
    around = ((0, 0), (tall // 2, tall // 2), (wide // 2, wide // 2), (0, 0))
    x = np.pad(x.reshape(-1, height, width, c), around)
    taps = weight(kernel).reshape(tall, wide, c, units)
    out = weight(bias)
    for i in range(tall):
        for j in range(wide):
            out = out + x[:, i : i + height, j : j + width] @ taps[i, j]
    return out


def _add(registers: Any, _: Any, x: Any, other: int, places: int) -> Any:
    return x + np.tile(registers[other], (1, places))


def _cut(_: Any, __: Any, x: Any, start: int, stop: int, width: int) -> Any:
    return x.reshape(-1, width)[:, start:stop]


def _resize(_: Any, __: Any, x: Any, before: Any, after: Any, channels: int) -> Any:
    out = np.zeros((len(x), *after, channels), "float32")
    height, width = (min(pair) for pair in zip(before, after, strict=True))
    out[:, :height, :width] = x.reshape(-1, *before, channels)[:, :height, :width]
    return out


def _fold(_: Any, __: Any, x: Any, halves: Any, channels: int) -> Any:
    rank = len(halves)
    x = x.reshape(-1, *(n for half in halves for n in (half, 2)), channels)
    return x.transpose(0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)


def _unfold(_: Any, __: Any, x: Any, sizes: Any, channels: int) -> Any:
    rank = len(sizes)
    x = x.reshape(-1, *sizes, *[2] * rank, channels)
    pairs = (axis for i in range(1, rank + 1) for axis in (i, rank + i))
    return x.transpose(0, *pairs, 2 * rank + 1)


_STEPS: dict[str, Callable[..., Any]] = {
    "dense": _dense,
    "conv": _conv,
    "activation": lambda _, __, x, name: ACTIVATIONS[name](x),
    "add": _add,
    "cut": _cut,
    "resize": _resize,
    "fold": _fold,
    "unfold": _unfold,
    "standardise": lambda _, __, x, mean, scale: (
        (x.reshape(-1, len(mean)) - np.asarray(mean, "float32")) / np.asarray(scale, "float32")
    ),
    "normalise": lambda _, __, x, width: (
        x / np.sqrt(np.square(x).reshape(-1, width).mean(axis=1, keepdims=True) + 1e-6)
    ),
    "soften": lambda _, __, x, limit: limit * np.tanh(x / limit),
}
