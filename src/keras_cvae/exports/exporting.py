"""Export a model: convert, compare with Keras, and only then write."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cvae.errors import listed, nearest, to_install
from keras_cvae.exports import onnx, saved_model
from keras_cvae.exports.graphs import (
    SUMMARIES,
    TOLERANCE,
    Arrays,
    ExportError,
    answers,
    difference,
    examples,
    facts,
    graphs,
    in_float32,
)
from keras_cvae.files import atomic, check_writable, read_json
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.io import load

# Format -> the backend that it is made on, and the packages that it takes beside that.
FORMATS = {"onnx": ("jax", ("jax2onnx", "onnx", "onnxruntime")), "tf": ("tensorflow", ())}
EXTRAS = {"onnx": "export", "tf": "tensorflow"}
SECONDS = 1800.0  # that another process may take


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        files: The files, or of a SavedModel its folder.
        graphs: Names of the graphs in them.
        difference: The greatest difference from Keras in any output, relative where that is above
            1 in size.
    """

    files: tuple[Path, ...]
    graphs: tuple[str, ...]
    difference: float


def export(
    model: ConditionalVAE,
    path: str | os.PathLike[str],
    format: str = "onnx",
    *,
    graph: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model as a file that runs without Keras, and without this package.

    Each graph has named, typed inputs `(batch, ...)` with any batch, its weights in it, and facts
    in its metadata: what it computes, classes, shapes, version, a hash of the weights, and the
    greatest difference from Keras that was found when it was run. That is at most 1e-5, or nothing
    is written. ONNX is made on JAX and a SavedModel on TensorFlow, in another process where this
    one runs another backend; compared is always with the model in this process.

    Args:
        model: A `ConditionalVAE`. One in mixed precision is exported in float32.
        path: For "onnx" a file that ends in `.onnx`, for one graph; or a folder, which gets a file
            for each: generate, sample, encoder, prior, decoder, style. For "tf" a folder, the
            SavedModel, with a signature for each.
        format: "onnx", or "tf".
        graph: The one graph to write; None: `generate` into a file, all into a folder.
        overwrite: Whether to replace what is there.

    Raises:
        ExportError: The model, or a part of it, has no such form; or its outputs differ.
        ValueError: An unknown format or graph, or a path that does not fit.
        FileExistsError: There is such a file, and `overwrite` is False.
        ImportError: The packages that the format takes are not installed.

    Examples:
        >>> written = export(model, "draw.onnx")
        >>> written.graphs, written.difference < 1e-5
        (('generate',), True)
    """
    path = Path(path)
    names = _asked(model, path, format, graph)
    if not overwrite and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
        raise FileExistsError(f"'{path}' exists already. Choose another name, or overwrite=True.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"The folder '{path.absolute().parent}' does not exist.")
    check_writable(path if path.is_dir() else path.parent)
    check_installed(format)
    plain = in_float32(model)
    with tempfile.TemporaryDirectory(prefix="keras-cvae-") as temporary:
        made = Path(temporary)
        checks = {}
        for name, one in graphs(plain).items():
            if name in names:
                inputs = examples(plain, one)
                checks[name] = (inputs, answers(plain, one, inputs))
        backend, _ = FORMATS[format]
        if keras.backend.backend() == backend:
            found = make(plain, made, format, checks)
        else:
            found = _elsewhere(plain, made, format, checks, backend)
        return Exported(_moved(made, path, format), tuple(names), max(found.values()))


def _asked(model: Any, path: Path, format: str, graph: str | None) -> list[str]:
    """Names of the graphs to write, once everything that is asked for fits."""
    if not isinstance(model, ConditionalVAE):
        raise ValueError(f"export: received a {type(model).__name__}, expected a ConditionalVAE.")
    if format not in FORMATS:
        raise ValueError(
            f"format: received {format!r}, expected {' or '.join(map(repr, FORMATS))}."
            f"{nearest(format, FORMATS)}"
        )
    known = list(graphs(model))
    if graph is not None and graph not in known:
        raise ValueError(
            f"graph: received {graph!r}, expected one of {listed(known)}.{nearest(graph, known)}"
        )
    if format == "tf" and path.suffix:
        raise ValueError(f"A SavedModel is a folder. Received '{path}', expected no ending.")
    if format == "onnx" and path.suffix not in ("", ".onnx"):
        raise ValueError(f"Received '{path}', expected a file that ends in '.onnx', or a folder.")
    if format == "onnx" and path.suffix:
        return [graph or "generate"]
    return known if graph is None else [graph]


def check_installed(format: str) -> None:
    """Refuse a format whose packages are not there.

    Raises:
        ImportError: Saying what to install.
    """
    backend, packages = FORMATS[format]
    missing = [one for one in (backend, *packages) if importlib.util.find_spec(one) is None]
    if missing:
        raise ImportError(
            f"Exporting as {format} takes {listed(missing)}: {to_install(EXTRAS[format])}"
        )


def make(
    model: Any, folder: Path, format: str, checks: dict[str, tuple[Arrays, list[np.ndarray]]]
) -> dict[str, float]:
    """Convert graphs into an empty folder, on the backend for it, and compare each.

    Args:
        model: The model, in float32.
        folder: Where the files go.
        format: As in `export`.
        checks: By graph the inputs, and the outputs that Keras has for them.

    Returns:
        The greatest difference of each graph.

    Raises:
        ExportError: A graph cannot be converted, or differs.
    """
    wanted = {name: one for name, one in graphs(model).items() if name in checks}
    found: dict[str, float] = {}
    about: dict[str, dict[str, Any]] = {}
    if format == "tf":
        saved_model.write(model, wanted, folder / "saved_model")
    for name, one in wanted.items():
        inputs, expected = checks[name]
        single = {key: value[:1] for key, value in inputs.items()}
        pairs = [(inputs, expected), (single, [value[:1] for value in expected])]
        if format == "tf":
            outputs = [saved_model.run(folder / "saved_model", one, given) for given, _ in pairs]
        else:
            proto = onnx.convert(one)
            content = proto.SerializeToString()
            outputs = [onnx.run(content, given) for given, _ in pairs]
        found[name] = max(
            difference(out, theirs) for out, (_, theirs) in zip(outputs, pairs, strict=True)
        )
        if not found[name] <= TOLERANCE:
            raise ExportError(
                f"'{name}' differs from Keras by {found[name]:.1e}, more than "
                f"{TOLERANCE:g}. Nothing was written."
            )
        about[name] = facts(model, one)
        about[name] |= {"greatest_difference": found[name], "tolerance": TOLERANCE}
        if format == "onnx":
            onnx.describe(proto, about[name])
            onnx.write(proto, folder / f"{name}.onnx")
    if format == "tf":
        saved_model.describe(folder / "saved_model", about)
    return found


def _moved(made: Path, path: Path, format: str) -> tuple[Path, ...]:
    """Put what was made to where it was asked for, whole."""
    if format == "onnx" and path.suffix:
        (source,) = made.glob("*.onnx")
        with atomic(path, durable=True) as temporary:
            shutil.copyfile(source, temporary)
        return (path,)
    if format == "tf":
        if path.exists():
            shutil.rmtree(path)
        shutil.copytree(made / "saved_model", path)
        return (path,)
    path.mkdir(exist_ok=True)
    written = []
    for source in sorted(made.glob("*.onnx")):
        with atomic(path / source.name, durable=True) as temporary:
            shutil.copyfile(source, temporary)
        written.append(path / source.name)
    return tuple(written)


# In another process, on another backend: what it is given, and what it answers.

WORK = "import sys; from keras_cvae.exports.exporting import work; work(*sys.argv[1:])"


def _elsewhere(
    model: Any,
    folder: Path,
    format: str,
    checks: dict[str, tuple[Arrays, list[np.ndarray]]],
    backend: str,
) -> dict[str, float]:
    """`make`, in a process that runs another backend and loads the model from a file."""
    task = folder / "task"
    task.mkdir()
    model.save(task / "model.keras")
    for name, (inputs, expected) in checks.items():
        arrays = {f"input {key}": value for key, value in inputs.items()}
        arrays |= {f"output {i}": value for i, value in enumerate(expected)}
        np.savez(task / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    words = [sys.executable, "-c", WORK, str(folder), format]
    done = subprocess.run(
        words,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    answer = read_json(task / "answer.json")
    if "error" in answer:
        raise ExportError(answer["error"])
    if done.returncode or "found" not in answer:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ExportError(f"The process that exports on {backend} failed: {last}")
    found: dict[str, float] = answer["found"]
    return found


def work(folder: str, format: str) -> None:
    """Do what another process asks for in `_elsewhere`."""
    task, checks = Path(folder) / "task", {}
    for path in sorted(task.glob("*.npz")):
        with np.load(path) as arrays:
            inputs = {k.removeprefix("input "): arrays[k] for k in arrays if k.startswith("input ")}
            count = sum(key.startswith("output ") for key in arrays)
            checks[path.stem] = (inputs, [arrays[f"output {i}"] for i in range(count)])
    order = [name for name in SUMMARIES if name in checks]
    try:
        model = load(task / "model.keras")
        answer: dict[str, Any] = {
            "found": make(model, Path(folder), format, {n: checks[n] for n in order})
        }
    except ValueError as error:
        answer = {"error": str(error)}
    (task / "answer.json").write_text(json.dumps(answer))
