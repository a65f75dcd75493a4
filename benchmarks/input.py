"""How fast pictures come in: a million PNGs in memory, in tar shards and in a folder.

    python benchmarks/input.py [--images 1000000] [--epochs 3] [--preset conv] [--folder DIR]

Makes PNGs of 32x32 pixels as shards and as a folder, which are kept in DIR, then trains the preset
on each in a process of its own with an empty cache of pictures, in turn:

    memory       all pixels in memory, as bytes
    shards       tars of 10,000, decoded once into the user's cache
    folder       ten folders of classes, likewise
    decoded      the shards again, with what the run before has decoded
    each epoch   the shards, decoded in every epoch (KERAS_CVAE_PICTURES_GB=0)

Printed: seconds from the start of the process to the first step done, pictures a second in every
epoch (the first without its first step) relative to those in memory, and the resident memory at the
end of every epoch. What all should reach on two cores: 80 % in every epoch but the first, the first
step within 20 s, memory that does not grow. `--steps` ends each epoch early.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

STARTED = time.perf_counter()
os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np  # noqa: E402

SIDE, CLASSES, SHARD = 32, 10, 10_000


def pictures(shard, count):
    """Pictures `(count, 32, 32, 3)` of soft spots whose colours and places go with their class."""
    rng = np.random.default_rng(shard)
    y = rng.integers(0, CLASSES, count)
    at = rng.uniform(4, 28, (count, 2, 1, 1)) + np.stack([y - 5.0, 5.0 - y], 1)[:, :, None, None]
    grid = np.mgrid[:SIDE, :SIDE][None].astype("float32")
    spot = np.exp(
        -np.square(grid - at.astype("float32")).sum(1)
        / rng.uniform(8, 60, (count, 1, 1)).astype("float32")
    )[..., None]
    color = (
        rng.uniform(60, 255, (count, 1, 1, 3)).astype("float32")
        * np.eye(3, dtype="float32")[y % 3][:, None, None]
        * 0.5
        + 90
    )
    noise = rng.integers(0, 9, (count, SIDE, SIDE, 3))
    return np.clip(spot * color + noise, 0, 255).astype(np.uint8), y


def encoded(picture):
    """A PNG as `zlib` makes it quickly: it is decoded as any other."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png", compress_level=1)
    return stream.getvalue()


def write_shard(task):
    """One tar and the same pictures as files."""
    root, shard, count = task
    path = root / "shards" / f"{shard:05}.tar"
    if path.is_file():
        return
    x, y = pictures(shard, count)
    for name, part in (("x", x), ("y", y)):
        whole = np.load(root / f"{name}.npy", mmap_mode="r+")
        whole[shard * SHARD :][:count] = part
        whole.flush()
    with tarfile.open(path.with_suffix(".part"), "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, (picture, label) in enumerate(zip(x, y.tolist(), strict=True)):
            name = f"{shard * SHARD + i:08}"
            content = encoded(picture)
            (root / "folder" / str(label) / f"{name}.png").write_bytes(content)
            for kind, part in (("png", content), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{name}.{kind}")
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))
    path.with_suffix(".part").rename(path)


