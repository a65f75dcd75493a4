"""What leaves the house: the steps of a model as graphs with named inputs and outputs."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import keras
import numpy as np

import keras_cvae
from keras_cvae.backend import layers_of, snapshot
from keras_cvae.conditions.spec import (
    CategoricalSpec,
    ConditionSpec,
    JointSpec,
    KnownPartSpec,
    OptionalSpec,
)
from keras_cvae.inference import drawing
from keras_cvae.inference.drawing import uniforms
from keras_cvae.inference.steps import Snapshot, as_numpy
from keras_cvae.trees import take

Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-5
CHECKED = 7  # examples that an export is compared on: a size that no layer has by chance


class ExportError(ValueError):
    """A model, or a part of it, that cannot be exported; the message says why."""


@dataclass(frozen=True)
class Input:
    """An input of a graph: `(batch, *shape)` of a dtype."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Graph:
    """A step of a model with flat inputs and outputs.

    Args:
        name: Its name.
        summary: What it computes, in a sentence.
        inputs: By name; those of a condition are "condition", or "condition.NAME" for each.
        outputs: Names.
        call: The step on tensors, in the order of the inputs; a tuple in the order of the outputs.
    """

    name: str
    summary: str
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    call: Callable[..., tuple[Any, ...]]


SUMMARIES = {
    "generate": "The mean of p(x | z, y) for z ~ p(z | y), made of standard normal noise.",
    "sample": "A draw from p(x | z, y) for z ~ p(z | y), made of noise and uniforms from (0, 1).",
    "encoder": "Mean and log variance of q(z | x, y).",
    "prior": "z ~ p(z | y), made of standard normal noise, and the normals that it comes from.",
    "decoder": "The mean of p(x | z, y) for z.",
    "style": "The noise of which p(z | y) makes z: what is left of z once y is known.",
}


def graphs(model: Any) -> dict[str, Graph]:
    """The graphs of a `ConditionalVAE`, by name; without a latent `generate` and `sample` alone."""
    latent = Input((model.latent_dim,))
    own: dict[str, tuple[dict[str, Input], tuple[str, ...], Any]] = {
        "generate": ({"noise": latent}, ("x",), drawing.means),
        "sample": (
            {"noise": latent, "uniforms": Input(model.likelihood.uniforms_shape(model.x_shape))},
            ("x",),
            drawing.samples,
        ),
        "encoder": ({"x": Input(model.x_shape)}, ("mean", "log_var"), _encoded),
        "prior": ({"noise": latent}, ("z", "mean", "log_var"), _prior),
        "decoder": ({"z": latent}, ("x",), drawing.decoded),
        "style": ({"z": latent}, ("noise",), drawing.styles),
    }
    if not model.latent_dim:
        own = {name: own[name] for name in ("generate", "sample")}
    condition = _condition_inputs(model)
    return {
        name: Graph(
            name, SUMMARIES[name], inputs | condition, outputs, _flat(model, step, tuple(inputs))
        )
        for name, (inputs, outputs, step) in own.items()
    }


