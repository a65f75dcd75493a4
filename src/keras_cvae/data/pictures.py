"""Pictures by path or by name, however they are stored."""

from __future__ import annotations

import os
from pathlib import Path

from keras_cvae.data.folders import in_order, list_folder
from keras_cvae.data.images import Progress
from keras_cvae.data.kinds import HUB, PARQUET, SHARDS, is_table, suffix
from keras_cvae.data.listing import Listing
from keras_cvae.data.shards import list_shards


def pictures_of(source: str | Path, progress: Progress | None = None) -> Listing | None:
    """List the pictures of a source; None if it is of another kind.

    Args:
        source: A folder of images, of tar shards or of Parquet files, one of these, or `hf://NAME`.
        progress: Wraps long loops.

    Raises:
        DataError: It holds no pictures, or is damaged.
    """
    if str(source).startswith(HUB):
        from keras_cvae.data.picture_tables import list_hub

        return list_hub(str(source))
    path = Path(source).expanduser()
    if path.is_file() and suffix(path) in SHARDS:
        return list_shards(path, [path], progress)
    if path.is_file() and suffix(path) in PARQUET:
        from keras_cvae.data.picture_tables import list_parquet

        return list_parquet(path, [path])
    if not path.is_dir():
        return None
    if shards := _within(path, SHARDS):
        return list_shards(path, shards, progress)
    if tables := _within(path, PARQUET):
        from keras_cvae.data.picture_tables import list_parquet

        return list_parquet(path, tables)
    return list_folder(path)


def is_plain_table(source: str | Path) -> bool:
    """Whether this is the name of a file with a table, not one with a column of pictures."""
    if not is_table(source):
        return False
    path = Path(source).expanduser()
    if suffix(path) not in PARQUET or not path.is_file():
        return True
    from keras_cvae.data.picture_tables import picture_column

    return picture_column(path) is None


def _within(folder: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Files of some kinds in a folder, or in its train/, test/ or data/, in order."""
    inner = [p for name in ("train", "test", "data") if (p := folder / name).is_dir()]
    found = []
    for place in (folder, *inner):
        with os.scandir(place) as entries:
            names = [e.name for e in entries if e.name.lower().endswith(kinds) and e.is_file()]
        found += [place / name for name in in_order(names) if not name.startswith(".")]
    return found