def make(root, images):
    """Shards, a folder and an array of the same pictures; what is there already stays."""
    tasks = [(root, i, min(SHARD, images - i * SHARD)) for i in range(-(-images // SHARD))]
    for label in range(CLASSES):
        (root / "folder" / str(label)).mkdir(parents=True, exist_ok=True)
    (root / "shards").mkdir(exist_ok=True)
    for name, shape, kind in (("x", (images, SIDE, SIDE, 3), "u1"), ("y", (images,), "i8")):
        if not (root / f"{name}.npy").is_file():
            np.lib.format.open_memmap(root / f"{name}.npy", "w+", kind, shape).flush()
    with ProcessPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(write_shard, tasks), 1):
            print(f"\r{done} of {len(tasks)} shards", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def in_memory(root):
    from keras_cvae.data.arrays import from_arrays

    x, y = np.load(root / "x.npy"), np.load(root / "y.npy")
    return from_arrays(x, y, validation=0)


class EnoughError(Exception):
    """An epoch ends early."""


def resident():
    """Megabytes of this process, and of them those that are no mapped files."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        found = dict(line.split(":", 1) for line in file)
    return [int(found[name].split()[0]) // 1024 for name in ("VmRSS", "RssAnon")]


def train(how, root, args):
    """Train in this process; prints what was measured as JSON."""
    import keras

    import keras_cvae  # noqa: F401
    from keras_cvae.data.batches import Batches
    from keras_cvae.data.containers import Split
    from keras_cvae.data.sources import load
    from keras_cvae.runs.build import build_model
    from keras_cvae.runs.config import load_config

    config = load_config(args.preset, validation=0)
    if how == "memory":
        data = in_memory(root)
    else:
        data = load(root / ("folder" if how == "folder" else "shards"), validation=0)
        if isinstance(data.train.x, np.ndarray):
            data = load(
                root / ("folder" if how == "folder" else "shards"), validation=0, memory_limit=0
            )
    loaded = time.perf_counter() - STARTED
    model = build_model(config, data)
    found = {"loaded": loaded, "first": None, "rates": [], "memory": [], "losses": []}

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.begun, self.done = time.perf_counter(), 0

        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                float(logs["loss"])  # the first step is over
                self.begun = time.perf_counter()
                found["first"] = found["first"] or self.begun - STARTED
            else:
                self.done += 1
            if batch + 1 == args.steps:
                self.end()
                raise EnoughError

        def on_epoch_end(self, epoch, logs=None):
            self.end(logs)

        def end(self, logs=None):
            seconds = time.perf_counter() - self.begun
            found["rates"].append(self.done * config.batch_size / seconds)
            found["memory"].append(resident())
            found["losses"].append(None if logs is None else float(logs["loss"]))

    split = Split(data.train.x, model.fitted_spec.prepare(data.train.y))
    batches = Batches(split, config.batch_size, shuffle=True, binarize=config.binarize)
    for epoch in range(args.epochs):
        try:
            model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                verbose=0,
                callbacks=[Watch()],
            )
        except EnoughError:
            batches.next_epoch()
    print(json.dumps(found))


def measure(how, root, args):
    """Train in a process of its own."""
    cache = root / "cache"
    if how != "decoded":
        shutil.rmtree(cache / "keras-cvae" / "pictures", ignore_errors=True)
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(cache / "jax")
    environment["KERAS_CVAE_PICTURES_GB"] = "0" if how == "each epoch" else "1000"
    asked = [f"--{k}={v}" for k, v in vars(args).items() if k not in ("run", "only") and v]
    command = [sys.executable, __file__, *asked, f"--run={how}"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="of an epoch; 0 for all")
    parser.add_argument("--preset", default="conv")
    parser.add_argument("--folder", type=Path, default=Path("build/input"))
    parser.add_argument("--only", nargs="*", help="which of them, beside memory")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    root = args.folder.absolute() / str(args.images)
    if args.run:
        train(args.run, root, args)
        return
    begun = time.perf_counter()
    make(root, args.images)
    print(f"{args.images:,} PNGs of {SIDE}x{SIDE} made in {time.perf_counter() - begun:.0f} s")
    ways = ["memory", *(args.only or ("shards", "decoded", "folder", "each epoch"))]
    rates, losses = None, None
    print(
        "| | listed s | first step s | pictures a second, relative | memory MB (of it anonymous) |"
    )
    print("|---|---|---|---|---|")
    for how in ways:
        found = measure(how, root, args)
        rates = rates or found["rates"]
        relative = ", ".join(
            f"{rate:,.0f} ({rate / base:.0%})"
            for rate, base in zip(found["rates"], rates, strict=True)
        )
        memory = ", ".join(f"{all_of_it} ({own})" for all_of_it, own in found["memory"])
        print(f"| {how} | {found['loaded']:.1f} | {found['first']:.1f} | {relative} | {memory} |")
        if how == "memory":
            losses = found["losses"]
        elif how != "folder" and found["losses"] != losses:  # which has another order
            print(f"Its losses differ: {found['losses']} from {losses}.")


if __name__ == "__main__":
    main()
