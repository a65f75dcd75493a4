"""Speed-up against devices: measured here, and on paper where there are 8, 64 and 512.

    python benchmarks/scaling.py DATA [--presets dense conv record] [--many 1x1 1x2 2x1]
        [--steps N] [--epochs 4] [--batch-size N] [--out scaling.json]

DATA is `mnist` or an .npz file. `--many` says what is measured: processes x devices of each. The
devices of one process are emulated on a CPU and share its cores: they show what dividing costs, and
no speed-up. So do processes, once there are more of them than cores.

Measured are, for each preset, milliseconds a step (the median of epochs of so many steps; the first
two, which compile, are left out) of the same training, and how long an all-reduce takes of as many
bytes as the gradients have, in one array as a step sends them, and in as many arrays as there are
weights. The step of two processes is compared with what it should be: that of half a batch on half
of the cores, and the all-reduce. `record` takes few examples a step here: what is asked of a CPU is
whether the formula is right, and its gradients are as many whatever the batch.

On paper, for an H100, a step takes compute + reduce. Compute is a floor, the starting of kernels,
and the rest in proportion to a device's rows. The reduction is a ring: 2 (n - 1) / n of the bytes
over its slowest link, and its latency 2 log2(n) times. Figures of the step are those of
docs/results/gpu.md; that floor is known of `conv` alone, by two sizes of a batch (in two
precisions), and assumed for the others; links are their makers' figures. What binds is the largest.
With the same batch the model is that of one device; n times the batch is another training.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from keras_cvae import devices
from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split
from keras_cvae.data.sources import load
from keras_cvae.runs import processes
from keras_cvae.runs.build import build_model
from keras_cvae.runs.config import load_config

# isort: split
import jax
import numpy as np

from training import clock

PRESETS = ("dense", "conv", "record")
STEPS = {"dense": 30, "conv": 10, "record": 2}  # of an epoch
BATCH = {"record": 8}  # where the preset's would take minutes a step on a CPU
STEP = {"dense": 754e-6, "conv": 936e-6, "record": 5.9e-3}  # seconds, of the preset's batch
FLOOR = {"dense": 0.93, "conv": 0.93, "record": 0.5}  # the share of it that no rows cause
LINKS = {  # bytes/s and seconds of the slowest link
    8: ("NVLink 4", 450e9, 5e-6),
    64: ("InfiniBand 400 Gb/s", 50e9, 10e-6),
    512: ("InfiniBand 400 Gb/s", 50e9, 10e-6),
}


def reduction(shapes, repeats=20):
    """Seconds of an all-reduce of arrays of these shapes over all devices that have joined."""
    rows = devices.joined()

    def ones(shape):
        whole = (rows.among, *shape)
        part = np.ones((1, *shape), "float32")
        return jax.make_array_from_callback(whole, rows.divided, lambda _: part)

    total = jax.jit(lambda parts: [part.sum(0) for part in parts], out_shardings=rows.whole)
    parts, taken = [ones(shape) for shape in shapes], []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(total(parts))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def worker(source, preset, steps, epochs, batch_size, out):
    """Measure in one of the processes; the first one writes."""
    number = int(os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"])
    if os.environ["SCALING_JOINS"] == "1":
        processes.join(number)
    import keras

    data, config = load(source), load_config(preset, epochs=epochs)
    batch_size = batch_size or config.batch_size
    config = config.model_copy(update={"batch_size": batch_size})
    few = np.resize(np.arange(len(data.train)), steps * batch_size)
    train = data.train.take(few)
    model = build_model(config, data)
    order = {"shuffle": True, "binarize": config.binarize}
    moves = {"shift": config.shift, "shift_epochs": epochs}
    timer = clock(keras.callbacks.Callback)
    batches = Batches(Split(train.x, train.y), batch_size, **order, **moves)
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=[timer])
    shapes = [tuple(weight.shape) for weight in model.trainable_variables]
    size = sum(map(math.prod, shapes))
    found = {"step": statistics.median(timer.seconds[2:]) / steps, "batch": batch_size}
    found |= {"bytes": 4 * size, "arrays": len(shapes)}
    if devices.joined():
        found |= {"reduce": reduction([(size,)]), "reduce_each_array": reduction(shapes)}
    if devices.index() == 0:
        Path(out).write_text(json.dumps(found))
    devices.leave()


def measured(source, preset, many, args, batch_size=0, cores=None):
    """What so many processes and devices measure; all on some of the cores."""
    number, each = map(int, many.split("x"))
    before = dict(os.environ), os.sched_getaffinity(0)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={each}"
    os.environ |= {"XLA_FLAGS": flags, "SCALING_JOINS": str(int(number * each > 1))}
    batch_size = batch_size or BATCH.get(preset, 0)
    steps = args.steps or STEPS[preset]
    words = ["--steps", steps, "--epochs", args.epochs, "--batch-size", batch_size]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        words += ["--presets", preset, "--worker", found]
        try:
            os.sched_setaffinity(0, sorted(before[1])[:cores])
            if processes.spawn([sys.executable, __file__, source, *map(str, words)], number):
                raise SystemExit(f"{preset} {many}: not measured")
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            os.sched_setaffinity(0, before[1])
        return json.loads(found.read_text())


def here(source, preset, args):
    """Measure a preset; print a line for each, and how right the formula is."""
    results, cores = {}, len(os.sched_getaffinity(0))
    for many in args.many:
        results[many] = one = measured(source, preset, many, args, args.batch_size)
        reduce = f", all-reduce {1e3 * one['reduce']:.2f} ms" if "reduce" in one else ""
        gain = results[args.many[0]]["step"] / one["step"]
        print(f"{preset} {many}: {1e3 * one['step']:.2f} ms a step{reduce}, {gain:.2f} times")
    if "2x1" in results and cores > 1:
        two = results["2x1"]
        half = measured(source, preset, "1x1", args, two["batch"] // 2, cores // 2)
        paper = half["step"] + two["reduce"]
        print(
            f"{preset}: two processes, predicted {1e3 * paper:.2f} ms ({1e3 * half['step']:.2f} of "
            f"half a batch and the all-reduce), measured {1e3 * two['step']:.2f}; the same "
            f"{two['bytes'] / 1e6:.1f} MB in {two['arrays']} arrays take "
            f"{1e3 * two['reduce_each_array']:.2f} ms"
        )
        results["half"] = half
    return results


def on_paper(preset, size):
    """Print what binds with many devices, for gradients of so many bytes."""
    step, floor = STEP[preset], FLOOR[preset] * STEP[preset]
    for n, (link, speed, latency) in LINKS.items():
        moving, waiting = 2 * (n - 1) / n * size / speed, 2 * math.log2(n) * latency
        rows = (step - floor) / n
        parts = {"kernels": floor, "rows": rows, link: moving, "latency": waiting}
        same, more = sum(parts.values()), step + moving + waiting
        print(
            f"{preset}, {n} devices, {size / 1e6:.1f} MB: "
            + ", ".join(f"{name} {1e6 * part:.0f} us" for name, part in parts.items())
            + f"; {step / same:.2f} times as fast, {n * step / more:.0f} times with {n} times the "
            f"batch; what binds: {max(parts, key=parts.get)}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data")
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument("--many", nargs="+", default=["1x1", "1x2", "2x1"])
    parser.add_argument("--steps", type=int, help="Of an epoch; fewer where they are slow.")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        words = (args.presets[0], args.steps, args.epochs, args.batch_size, args.worker)
        worker(args.data, *words)
        return
    results = {preset: here(args.data, preset, args) for preset in args.presets}
    for preset, found in results.items():
        on_paper(preset, next(iter(found.values()))["bytes"])
    if args.out:
        args.out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