def _encoded(model: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    out = model.encoder(inputs)
    return out["mean"], out["log_var"]


def _prior(model: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    out = model.prior(inputs)
    return out["z"], out["mean"], out["log_var"]


def _condition_inputs(model: Any) -> dict[str, Input]:
    symbols = model.condition.symbolic()
    named = {f"condition.{n}": s for n, s in symbols.items()} if isinstance(symbols, dict) else {}
    if symbols is not None and not named:
        named = {"condition": symbols}
    return {
        name: Input(tuple(one.shape[1:]), keras.backend.standardize_dtype(one.dtype))
        for name, one in named.items()
    }


def _flat(model: Any, step: Any, own: tuple[str, ...]) -> Callable[..., tuple[Any, ...]]:
    """The step as a function of tensors alone, in their order."""
    names = list(_condition_inputs(model))

    def call(*tensors: Any) -> tuple[Any, ...]:
        inputs: dict[str, Any] = dict(zip(own, tensors, strict=False))
        parts = tensors[len(own) :]
        if names == ["condition"]:
            inputs["condition"] = parts[0]
        elif names:
            short = (name.removeprefix("condition.") for name in names)
            inputs["condition"] = dict(zip(short, parts, strict=True))
        out = step(model, inputs)
        return out if isinstance(out, tuple) else (out,)

    return call


def answers(model: Any, graph: Graph, inputs: Arrays) -> list[np.ndarray]:
    """What Keras computes, output by output."""

    def step(_: Any, given: Arrays) -> list[Any]:
        return list(graph.call(*(given[name] for name in graph.inputs)))

    outputs: list[np.ndarray] = as_numpy(Snapshot(model)(step, inputs))
    return outputs


def examples(model: Any, graph: Graph, n: int = CHECKED, seed: int = 0) -> Arrays:
    """Make inputs of a graph to compare with: n rows, each of a kind that the model may meet."""
    rng = np.random.default_rng(seed)
    parameters = rng.normal(size=(n, *model.likelihood.parameter_shape(model.x_shape)))
    distribution = model.likelihood.distribution(parameters.astype("float32"))
    x = keras.ops.convert_to_numpy(distribution.mean())
    condition = _example(model.condition.spec, n, x, rng)
    found = (
        {f"condition.{k}": v for k, v in condition.items()}
        if isinstance(condition, dict)
        else {"condition": condition}
    )
    found |= {"x": x.astype("float32")}
    for name, one in graph.inputs.items():
        if name in ("noise", "z"):
            found[name] = rng.standard_normal((n, *one.shape), "float32")
        elif name == "uniforms":
            found[name] = uniforms(rng, (n, *one.shape))
    return {name: found[name] for name in graph.inputs}


@singledispatch
def _example(spec: ConditionSpec, n: int, x: np.ndarray, rng: np.random.Generator) -> Any:
    return rng.uniform(0.05, 0.95, (n, *getattr(spec, "shape", ()))).astype("float32")


@_example.register
def _(spec: CategoricalSpec, n: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (np.arange(n) % spec.num_classes).astype("int32")


@_example.register
def _(spec: KnownPartSpec, n: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    known = rng.random(x.shape) < 0.5 if spec.fixed is None else spec.fixed[None]
    return np.where(known, x, np.nan).astype("float32")


@_example.register
def _(spec: OptionalSpec, n: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values = _example(spec.part, n, x, rng)
    values[::3] = take(spec.unknown(), 0)
    return values


@_example.register
def _(spec: JointSpec, n: int, x: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: _example(part, n, x, rng) for name, part in spec.parts.items()}


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The greatest difference of any output, relative to its size where that is above 1."""
    greatest = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        if np.shape(ours) != np.shape(theirs):
            return np.inf
        far = np.abs(np.subtract(ours, theirs, dtype="float64")) / np.maximum(1.0, np.abs(theirs))
        greatest = max(greatest, float(np.max(far, initial=0.0)))
    return greatest


def facts(model: Any, graph: Graph) -> dict[str, Any]:
    """What an exported graph says of itself, as JSON has it."""
    spec = model.condition.spec
    return {
        "keras_cvae": keras_cvae.__version__,
        "graph": graph.name,
        "summary": graph.summary,
        "inputs": {n: [["batch", *one.shape], one.dtype] for n, one in graph.inputs.items()},
        "outputs": list(graph.outputs),
        "x_shape": list(model.x_shape),
        "latent_dim": model.latent_dim,
        "likelihood": type(model.likelihood).__name__,
        "condition": spec.to_json(),
        "classes": list(spec.classes.names) if spec.classes else None,
        "sha256": weights_hash(model),
    }


def weights_hash(model: Any) -> str:
    """The SHA-256 of a model's weights, in the order that it has them in, in hexadecimal."""
    content, optimizer = hashlib.sha256(), getattr(model, "optimizer", None)
    others = {id(one) for one in getattr(optimizer, "variables", ())}
    for variable, value in zip(*snapshot(model), strict=True):
        if id(variable) not in others:
            content.update(np.ascontiguousarray(keras.ops.convert_to_numpy(value)).tobytes())
    return content.hexdigest()


def in_float32(model: Any) -> Any:
    """The model itself, or, of one that computes in another precision, the same in float32.

    Raises:
        ExportError: Some layer keeps its precision, whatever its configuration says.
    """
    policy = model.dtype_policy.name
    if policy == "float32" and _is_float32(model):
        return model
    config = json.dumps(keras.saving.serialize_keras_object(model.get_config()))
    again = type(model).from_config(json.loads(config.replace(f'"{policy}"', '"float32"')))
    if not _is_float32(again):
        raise ExportError(
            f"This model computes in {policy}, and not all of it can be had in float32. Expected a "
            "model in float32."
        )
    optimizer = getattr(model, "optimizer", None)
    others = {id(one) for one in getattr(optimizer, "variables", ())}
    variables = [one for one in model.variables if id(one) not in others]
    for ours, theirs in zip(again.variables, variables, strict=True):
        ours.assign(keras.ops.cast(theirs.value, ours.dtype))
    return again


def _is_float32(model: Any) -> bool:
    return all(layer.compute_dtype == "float32" for layer in layers_of(model))
