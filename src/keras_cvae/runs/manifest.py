"""`run.json`: what a run is, and what its files held when they were written.

It carries the SHA-256 of itself, and once the run is complete that of each file: a byte that flips
on a disk, or on the way to another machine, is an error that names the file.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_cvae.files import read_json, write_json

NAME, HASH, FILES = "run.json", "sha256", "files"


def write(folder: Path, about: dict[str, Any], files: Iterable[str] = ()) -> None:
    """Write `run.json` with the hashes of these files of the folder, and its own."""
    hashes = {name: _digest((folder / name).read_bytes()) for name in files}
    about = {name: part for name, part in about.items() if name not in (HASH, FILES)}
    about |= {FILES: hashes} if hashes else {}
    write_json(folder / NAME, about | {HASH: _own(about)})


def read(folder: Path) -> dict[str, Any]:
    """Read `run.json`; an empty one if there is none.

    Raises:
        ValueError: It is damaged, or was changed since it was written.
    """
    about = read_json(folder / NAME)
    if HASH in about and about[HASH] != _own(about):
        raise ValueError(
            f"'{folder / NAME}' is damaged: it is not what was written there. If you changed it "
            f"yourself, take out its line '{HASH}'."
        )
    return about


def check(folder: Path, name: str) -> None:
    """Compare a file of a run with its hash in `run.json`, if it has one.

    Raises:
        ValueError: It is damaged, or was changed since it was written.
    """
    hashes, path = read(folder).get(FILES), folder / name
    expected = hashes.get(name) if isinstance(hashes, dict) else None
    if expected and path.is_file() and _digest(path.read_bytes()) != expected:
        raise ValueError(
            f"'{path}' is damaged: it is not what {NAME} says was written there. If you changed it "
            f"yourself, take the lines '{name}' and '{HASH}' out of {NAME}."
        )


def _own(about: dict[str, Any]) -> str:
    rest = {name: part for name, part in about.items() if name != HASH}
    return _digest(json.dumps(rest, sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
