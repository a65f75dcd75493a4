"""Pictures that are decoded once: their bytes in a file of the user's cache, and who fills it.

Decoding a PNG of 32x32 pixels takes as long as a quarter of what the `conv` preset computes for it,
and reading it here a fiftieth. A file is the same whoever wrote which part of it when, so the order
of an epoch and where it resumes know nothing of it. Each picture has a checksum, without which it
counts as missing: what a crash or a disk spoiled is decoded again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import threading
import weakref
import zlib
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from keras_cvae.backend import cache_folder

LIMIT = "KERAS_CVAE_PICTURES_GB"  # how much disk decoded pictures may take
_SHARE = 0.25  # of the disk, where nothing is said
_HELPED = 256  # pictures that are missing before others help
_MOST = 8  # processes that help


class Decoded:
    """Decoded pictures, some of which may still be missing.

    Reading and writing need no lock between processes: all write the same, and a checksum last.

    Args:
        folder: Where they lie; made if it is not there.
        count: How many there are.
        shape: Of one, `(h, w, c)`; uint8.
    """

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...]):
        self.folder, self.count, self.shape = folder, count, shape
        self.size = int(np.prod(shape))
        self.missed = 0
        self.helpers: Helpers | None = None
        self._helped, self._alone = False, filelock.FileLock(folder / "helping")
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in (("pixels", count * self.size), ("sums", 4 * count)):
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                with path.open("wb") as file:
                    file.truncate(size)  # a file with holes: it takes what is written
        (folder / "sums").touch()  # used just now
        self._sums = np.memmap(folder / "sums", np.uint32, "r+", shape=(count,)).view(np.ndarray)
        self._lock = threading.Lock()
        self._file = (folder / "pixels").open("r+b", buffering=0)
        weakref.finalize(self, self._file.close)
        self._full = False

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "count": self.count, "shape": self.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, i: int, image: np.ndarray) -> bool:
        """Read picture i into `image`; whether it was there, and whole."""
        if not (wanted := self._sums[i]):
            return False
        with self._lock:
            self._file.seek(int(i) * self.size)
            found = self._file.readinto(image.data.cast("B"))
        return found == self.size and _sum(image) == wanted

    def write(self, i: int, image: np.ndarray) -> None:
        """Keep picture i; where the disk is full, nothing more."""
        if self._full:
            return
        try:
            with self._lock:
                self._file.seek(int(i) * self.size)
                self._file.write(image.data)
        except OSError:
            self._full = True
            return
        self._sums[i] = _sum(image)

    def has(self, i: int) -> bool:
        """Whether picture i seems to be there."""
        return bool(self._sums[i])

    def missing(self, files: Any, found: int) -> None:
        """Hear that pictures had to be decoded; where they are many, let others help.

        Args:
            files: `ImageFiles` of these places, for other processes.
            found: How many were missing.
        """
        self.missed += found
        if self.missed < _HELPED or self._helped or self._full:
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

    They end when all is decoded, or with this process, however it ends. A picture that they cannot
    decode they leave to whoever asks for it, who says why.

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
                start_new_session=True,  # Ctrl-C is for those whom it tells to save
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
    files, part, count = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_leave_with, args=(sys.stdin.buffer,), daemon=True).start()
    n, most = len(files.places), 256
    for begin in range(part * most, n, count * most):
        for i in range(begin, min(begin + most, n)):
            files.fill(i)
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
            key=lambda path: max((p.stat().st_mtime for p in path.glob("*/sums")), default=0.0),
        )
        taken = {path: _taken(path) for path in others}
        free = shutil.disk_usage(root).free + sum(taken.values()) + _taken(folder)
    except OSError as error:
        return None, (
            f"Pictures are decoded again in every epoch: decoded ones cannot be kept in {root} "
            f"({error.strerror})."
        )
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


def _taken(folder: Path) -> int:
    """How many bytes of the disk decoded pictures take now."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*/*"))
