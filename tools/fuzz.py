"""Break files at random, and read them: each is refused in words, or read; none does harm.

    python tools/fuzz.py --files 10000 --seed 0

Good files (`.keras`, `run.json`, TOML, `.npz`, PNG) are changed: bytes, pieces, and, behind their
checksums, the numbers and names within. A worker reads one after another. A failure is an exception
that is not said in words, a worker that crashes, takes over 10 s for a file, or over 1 GB more than
for good ones; each is printed with the number that makes the file again.
"""

import argparse
import io
import json
import multiprocessing
import queue
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 10.0, 2**30
WORDS = (ValueError, OSError)  # what a reader says, and a user sees as one message
KINDS = (".keras", ".json", ".toml", ".npz", ".png")
NUMBERS = (0, -1, 1, 3, 2**31, 10**9, 10**18, -(10**18), 1e308, 0.5, float("nan"), float("inf"))
VALUES: tuple[Any, ...] = (*NUMBERS, None, True, "", "x", "os.system", [], {}, [[]], "é" * 100)


def good_files(folder: Path) -> dict[str, bytes]:
    """A file of each kind, as it is written."""
    import numpy as np
    from PIL import Image

    import keras_cvae
    from keras_cvae.runs.config import RunConfig

    model = keras_cvae.ConditionalVAE((6,), 3, backbone=keras_cvae.MLP((8,)), seed=0)
    model.compile("adam")
    model.save(folder / "good.keras")
    np.savez_compressed(folder / "good.npz", x=np.arange(60.0).reshape(10, 6), y=np.arange(10) % 2)
    Image.fromarray(np.arange(64, dtype="uint8").reshape(8, 8)).save(folder / "good.png")
    config = RunConfig().model_dump()
    (folder / "good.json").write_text(json.dumps({"data": "digits", "config": config}))
    lines = (f"{name} = {json.dumps(value)}" for name, value in config.items() if value is not None)
    (folder / "good.toml").write_text("\n".join(lines))
    return {kind: (folder / f"good{kind}").read_bytes() for kind in KINDS}


def broken(content: bytes, kind: str, rng: random.Random) -> bytes:
    """The file with something changed."""
    if kind in (".keras", ".npz") and rng.random() < 0.7:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        name = rng.choice([*parts])
        parts[name] = _json(parts[name], rng) if name.endswith("json") else _bytes(parts[name], rng)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            for part, inner in parts.items():
                file.writestr(part, inner)
        return packed.getvalue()
    if kind == ".png" and rng.random() < 0.7:
        return _chunks(content, rng)
    if kind == ".json" and rng.random() < 0.7:
        return _json(content, rng)
    return _bytes(content, rng)


def _bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, repeat, insert, or blank out."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        at, n = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 64, 512))
        how = rng.randrange(5)
        if how == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[at : at + n]
        elif how == 2:
            data[at:at] = data[at : at + n] * rng.choice((1, 2, 50))
        elif how == 3:
            data[at:at] = rng.choice((b"[" * 5000, b"\xff" * n, b"9" * 400, b'{"a":' * 3000))
        else:
            data[at : at + n] = bytes(len(data[at : at + n]))
    return bytes(data)


def _json(content: bytes, rng: random.Random) -> bytes:
    """Put another value in some places, or another name."""
    whole = json.loads(content)
    places: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        keys = [*part] if isinstance(part, dict) else range(len(part))
        places += [(part, key) for key in keys]
        waiting += [part[key] for key in keys if isinstance(part[key], dict | list)]
    for part, key in rng.sample(places, min(len(places), rng.choice((1, 1, 2, 5)))):
        if isinstance(part, dict) and rng.random() < 0.2:
            part[rng.choice(("x", "class_name", "config"))] = part.pop(key, None)
        elif rng.random() < 0.2:
            other, name = rng.choice(places)
            part[key] = other[name] if name in range(len(other)) or name in other else None
        else:
            part[key] = rng.choice(VALUES)
    try:
        return json.dumps(whole).encode()
    except (ValueError, RecursionError):  # it has become a part of itself
        return content


