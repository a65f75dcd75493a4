"""Graphs as the signatures of one TensorFlow SavedModel, a folder; made on TensorFlow."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cvae.exports.graphs import Arrays, ExportError, Graph

FACTS = Path("assets.extra") / "keras_cvae.json"


def write(model: Any, graphs: dict[str, Graph], folder: Path) -> None:
    """Write a SavedModel with a signature for each graph.

    Raises:
        ExportError: Something in the model has no form as a TensorFlow graph.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    for graph in graphs.values():
        signature = [
            keras.InputSpec(dtype=one.dtype, shape=(None, *one.shape), name=_plain(name))
            for name, one in graph.inputs.items()
        ]
        archive.add_endpoint(graph.name, _named(graph), signature)
    try:
        archive.write_out(str(folder), verbose=False)
    except Exception as error:
        raise ExportError(f"TensorFlow cannot save this model: {error}") from error


def _named(graph: Graph) -> Any:
    def call(*tensors: Any) -> dict[str, Any]:
        return dict(zip(graph.outputs, graph.call(*tensors), strict=True))

    return call


def run(folder: Path, graph: Graph, inputs: Arrays) -> list[np.ndarray]:
    """Run a signature as whoever loads the folder does; the outputs in the graph's order."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder)).signatures[graph.name]
    given = {_plain(name): tf.constant(value) for name, value in inputs.items()}
    outputs = signature(**given)
    return [outputs[name].numpy() for name in graph.outputs]


def describe(folder: Path, facts: dict[str, dict[str, Any]]) -> None:
    """Write the facts of each graph beside them, where TensorFlow leaves room for it."""
    for one in facts.values():
        one["inputs"] = {_plain(name): about for name, about in one["inputs"].items()}
    (folder / FACTS).parent.mkdir(exist_ok=True)
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _plain(name: str) -> str:
    """The name of an input as TensorFlow takes it, which is an argument's in Python."""
    return "".join(c if c.isalnum() else "_" for c in name)
