"""A model as a web page in one file: it opens from the disk, and asks no one for anything."""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import keras_cvae
from keras_cvae.files import atomic
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.studio import describing
from keras_cvae.studio.lowering import UnplayableError, tapes
from keras_cvae.studio.packing import Packed, pack
from keras_cvae.studio.tape import Arrays
from keras_cvae.studio.walking import differences, directions

# Steps in an array's root mean square, and the greatest difference (of grey levels, probabilities,
# a quarter of the latent's) up to which they are fine enough.
PRECISIONS = ((192, 0.005), (512, 0.005), (1024, 0.01), (4096, np.inf))
FIRST = "main.js"


def write_page(
    model: Any,
    path: str | os.PathLike[str],
    *,
    name: str = "A model",
    card: Any = None,
    drawing: Mapping[str, float] | None = None,
) -> Path:
    """Write a page on which a model, or a table's, is played with.

    It needs nothing but itself: the weights are in it, and the networks are computed in JavaScript.

    Args:
        model: A `ConditionalVAE`, or a `TableCVAE`.
        path: Ends in .html; an existing file is replaced.
        name: What the page is called.
        card: What is to be said of the model, a mapping from names to text or numbers.
        drawing: `temperature` and `guidance` that the page begins with; those left out are 1.

    Returns:
        The path.

    Raises:
        ValueError: Another suffix, or a model that a page cannot play; it says why, before
            anything is written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path must end in .html. Received: {str(path)!r}")
    text = page_text(model, name=name, card=card, drawing=drawing)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page_text(
    model: Any,
    *,
    name: str = "A model",
    card: Any = None,
    drawing: Mapping[str, float] | None = None,
) -> str:
    """The page that `write_page` writes, as text: for a server, say."""
    about, packed = described(model) if isinstance(model, ConditionalVAE) else _table(model)
    about |= {"drawing": dict(drawing or {})}
    return rendered(about, packed, name, dict(card or {}))


def described(model: Any) -> tuple[dict[str, Any], Packed]:
    """What a page has to know of a model, and its weights.

    The weights are rounded, as coarsely as `PRECISIONS` allow.

    Raises:
        UnplayableError: A model that a page cannot play.
    """
    _check_x(model.x_shape)
    arrays = Arrays()
    condition = describing.described_condition(model, arrays)
    likelihood = describing.likelihood(model.likelihood, arrays)
    played = tapes(model, arrays)
    vectors, shares = directions(model)
    place = arrays.place(vectors) if vectors.size else None
    about = {
        "x_shape": list(model.x_shape),
        "groups": list(model.latent_groups),
        "shared": model.condition.shared,
        "condition": condition,
        "likelihood": likelihood,
        "tapes": {name: tape.to_json() for name, tape in played.items()},
        "directions": {"place": place, "shares": np.round(shares, 4).tolist()},
    }
    return _packed(about, arrays, lambda rounded: differences(model, played, rounded))


def _packed(
    about: dict[str, Any],
    arrays: Arrays,
    apart: Callable[[list[np.ndarray]], dict[str, float]],
) -> tuple[dict[str, Any], Packed]:
    for steps, limit in PRECISIONS:
        packed = pack(arrays.arrays, steps)
        found = apart(packed.arrays)
        if max((found | {"latent": found.get("latent", 0.0) / 4}).values()) < limit:
            break
    about |= {"sizes": packed.sizes, "steps": packed.steps, "bytes": packed.length}
    about["difference"] = {what: float(f"{value:.2g}") for what, value in found.items()}
    return about, packed


def _table(model: Any) -> tuple[dict[str, Any], Packed]:
    from keras_cvae.studio.tables import described_table, table_differences  # which need pandas

    arrays = Arrays()
    about, tape = described_table(model, arrays)
    return _packed(about, arrays, lambda rounded: table_differences(model, tape, rounded))


def _check_x(shape: tuple[int, ...]) -> None:
    picture = len(shape) == 3 and shape[-1] in (1, 3)
    if not picture and len(shape) > 2:
        raise UnplayableError(
            f"This model's x have the shape {tuple(shape)}. A page shows pictures (height, width, "
            "channels) of 1 or 3 channels, signals (length, channels) and vectors (n,)."
        )


def rendered(about: dict[str, Any], packed: Packed, name: str, card: dict[str, Any]) -> str:
    """The page as text."""
    about = about | {"name": name, "card": card, "version": keras_cvae.__version__}
    data = json.dumps(about, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    parts = {
        "title": _escaped(name),
        "style": _read("studio.css"),
        "model": data.replace("<", "\\u003c"),
        "weights": packed.text,
        "script": script(),
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], _read("studio.html"))


IMPORTS = re.compile(r'^import (\{.*?\}) from "\./(.+?)";$', re.M | re.S)
EXPORTS = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.M)


@functools.cache
def script() -> str:
    """The page's modules as one script: each in a scope of its own, after those it imports."""
    found: dict[str, str] = {}

    def imported(line: re.Match[str]) -> str:
        visit(line[2])
        return f"const {line[1]} = {_scope(line[2])};"

    def visit(module: str) -> None:
        if module in found:
            return
        text = IMPORTS.sub(imported, _read(module))
        names = ", ".join(name for _, name in EXPORTS.findall(text))
        body = EXPORTS.sub(r"\1", text) + f"\nreturn {{ {names} }};"
        found[module] = f"const {_scope(module)} = (() => {{\n{body}\n}})();\n"

    visit(FIRST)
    return '"use strict";\n' + "\n".join(found.values())


def _scope(module: str) -> str:
    return f"${module.removesuffix('.js')}"


def _read(name: str) -> str:
    return (resources.files("keras_cvae.studio") / "page" / name).read_text(encoding="utf-8")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
