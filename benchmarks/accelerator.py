"""How near the presets come to what a GPU can do.

    python benchmarks/accelerator.py DATA [--presets dense conv strong record] [--epochs 4]
        [--batch-size N] [--precision mixed_bfloat16]

DATA is `mnist` or an .npz file. First the chip itself: products of large matrices, float32 (as JAX
computes them by default, TF32 on Hopper) and bfloat16, and a copy in its memory. Then each preset,
trained as `cvae train` does it, without validation: seconds of the first epoch (it compiles) and of
a later one, microseconds a step, and how much of the chip that is. Arithmetic is counted by XLA in
the program before it is compiled, bytes in the compiled one (operands and results of each kernel,
whether they come from a cache or not). The larger of the two shares is how near a preset is.
"""

import argparse
import statistics
import time
from pathlib import Path

from keras_cvae.backend import accelerated
from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split
from keras_cvae.data.sources import load
from keras_cvae.runs.build import build_model
from keras_cvae.runs.config import load_config

# isort: split
import jax
import jax.numpy as jnp
import keras

from training import clock

PRESETS = ("dense", "conv", "strong", "record")


class Counted:
    """The compiled program of many steps, and what one step of it costs.

    Args:
        program: What `Fused.program` gives.
    """

    def __init__(self, program):
        self.program, self.compiled = program, {}

    def __call__(self, *args, count, **static):
        given = {} if accelerated() else {"count": count}  # where it is not compiled in
        key = (*static.items(), None if given else count)
        static["count"] = count
        if key not in self.compiled:
            self.compiled[key] = self.program.lower(*args, **static).compile()
            if len(self.compiled) == 1:  # a whole batch comes first
                self.bytes = _cost(self.compiled[key], "bytes accessed")
                shapes = jax.eval_shape(lambda *args: args, *args)
                with jax.default_device(jax.devices("cpu")[0]):  # XLA counts on the host alone
                    self.flops = _cost(self.program.lower(*shapes, **static), "flops")
        return self.compiled[key](*args, **given)


def _cost(stage, name):
    """What XLA's cost analysis says of a lowered or compiled program."""
    return (stage.cost_analysis() or {}).get(name, float("nan"))


def seconds(work, repeats=20):
    """Of one call, on the device; the best of three series."""
    work().block_until_ready()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(repeats):
            last = work()
        last.block_until_ready()
        taken.append((time.perf_counter() - began) / repeats)
    return min(taken)


def chip(size=8192):
    """FLOP/s of products by precision, and bytes/s of a copy, read and written."""
    key = jax.random.key(0)
    rates = {}
    for precision, dtype in (("float32", jnp.float32), ("mixed_bfloat16", jnp.bfloat16)):
        a, b = (jax.random.normal(k, (size, size), dtype) for k in jax.random.split(key))
        product = jax.jit(jnp.matmul)
        rates[precision] = 2 * size**3 / seconds(lambda p=product, a=a, b=b: p(a, b))
    a = jax.random.normal(key, (size, 4 * size))
    copy = jax.jit(lambda a: -a)
    return rates, 2 * a.nbytes / seconds(lambda: copy(a))


def trained(preset, data, options):
    """Seconds of each epoch, steps of one, and what a step costs."""
    given = {"batch_size": options.batch_size, "precision": options.precision}
    config = load_config(preset, epochs=options.epochs, **given)
    model = build_model(config, data)
    y = model.condition.spec.prepare(data.train.y)
    order = {"shuffle": True, "seed": config.seed, "binarize": config.binarize}
    order |= {"shift": config.shift, "shift_epochs": options.epochs}
    batches = Batches(Split(data.train.x, y), config.batch_size, **order)
    counted = Counted(model._fused.program("train"))
    model._fused._programs["train"] = counted
    timer = clock(keras.callbacks.Callback)
    model.fit(batches, epochs=options.epochs, shuffle=False, verbose=0, callbacks=[timer])
    return timer.seconds, len(batches), counted, config


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16", "mixed_float16"))
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs must be at least 2: the first one compiles")

    print(jax.devices()[0].device_kind, flush=True)
    rates, bandwidth = chip(8192 if jax.default_backend() != "cpu" else 1024)
    words = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.items())
    print(f"products, TFLOP/s: {words}; copies {bandwidth / 1e12:.3g} TB/s", flush=True)
    print(
        f"{'preset':12}{'batch':>6}{'first s':>9}{'s/epoch':>9}{'us/step':>9}"
        f"{'TFLOP/s':>9}{'share':>7}{'TB/s':>7}{'share':>7}"
    )
    data = load(str(options.data), validation=0.02)
    for preset in options.presets:
        epochs, steps, cost, config = trained(preset, data, options)
        step = statistics.median(epochs[1:]) / steps
        flops, moved = cost.flops / step, cost.bytes / step
        rate = rates["float32" if config.precision == "float32" else "mixed_bfloat16"]
        print(
            f"{preset:12}{config.batch_size:6}{epochs[0]:9.1f}{step * steps:9.3f}{step * 1e6:9.0f}"
            f"{flops / 1e12:9.2f}{flops / rate:7.1%}{moved / 1e12:7.2f}{moved / bandwidth:7.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
