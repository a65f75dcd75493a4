"""Graphs as ONNX files: converted by jax2onnx, on JAX, and run by onnxruntime before they count."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_cvae.exports.graphs import Arrays, ExportError, Graph

LARGEST = 2**31  # bytes of one file, of protobuf's


def convert(graph: Graph) -> Any:
    """Convert a graph to an `onnx.ModelProto`; weights are within it.

    Raises:
        ExportError: Something in the graph has no form in ONNX.
    """
    import jax2onnx

    inputs = [
        SimpleNamespace(shape=("batch", *one.shape), dtype=np.dtype(one.dtype))
        for one in graph.inputs.values()
    ]
    log = logging.getLogger("onnx_ir.serde")  # it warns of each value whose type it leaves out
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        proto = jax2onnx.to_onnx(
            graph.call,
            inputs,
            model_name=graph.name,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
    except Exception as error:  # of whatever kind: it is another package's
        raise ExportError(
            f"'{graph.name}' of this model has no form in ONNX: {_reason(error)}"
        ) from error
    finally:
        log.setLevel(before)
    _leave_out_unused(proto.graph)
    if proto.ByteSize() >= LARGEST:
        raise ExportError(
            f"'{graph.name}' takes {proto.ByteSize() / 2**30:.1f} GB, more than the 2 of a file."
        )
    return proto


def _leave_out_unused(graph: Any) -> set[str]:
    """Drop constants that nothing reads, of which onnxruntime warns; return what is read."""
    read = {one.name for one in graph.output}
    for node in graph.node:
        read |= set(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                read |= _leave_out_unused(inner)
    for one in [one for one in graph.initializer if one.name not in read]:
        graph.initializer.remove(one)
    return read


def run(content: bytes, inputs: Arrays) -> list[np.ndarray]:
    """Run an ONNX model on the CPU; its outputs in their order.

    Raises:
        ExportError: onnxruntime refuses it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options)
        outputs: list[np.ndarray] = session.run(None, inputs)
    except Exception as error:
        raise ExportError(f"onnxruntime does not run it: {_reason(error)}") from error
    return outputs


def describe(proto: Any, facts: dict[str, Any]) -> None:
    """Write facts into the model's metadata, text as it is and everything else as JSON."""
    proto.producer_name = "keras-cvae"
    proto.producer_version = facts["keras_cvae"]
    proto.doc_string = facts["summary"]
    del proto.metadata_props[:]
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        proto.metadata_props.add(key=name, value=text)


def write(proto: Any, path: Path) -> None:
    """Write one file."""
    path.write_bytes(proto.SerializeToString())


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().split("\n") if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
