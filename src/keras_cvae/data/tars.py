"""Where the members of a tar lie, without reading them: the headers of many small ones at once.

Python's `tarfile` takes 25 microseconds a member and keeps an object for each; a million of them
are half a minute. This reads what shards are made of: plain files, long names (POSIX and GNU).
Plain headers that follow each other in a window are decoded as arrays; whatever is else about one,
or wrong with it, is found by reading it alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_BLOCK = 512
_EMPTY = bytes(_BLOCK)
_READ, _AHEAD = 2**16, 2**20  # bytes at once: of large members, and of those that are small
_MANY = 16  # members in a window of `_READ` that are small
_MAGIC = np.frombuffer(b"ustar", np.uint8)
_LONGEST = 2**20  # bytes of an extended header


class Member(NamedTuple):
    """A file within a tar.

    Args:
        name: As it is called there.
        start: Where its content begins.
        size: How many bytes it has.
    """

    name: str
    start: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """Go through the files within a tar.

    Raises:
        ValueError: It is no tar, or is compressed, damaged or truncated; with the place.
    """
    whole, at, window = path.stat().st_size, 0, _READ
    with path.open("rb", buffering=0) as file:
        while True:
            file.seek(at)
            found, after = _plain(file.read(window), at, whole)
            yield from found
            window = _AHEAD if len(found) >= _MANY else _READ
            if not found:
                member, after = _next(file, at, whole)
                if member is not None:
                    yield member
                elif after == at:
                    return
            at = after


def _plain(content: bytes, begin: int, whole: int) -> tuple[list[Member], int]:
    """The plain files whose headers follow each other in a window, and where the next one begins.

    Args:
        content: The window, from a header on.
        begin: Where it begins in the tar.
        whole: How long that is.
    """
    rows = np.frombuffer(content, np.uint8, len(content) // _BLOCK * _BLOCK).reshape(-1, _BLOCK)
    places = np.flatnonzero(rows[:, 257] == _MAGIC[0])
    places = places[(rows[places, 257:262] == _MAGIC).all(1)]
    headers = rows[places]
    sizes, told = _octal(headers[:, 124:136]), _octal(headers[:, 148:155])
    sums = headers.sum(1, np.int64) - headers[:, 148:156].sum(1, np.int64) + 8 * ord(" ")
    starts = begin + _BLOCK * (places + 1)
    plain = (headers[:, 156] == ord("0")) | (headers[:, 156] == 0)
    plain &= (sizes >= 0) & (told == sums) & (starts + sizes <= whole)
    after = starts + -(-sizes // _BLOCK) * _BLOCK
    plain &= starts - _BLOCK == np.concatenate([[begin], after])[: len(after)]
    count = len(plain) if plain.all() else int(plain.argmin())
    if not count:
        return [], begin
    names = np.ascontiguousarray(headers[:count, :100]).view("S100")[:, 0].tolist()
    for i in np.flatnonzero(headers[:count, 345]):  # longer ones
        names[i] = _name(headers[i].tobytes()).encode()
    said = [name.split(b"\0", 1)[0].decode("utf-8", "replace") for name in names]
    where = zip(said, starts[:count].tolist(), sizes[:count].tolist(), strict=True)
    return [Member(*one) for one in where], int(after[count - 1])


def _octal(digits: np.ndarray) -> np.ndarray:
    """Numbers in octal digits and an end `(n, digits + 1)`; -1 for what is written otherwise."""
    values = digits[:, :-1] - np.uint8(ord("0"))  # what is no digit becomes 8 or more
    usual = (values < 8).all(1) & ((digits[:, -1] == 0) | (digits[:, -1] == ord(" ")))
    powers = 8 ** np.arange(values.shape[1])[::-1]
    return np.where(usual, values.astype(np.int64) @ powers, -1)


def _next(file: BinaryIO, at: int, whole: int) -> tuple[Member | None, int]:
    """The file that begins at a place, and where the next one begins; None for another kind.

    At the end it begins where this one does.
    """
    said, sized = "", -1
    while True:
        file.seek(at)
        header = file.read(_BLOCK)
        if header == _EMPTY:
            return None, at
        if at and len(header) < _BLOCK:
            raise ValueError(f"it was cut off at byte {whole}: the mark of its end is missing")
        size = _checked(header, at)
        kind, start = header[156:157], at + _BLOCK
        sized, size = -1, size if sized < 0 else sized
        at = start + -(-size // _BLOCK) * _BLOCK
        if start + size > whole:
            raise ValueError(f"it ends in the middle of {said or _name(header)!r}, at byte {whole}")
        if kind in b"xL" and kind:
            content = _long(file, size)
            if kind == b"L":
                said = content.rstrip(b"\0").decode("utf-8", "replace")
            else:
                records = _records(content)
                said = records.get("path", said)
                sized = int(records["size"]) if "size" in records else -1
        elif kind in (b"0", b"\0", b"7"):
            return Member(said or _name(header), start, size), at
        elif kind != b"g":  # folders, links, devices
            return None, at


def _checked(header: bytes, at: int) -> int:
    """The size that a header says, of a header that is whole."""
    try:
        told = int(header[148:156].strip(b" \0"), 8)
        if told != 256 + sum(header[:148]) + sum(header[156:].rstrip(b"\0")):
            raise ValueError
        if header[124] & 0x80:  # too large for octal digits
            size = int.from_bytes(header[125:136], "big")
        else:
            size = int(header[124:136].strip(b" \0") or b"0", 8)
    except (ValueError, IndexError):
        if not at:
            packed = header[:2] == b"\x1f\x8b" or header[:3] == b"BZh" or header[:4] == b"\xfd7zX"
            why = (
                "it is compressed: unpack it first, e.g. with gunzip" if packed else "it is no tar"
            )
            raise ValueError(why) from None
        raise ValueError(f"it is damaged at byte {at}, where a member should begin") from None
    return size


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return name.decode("utf-8", "replace")


def _long(file: BinaryIO, size: int) -> bytes:
    if size > _LONGEST:
        raise ValueError(f"a name in it has {size} bytes, at most {_LONGEST} are read")
    return file.read(size)


def _records(content: bytes) -> dict[str, str]:
    """The records `length key=value` of a POSIX header."""
    found, at = {}, 0
    while at < len(content) and content[at : at + 1] != b"\0":
        length, _, _ = content[at:].partition(b" ")
        if not length.isdigit() or not int(length):
            raise ValueError(f"it is damaged: {content[at : at + 20]!r} is no extended header")
        key, _, value = content[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at += int(length)
    return found