def _chunks(content: bytes, rng: random.Random) -> bytes:
    """Change one chunk of a PNG, and make its checksum right."""
    at, chunks = 8, []
    while at < len(content):
        (n,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + n]))
        at += 12 + n
    i = rng.randrange(len(chunks))
    name, inner = chunks[i]
    chunks[i] = (name, _bytes(inner, rng)[: 2**20])
    if rng.random() < 0.2:
        chunks.insert(i, chunks[i])
    whole = content[:8]
    for name, inner in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + inner))
        whole += struct.pack(">I", len(inner)) + name + inner + checksum
    return whole


def _reader(kind: str) -> Callable[[Path], Any]:
    import keras_cvae
    from keras_cvae.data.images import read_image
    from keras_cvae.data.sources import load
    from keras_cvae.runs.config import load_config
    from keras_cvae.runs.run import Run

    return {
        ".keras": keras_cvae.load,
        ".json": lambda path: Run.open(path.parent),
        ".toml": lambda path: load_config(file=path),
        ".npz": load,
        ".png": lambda path: read_image(path, (8, 8, 1)),
    }[kind]


def _work(numbers: range, seed: int, folder: Path, said: Any) -> None:
    """Read the files of these numbers, and say of each how it went."""
    warnings.simplefilter("ignore")
    good = good_files(folder)
    for kind in KINDS:
        (folder / "run.json").write_bytes(good[".json"])
        _reader(kind)(folder / (f"good{kind}" if kind != ".json" else "run.json"))
    least = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in numbers:
        kind = KINDS[i % len(KINDS)]
        path = folder / ("run.json" if kind == ".json" else f"broken{kind}")
        path.write_bytes(broken(good[kind], kind, random.Random(f"{seed} {i}")))
        said.put((i, kind, "begun", 0))
        try:
            _reader(kind)(path)
            how = "read"
        except WORDS:
            how = "refused"
        except BaseException:
            how = traceback.format_exc(limit=-3)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - least)
        said.put((i, kind, how, grown))


def fuzz(files: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Break and read so many files.

    Returns:
        How often files of a kind were read and refused, and what failed.
    """
    context = multiprocessing.get_context("spawn")
    counts: Counter = Counter()
    failures: list[str] = []
    first, late = 0, -1
    with tempfile.TemporaryDirectory() as folder:
        while first < files:
            said = context.Queue()
            worker = context.Process(
                target=_work, args=(range(first, files), seed, Path(folder), said)
            )
            worker.start()
            before = len(failures)
            first = _watch(worker, said, first, files, counts, failures)
            worker.kill()
            worker.join()
            if failures[before:] and "took over 10 s" in failures[-1] and late != first - 1:
                late = first = first - 1  # once more: the machine may have been busy
                failures.pop()
    return counts, failures


def _watch(
    worker: Any, said: Any, first: int, files: int, counts: Counter, failures: list[str]
) -> int:
    """Listen to a worker till it is done or has failed; return the number to go on with."""
    at, since, begun = first, time.monotonic() + 300, False  # it starts within five minutes
    while at < files:
        try:
            i, kind, how, grown = said.get(timeout=1.0)
        except queue.Empty:
            late = time.monotonic() - since > SECONDS
            if worker.is_alive() and not late:
                continue
            name = f"file {at} ({KINDS[at % len(KINDS)]})"
            failures.append(f"{name}: {'took over 10 s' if late else 'the worker crashed'}")
            if not begun:
                raise RuntimeError("The worker does not start.") from None
            return at + 1
        since, begun = time.monotonic(), True
        if how == "begun":
            at = i
            continue
        at = i + 1
        counts[kind, how if how in ("read", "refused") else "failed"] += 1
        if how not in ("read", "refused"):
            failures.append(f"file {i} ({kind}): {how}")
        if grown > MEMORY:
            failures.append(f"file {i} ({kind}): took {grown} bytes more than good files")
            return at
    return at


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts, failures = fuzz(asked.files, asked.seed)
    for (kind, how), n in sorted(counts.items()):
        print(f"{kind:8}{how:10}{n:7}")
    print(*failures, f"{len(failures)} of {asked.files} failed.", sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
