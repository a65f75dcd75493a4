"""Where the members of a tar lie, without reading them: one short read a member.

Python's `tarfile` takes 25 microseconds a member and keeps an object for each; a million of them
are half a minute. This reads what shards are made of: plain files, long names (POSIX and GNU).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BLOCK = 512
_EMPTY = bytes(_BLOCK)
_READ = 2**16  # bytes at once: small members cost no call of the system each
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
    whole = path.stat().st_size
    with path.open("rb", buffering=_READ) as file:
        at, said, sized = 0, "", -1
        while True:
            file.seek(at)
            header = file.read(_BLOCK)
            if header == _EMPTY:
                return
            if at and len(header) < _BLOCK:
                raise ValueError(f"it was cut off at byte {whole}: the mark of its end is missing")
            size = _checked(header, at)
            kind, start = header[156:157], at + _BLOCK
            sized, size = -1, size if sized < 0 else sized
            at = start + -(-size // _BLOCK) * _BLOCK
            if start + size > whole:
                raise ValueError(
                    f"it ends in the middle of {said or _name(header)!r}, at byte {whole}"
                )
            if kind in b"xL" and kind:
                content = _long(file, size)
                if kind == b"L":
                    said = content.rstrip(b"\0").decode("utf-8", "replace")
                else:
                    records = _records(content)
                    said = records.get("path", said)
                    sized = int(records["size"]) if "size" in records else -1
            elif kind in (b"0", b"\0", b"7"):
                yield Member(said or _name(header), start, size)
                said = ""
            elif kind != b"g":  # folders, links, devices
                said = ""


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
