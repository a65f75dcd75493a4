"""Pictures that are decoded once: their bytes in a file of the user's cache, and who fills it.

Decoding a PNG of 32x32 pixels takes as long as a fifth of what the `conv` preset computes for it,
and reading it here a fiftieth. A file is the same whoever wrote which part of it when, so the order
of an epoch and where it resumes know nothing of it. Before each picture lies its checksum, without
which it counts as missing: what a crash or a disk spoiled is decoded again. Nothing is mapped: to
write to a map on a full disk ends the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
import weakref
import zlib
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from keras_cvae.backend import cache_folder

LIMIT = "KERAS_CVAE_PICTURES_GB"  # how much disk decoded pictures may take
_SHARE = 0.25  # of the disk, where nothing is said
_SUM = 4  # bytes of a checksum
_HELPED = 256  # pictures that are missing before others help
_MOST = 8  # processes that help


class Decoded:
    """Decoded pictures, some of which may still be missing.

    Reading and writing need no lock between processes: all write the same.

    Args:
        folder: Where they lie; made if it is not there.
        count: How many there are.
        shape: Of one, `(h, w, c)`; uint8.

    Raises:
        OSError: They cannot be kept there.
    """

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...]):
        self.folder, self.count, self.shape = folder, count, shape
        self.missed = 0
        self.full = False
        self.helpers: Helpers | None = None
        self._helped, self._alone = False, filelock.FileLock(folder / "helping")
        self._lock = threading.Lock()
        self._record = np.zeros(_SUM + int(np.prod(shape)), np.uint8)  # of one: a sum, its pixels
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "pixels"
        path.touch()  # used just now
        self._file = path.open("r+b", buffering=0)
        weakref.finalize(self, self._file.close)
        if path.stat().st_size < count * self._record.size:
            self._file.truncate(count * self._record.size)  # holes: they take what is written

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "count": self.count, "shape": self.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, i: int, image: np.ndarray) -> bool:
        """Read picture i into `image`; whether it was there, and whole."""
        with self._lock:
            self._file.seek(int(i) * self._record.size)
            whole = self._file.readinto(self._record.data) == self._record.size
            wanted = int(self._record[:_SUM].view(np.uint32)[0])
            image[...] = self._record[_SUM:].reshape(self.shape)
        return whole and wanted == _sum(image)

    def write(self, i: int, image: np.ndarray) -> None:
        """Keep picture i; once the disk is full, warn, and keep no more."""
        if self.full:
            return
        try:
            with self._lock:
                self._record[:_SUM].view(np.uint32)[0] = _sum(image)
                self._record[_SUM:] = image.reshape(-1)
                self._file.seek(int(i) * self._record.size)
                written = self._file.write(self._record.data)
            if written != self._record.size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.full = True
            warnings.warn(
                f"Decoded pictures are no longer kept in {self.folder}: {error.strerror}. Those "
                "that are missing are decoded again in every epoch.",
                stacklevel=2,
            )

    def has(self, i: int) -> bool:
        """Whether picture i seems to be there."""
        with self._lock:
            self._file.seek(int(i) * self._record.size)
            return any(self._file.read(_SUM))

    def missing(self, files: Any, found: int) -> None:
        """Hear that pictures had to be decoded; where they are many, let others help.

        Args:
            files: `ImageFiles` of these places, for other processes.
            found: How many were missing.
        """
        self.missed += found
        if self.missed < _HELPED or self._helped or self.full:
            return
        with self._lock:
            first, self._helped = not self._helped, True
        if not first:
            return
        try:  # of processes that train together one has helpers
            self._alone.acquire(timeout=0)
        except (filelock.Timeout, OSError):
            return
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
        self.helpers = Helpers(files, min(_MOST, max(1, (cores or 2) // 2)))


class Helpers:
    """Processes that decode what is missing, in the order in which it lies on the disk.

    They take what the training leaves of the cores, and end when all is decoded, when the disk is
    full, or with this process, however it ends. A picture that they cannot decode they leave to
    whoever asks for it, who says why.

    Args:
        files: `ImageFiles` with a place to keep what is decoded.
        count: How many processes.
    """

    def __init__(self, files: Any, count: int):
        task = "from keras_cvae.data.decoded import help_out; help_out()"
        environment = os.environ | {"KERAS_CVAE_LAZY": "1", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self.processes = []
        for part in range(count):
            process = subprocess.Popen(
                [sys.executable, "-c", task],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for those whom it tells to save. A session of its own would have a share
                # of the cores of its own, whatever its priority.
                process_group=0,
            )
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # it has ended: what is missing is decoded here
                pickle.dump((files, part, count), process.stdin)
                process.stdin.flush()
            self.processes.append(process)
        weakref.finalize(self, _end, self.processes)

    def wait(self) -> None:
        """Wait until all is decoded."""
        for process in self.processes:
            process.wait()


def help_out() -> None:
    """Decode what the other end of the standard input asks for, and end with it."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(19)
    files, part, count = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_leave_with, args=(sys.stdin.buffer,), daemon=True).start()
    n, most = len(files.places), 256
    for begin in range(part * most, n, count * most):
        for i in range(begin, min(begin + most, n)):
            files.fill(i)
        if files.kept.full:
            break
    os._exit(0)  # without waiting for the thread


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended before
            process.stdin.close()
        process.wait()


def _leave_with(stream: Any) -> None:
    stream.read()
    os._exit(0)


def _sum(image: np.ndarray) -> int:
    return zlib.crc32(image.data) or 1


def place(key: str, needed: int) -> tuple[Path | None, str]:
    """Choose where to keep decoded pictures, and make room for them.

    Those that were not used for the longest time go, until all together take no more than
    `KERAS_CVAE_PICTURES_GB`, or a quarter of what the disk could give them.

    Args:
        key: What they are made of, as a name.
        needed: How many bytes they take.

    Returns:
        A folder, or None where they have no room; and a sentence for the user.
    """
    root = cache_folder() / "pictures"
    folder, size = root / key, f"{needed / 1e9:.1f} GB"
    try:
        root.mkdir(parents=True, exist_ok=True)
        others = sorted(
            (path for path in root.iterdir() if path != folder),
            key=lambda path: max((p.stat().st_mtime for p in path.glob("*/pixels")), default=0.0),
        )
        taken = {path: _taken(path) for path in others}
        free = shutil.disk_usage(root).free + sum(taken.values()) + _taken(folder)
    except OSError as error:
        return None, not_kept(root, error)
    limit = float(os.environ.get(LIMIT) or _SHARE * free / 1e9) * 1e9
    if needed > min(limit, free):
        return None, (
            f"Pictures are decoded again in every epoch: decoded they would take {size} in {root}, "
            f"and may take {min(limit, free) / 1e9:.1f} GB ({LIMIT})."
        )
    for path in others:
        if needed + sum(taken.values()) <= limit:
            break
        shutil.rmtree(path, ignore_errors=True)
        del taken[path]
    return folder, (
        f"Pictures are decoded once and kept for later epochs and runs: {size} in {root} "
        f"({LIMIT}=0 keeps none)."
    )


def not_kept(folder: Path, error: OSError) -> str:
    """What to say where decoded pictures cannot be kept."""
    return (
        f"Pictures are decoded again in every epoch: decoded ones cannot be kept in {folder} "
        f"({error.strerror})."
    )


def _taken(folder: Path) -> int:
    """How many bytes of the disk decoded pictures take now."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*/*"))
