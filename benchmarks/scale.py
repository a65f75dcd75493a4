"""Many classes, many draws: what they take, and that memory does not grow with them.

    python benchmarks/scale.py [--classes 100000] [--draws 10000000] [--shard-rows 100000]

The first part trains a model of vectors with so many classes for some steps, saves it, loads it and
draws one of each. The second writes so many pictures of `mnist-dense` to a folder of `.npz` files
by the command, in a process of its own, and once more a tenth of them; files go to a temporary
folder. Both say the CPU time and the most memory that was resident. The draws take minutes, and a
gigabyte of disk.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def classes(count: int, folder: Path) -> None:
    """Train, save, load and draw with so many classes."""
    from keras_cvae import MLP, ConditionalVAE, load

    rng = np.random.default_rng(0)
    y = rng.integers(0, count, 2048)
    x = rng.normal(size=(2048, 8)).astype("float32")
    path = folder / "model.keras"
    began = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal began
        now = time.perf_counter()
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"{what:30} {now - began:7.2f} s; {used.ru_maxrss / 1024:6.0f} MB at most so far")
        began = time.perf_counter()

    model = ConditionalVAE((8,), count, 4, likelihood="gaussian", backbone=MLP((120,)), seed=0)
    model.compile("adam")
    lap(f"build, {count} classes")
    model.fit(x, y, batch_size=128, epochs=1, verbose=0)
    lap("16 steps of training")
    model.save(path)
    lap(f"save, {path.stat().st_size / 1e6:.0f} MB")
    model = load(path)
    lap("load")
    drawn = model.generate(np.arange(count), seed=0)
    lap(f"draw one of each, {len(drawn)}")


def draws(count: int, rows: int, folder: Path) -> None:
    """Write so many draws by the command."""
    words = ("generate", "mnist-dense", "-c", "2", "--sample", "-n", str(count))
    out = folder / str(count)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-m", "keras_cvae_command", *words]
    subprocess.run([*command, "--shard-rows", str(rows), "-o", str(out)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(
        f"{count} draws: {time.perf_counter() - began:.0f} s, {cpu:.0f} s of CPU, {size:.0f} MB in "
        f"{len([*out.iterdir()]) - 1} files; {used.ru_maxrss / 1024:.0f} MB at most"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=10_000_000)
    parser.add_argument("--shard-rows", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.draws:
            for count in (asked.draws // 10, asked.draws):
                draws(count, asked.shard_rows, Path(folder))
        if asked.classes:
            classes(asked.classes, Path(folder))


if __name__ == "__main__":
    main()
