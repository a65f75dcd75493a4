"""Files that are byte for byte the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

from keras_cvae.data.places import Places

HEAD = 4096  # bytes that tell most files of one size apart


def copies(rows: Iterable[int], at: Callable[[int], tuple[Places, int]]) -> list[list[int]]:
    """Groups of two and more files with the same bytes, in the order of the rows.

    Files are read to their end only where others have their size and their beginning.

    Args:
        rows: Numbers of files.
        at: Where each lies.
    """

    def size(row: int) -> int:
        places, i = at(row)
        return places.bytes_of(i)

    def content(row: int) -> bytes:
        places, i = at(row)
        with places.open(i) as file:
            return hashlib.sha256(file.read()).digest()

    def head(row: int) -> bytes:
        places, i = at(row)
        with places.open(i) as file:
            return file.read(HEAD)

    groups = [list(rows)]
    for key in (size, head, content):
        groups = [same for group in groups for same in _grouped(group, key)]
    return groups


def _grouped(rows: list[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for row in rows:
        try:
            found[key(row)].append(row)
        except OSError:  # whoever decodes it says so
            continue
    return [same for same in found.values() if len(same) > 1]
