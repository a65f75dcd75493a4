"""What a shared model says of itself. Read without Keras: `cvae presets` lists cards."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from keras_cvae import trained
from keras_cvae.errors import listed, nearest
from keras_cvae.files import check_members, parsed

TABLE = "table.json"  # the part of a file that says what the columns of a table are
WEIGHTS = "model.weights.h5"
HASHED = ("config.json", WEIGHTS, TABLE)
UNREADABLE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
# What may be as large as it is: the weights, and what a checkpoint has of its training.
ANY_SIZE = (WEIGHTS, "training.json", "metrics.npz")


class Card(BaseModel):
    """A model card (Mitchell et al. 2019). What the model itself knows, `save_to` fills in.

    Attributes:
        name: What the model is called.
        summary: What it does, in a sentence.
        example: What to type to try it.
        data: What it was trained on: where from, how many examples, what was done to them.
        data_licence: The licence of the data.
        licence: The licence of the weights.
        commands: What was typed to train and to measure it, in order.
        scores: What was measured, in words: by measure, the value with its unit and error.
        limits: What it must not be used for, or is bad at.
        source: The data as `cvae train` takes them: "mnist"; of a table what its file was called.
        settings: The configuration that it was trained with, as in `run.json`.
        evaluation: All that was measured, as `cvae evaluate --json` prints it.
        x_shape: Shape of one example; empty for a table.
        condition: What x is conditioned on, in words.
        likelihood: The class of p(x | z, y).
        weights: How many numbers the model has learned.
        made_with: Versions of the packages, and the backend.
        sha256: Of the configuration and the weights in the file.

    Examples:
        >>> Card(name="Dots", summary="Draws random dots.", licence="CC0-1.0").licence
        'CC0-1.0'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    summary: str = ""
    example: str = ""
    data: str = ""
    data_licence: str = ""
    licence: str = ""
    commands: tuple[str, ...] = ()
    scores: dict[str, str] = {}
    limits: str = ""
    source: str = ""
    settings: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    x_shape: tuple[int, ...] = ()
    condition: str = ""
    likelihood: str = ""
    weights: int = 0
    made_with: dict[str, str] = {}
    sha256: str = ""

    def shown(self) -> dict[str, Any]:
        """What a reader wants to know: all that is said, but the settings and each figure."""
        return self.model_dump(exclude={"settings", "evaluation"}, exclude_defaults=True)

    def markdown(self) -> str:
        """The card as a page, for the README of a folder that is shared."""
        made = ", ".join(f"{package} {version}" for package, version in self.made_with.items())
        facts = {
            "data": self.data,
            "licence of the data": self.data_licence,
            "licence of the weights": self.licence,
            "x": f"{self.x_shape}, p(x | z, y): {self.likelihood}" if self.x_shape else "a table",
            "condition": self.condition,
            "weights": f"{self.weights:,}",
            "made with": made,
            "sha256": self.sha256,
        }
        parts = [f"# {self.name}", self.summary]
        parts += ["\n".join(f"- {name}: {value}" for name, value in facts.items() if value)]
        if self.commands:
            parts += ["Made and measured by", "\n".join(f"    {line}" for line in self.commands)]
        if self.scores:
            rows = [f"| {name} | {value} |" for name, value in self.scores.items()]
            parts += ["\n".join(["| measure | value |", "|---|---|", *rows])]
        return "\n\n".join(part for part in [*parts, self.limits] if part) + "\n"


def read_card(path: str | Path) -> Card | None:
    """Read the card in a `.keras` or `.cvae` file, and compare the file with the hash on it.

    Returns:
        The card; None if there is none in the file.

    Raises:
        ValueError: The card is damaged, or the file is not the one that it was written for, or
            would unfold to far more than it is.
    """
    try:
        with zipfile.ZipFile(path) as file:
            check_members(file, ANY_SIZE)
            written = parsed(file.read("metadata.json")).get("card")
            if written is None:
                return None
            card = Card(**{name: written[name] for name in Card.model_fields if name in written})
            there = set(file.namelist())
            found = digest({name: file.read(name) for name in HASHED if name in there})
    except UNREADABLE as error:
        raise ValueError(f"The card in '{path}' is damaged: {error}") from error
    if card.sha256 and found != card.sha256:
        raise ValueError(
            f"'{path}' is not what its card says: its content has the hash {found}, expected "
            f"{card.sha256}."
        )
    return card


def digest(parts: Mapping[str, bytes]) -> str:
    """The SHA-256 of the configuration, the weights and the columns in a file, in hexadecimal."""
    return hashlib.sha256(b"".join(parts[name] for name in HASHED if name in parts)).hexdigest()


def located(model: str | os.PathLike[str]) -> Path:
    """Find the file of a model, given by name, as a file or as a folder.

    Raises:
        FileNotFoundError: Saying what was expected.
    """
    if isinstance(model, str) and (packaged := trained.path(model)):
        return packaged
    path = Path(model)
    for name in ("model.keras", "table.cvae"):
        if (path / name).is_file():
            return path / name
    if path.is_file():
        return path
    known = trained.names()
    problem = (
        f"'{path}' holds no model.keras, and no table.cvae. Expected the folder of a run that has "
        "finished training, or one that `save_to` wrote."
        if path.is_dir()
        else f"There is no model at '{path}'. Expected a file, a folder, or one of "
        f"{listed(known)}.{nearest(path, known)}"
    )
    raise FileNotFoundError(problem)
