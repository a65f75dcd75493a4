"""Files that are whole, or not there."""

import contextlib
import errno
import json
import os
import tomllib
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEEPEST = 100  # how far what is read may nest
LARGEST = 2**24  # bytes that a part of a file which describes something may have
SQUEEZED = 200  # how much smaller than its content a part of an archive may be
_WHY = {
    errno.ENOSPC: "the disk is full. Make room on it, or choose another place",
    errno.EDQUOT: "your share of the disk is used up. Make room, or choose another place",
    errno.EFBIG: "files as large as it are not allowed here. Choose another place",
    errno.EROFS: "the disk is read-only. Choose another place",
    errno.EACCES: "its folder is read-only. Choose another place",
    errno.EPERM: "its folder is read-only. Choose another place",
    errno.EIO: "the disk has failed. Choose another place",
}


class WriteError(OSError):
    """A file that could not be written, and why, in words; what stood in its place is whole."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def atomic(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary name to write to, and move the file to `path` once it is whole.

    The temporary name lies in the same folder and has the same suffix. What stands at `path` stays
    untouched until the last moment; if the block raises, or writes nothing, the temporary file is
    removed.

    Args:
        path: The file to write; its folder exists.
        durable: Wait until the disk has the file, so that a power failure cannot leave an empty
            one behind. That takes milliseconds: for what cannot be made again, like a model.

    Raises:
        FileNotFoundError: The folder does not exist.
        WriteError: The disk is full or read-only, or the folder has disappeared.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder '{path.parent}' of '{path.name}' does not exist.")
    stem, suffix = _split(path)
    temporary = path.with_name(f".{stem}.{uuid.uuid4().hex[:8]}{suffix}")
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        why = _WHY.get(error.errno or 0)
        if not path.parent.is_dir():
            why = "its folder has disappeared"
        elif isinstance(error, PermissionError) and str(error.filename) != str(temporary):
            why = None  # of another file, that is read
        if why is None:
            raise
        raise WriteError(error.errno, f"Cannot write '{path}': {why}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be written to, or made, before anything expensive.

    Raises:
        WriteError: Saying why.
    """
    path = Path(folder).absolute()
    there = next(one for one in (path, *path.parents) if one.exists())
    if not there.is_dir():
        raise WriteError(errno.ENOTDIR, f"Cannot write to '{folder}': '{there}' is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        disk = hasattr(os, "statvfs") and os.statvfs(there).f_flag & os.ST_RDONLY
        code = errno.EROFS if disk else errno.EACCES
        raise WriteError(code, f"Cannot write to '{folder}': {_WHY[code]}.")


def leftovers(path: str | os.PathLike[str]) -> list[Path]:
    """Temporary files of `path`, left by a process that was killed while it wrote."""
    path = Path(path)
    stem, suffix = _split(path)
    return sorted(path.parent.glob(f".{stem}.{'[0-9a-f]' * 8}{suffix}"))


def _split(path: Path) -> tuple[str, str]:
    """The name of a file without its suffix, and the suffix; `.weights.h5` is one."""
    suffix = ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix
    return path.name.removesuffix(suffix), suffix


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON, indented, atomically and durably."""
    with atomic(path, durable=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is no such file.

    Raises:
        ValueError: The file is damaged; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"'{path}' is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' is damaged: expected an object, received {content!r:.40}.")
    return content


def parsed(text: str | bytes, language: str = "json") -> Any:
    """Read JSON or TOML from whoever made it.

    Raises:
        ValueError: It is neither, or nests further than anything that is written here.
    """
    try:
        if language == "toml":
            content: Any = tomllib.loads(text.decode() if isinstance(text, bytes) else text)
        else:
            content = json.loads(text)
    except RecursionError:
        raise ValueError(f"it nests more than {DEEPEST} deep") from None
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(DEEPEST):
        if not level:
            return content
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [x for part in parts for x in part if isinstance(x, dict | list)]
    raise ValueError(f"it nests more than {DEEPEST} deep")


def check_members(archive: zipfile.ZipFile, but: Iterable[str] = ()) -> None:
    """Refuse an archive that would unfold to far more than it is, before anything is unfolded.

    Args:
        archive: A `.keras` file, for example.
        but: Parts that may be large, if so much of them is stored.

    Raises:
        ValueError: Naming the part.
    """
    for member in archive.infolist():
        name, size, stored = member.filename, member.file_size, member.compress_size
        if size > SQUEEZED * stored + LARGEST:
            raise ValueError(f"its {name} has {stored} bytes that stand for {size}")
        if size > LARGEST and name not in but:
            raise ValueError(f"its {name} has {size} bytes, at most {LARGEST} are read")


def _flush(path: Path) -> None:
    """Wait until the disk has the file; a rename may otherwise reach it before the content."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
