"""Training: ours, plain Keras `fit` on TensorFlow and JAX, pythae, and a hand-written JAX scan.

    python benchmarks/training.py [mnist.npz] [--epochs 4] [--rounds 3] [--images 60000]
    python benchmarks/training.py [mnist.npz] --grow docs/training-cost.png

The 2017 notebook's model (784+10 - 512 - z 2 - 512 - 784, batch 250, Adam; pythae's VAE of that
size has z 16 and no condition). Each round is one process of each, which take turns; an epoch's
time is the median over epochs but the first, the figure printed the median over rounds. Expected
on two AVX-512 cores: at least 2.5 times Keras on TensorFlow, 2.3 times pythae, at most 1.03 times
the scan, at most 1.2 times its memory. The first step is counted from the start of the process,
for ours with an empty and with a filled compilation cache. About 10 minutes.

`--grow` draws how the cost of an epoch of ours grows with batch, width, data and image.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.perf_counter()
os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np  # noqa: E402

WIDTH, LATENT, BATCH, CLASSES, RATE = 512, 2, 250, 10, 1e-3


# One process each: x (n, 28, 28) uint8, y (n,) int32, epochs -> seconds of each epoch ------------


def keras_fit(x, y, epochs):
    """The notebook as one would write it for Keras 3: `add_loss` for the KL, then `fit`."""
    import keras
    from keras import layers, ops

    class Sample(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seeds = keras.random.SeedGenerator(0)

        def call(self, inputs):
            mean, log_var = inputs
            kl = -0.5 * ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var), axis=-1)
            self.add_loss(ops.mean(kl))
            return mean + ops.exp(0.5 * log_var) * keras.random.normal(
                ops.shape(mean), seed=self.seeds
            )

    pixels = x[0].size
    image, label = keras.Input((pixels,)), keras.Input((CLASSES,))
    hidden = layers.Dense(WIDTH, "relu")(layers.concatenate([image, label]))
    z = Sample()([layers.Dense(LATENT)(hidden), layers.Dense(LATENT)(hidden)])
    hidden = layers.Dense(WIDTH, "relu")(layers.concatenate([z, label]))
    model = keras.Model([image, label], layers.Dense(pixels, "sigmoid")(hidden))

    def reconstruction(true, predicted):
        return pixels * keras.losses.binary_crossentropy(true, predicted)

    model.compile(keras.optimizers.Adam(RATE), loss=reconstruction)
    timer = clock(keras.callbacks.Callback)
    flat = x.reshape(len(x), -1).astype("float32") / 255
    labels = keras.utils.to_categorical(y, CLASSES)
    model.fit([flat, labels], flat, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[timer])
    return timer.seconds


def ours(x, y, epochs, width=WIDTH, batch=BATCH):
    """`Batches` of the stored bytes in the process of a command, as `cvae train` does it."""
    os.environ["KERAS_CVAE_LAZY"] = "1"
    from keras_cvae.backend import choose_backend, import_light_keras, prepare_command

    choose_backend()
    prepare_command()
    import_light_keras()
    import keras

    from keras_cvae.data.batches import Batches
    from keras_cvae.data.containers import Split

    batches = Batches(Split(x[..., None], y), batch, shuffle=True)
    return _fitted(keras, x.shape[1:], width, epochs, x=batches, shuffle=False)


def ours_arrays(x, y, epochs):
    """`fit(x, y)` on floats, as in a notebook."""
    import keras

    x = x[..., None].astype("float32") / 255
    return _fitted(keras, x.shape[1:3], WIDTH, epochs, x=x, y=y, batch_size=BATCH)


def _fitted(keras, shape, width, epochs, **data):
    from keras_cvae import MLP, ConditionalVAE

    model = ConditionalVAE((*shape, 1), CLASSES, LATENT, backbone=MLP((width,), "relu"), seed=0)
    model.compile(keras.optimizers.Adam(RATE))
    timer = clock(keras.callbacks.Callback)
    model.fit(**data, epochs=epochs, verbose=0, callbacks=[timer])
    return timer.seconds


def clock(base):
    """A callback of the class `base` that keeps the seconds of each epoch."""

    class Clock(base):
        async_safe = True

        def on_epoch_begin(self, *_, **__):
            self.began = time.perf_counter()

        def on_epoch_end(self, *_, **__):
            self.seconds.append(time.perf_counter() - self.began)

    timer = Clock()
    timer.seconds = []
    return timer


def first_step(x, y, epochs):
    """From the start of the process to the end of the first step."""
    ours(x, y, 1)
    return [time.perf_counter() - STARTED] * 2


def scan(x, y, epochs):
    """The same step by hand: one compiled scan over the epoch, the bytes on the device."""
    import jax
    import jax.numpy as jnp

    n, pixels = len(x), x[0].size
    key = jax.random.key(0)
    shapes = [(pixels + CLASSES, WIDTH), (WIDTH, 2 * LATENT), (LATENT + CLASSES, WIDTH)]
    shapes += [(WIDTH, pixels)]
    glorot = jax.nn.initializers.glorot_uniform()
    weights = [(glorot(jax.random.key(i), s), jnp.zeros(s[1])) for i, s in enumerate(shapes)]

    def dense(layer, x):
        return x @ layer[0] + layer[1]

    def loss(weights, x, label, noise):
        encode, head, decode, out = weights
        hidden = jax.nn.relu(dense(encode, jnp.concatenate([x, label], 1)))
        mean, log_var = jnp.split(dense(head, hidden), 2, axis=1)
        z = mean + jnp.exp(0.5 * log_var) * noise
        hidden = jax.nn.relu(dense(decode, jnp.concatenate([z, label], 1)))
        logits = dense(out, hidden)
        kl = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var), 1)
        return jnp.mean(jnp.sum(jax.nn.softplus(logits) - x * logits, 1) + kl)

    def step(state, rows):
        weights, first, second, count, key = state
        key, noise = jax.random.split(key)
        noise = jax.random.normal(noise, (BATCH, LATENT))
        batch = data[0][rows].astype(jnp.float32) / 255, jax.nn.one_hot(data[1][rows], CLASSES)
        value, grads = jax.value_and_grad(loss)(weights, *batch, noise)
        count += 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        rate = RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second
        )
        return (weights, first, second, count, key), value

    @jax.jit
    def epoch(state, order):
        state, losses = jax.lax.scan(step, state, order)
        return state, losses.mean()

    data = jax.device_put((x.reshape(n, -1), y))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state, seconds = (weights, zeros, zeros, jnp.float32(0), key), []
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        began = time.perf_counter()
        order = rng.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH)
        state, value = epoch(state, order)
        float(value)
        seconds.append(time.perf_counter() - began)
    return seconds


def pythae_vae(x, y, epochs, flush=False):
    """pythae's own model and trainer, with its defaults but batch size and learning rate."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    torch.set_flush_denormal(flush)
    images = torch.from_numpy(x[:, None].astype("float32") / 255)
    timer = clock(TrainingCallback)
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=RATE,
            per_device_train_batch_size=BATCH,
            no_cuda=True,
        )
        model = VAE(
            VAEConfig(input_dim=(1, *x.shape[1:]), latent_dim=16, reconstruction_loss="bce")
        )
        trainer = BaseTrainer(
            model, BaseDataset(images, torch.zeros(len(x))), None, settings, callbacks=[timer]
        )
        trainer.train()
    return timer.seconds


def pythae_flush(x, y, epochs):
    return pythae_vae(x, y, epochs, flush=True)


# How it grows ------------------------------------------------------------------------------------


GROWTH = {
    "batch size": (25, 50, 100, 250, 500, 1000),
    "width of the hidden layers": (64, 128, 256, 512, 1024),
    "training images": (7_500, 15_000, 30_000, 60_000),
    "pixels on a side": (14, 28, 56),
}


def grow(x, y, epochs):
    """Seconds per epoch of ours for each value of each axis of GROWTH."""
    found = {}
    for axis, values in GROWTH.items():
        for value in values:
            images, labels, options = x, y, {}
            if axis == "batch size":
                options = {"batch": value}
            elif axis.startswith("width"):
                options = {"width": value}
            elif axis == "training images":
                images, labels = x[:value], y[:value]
            elif value < 28:
                images = np.ascontiguousarray(x[:, ::2, ::2])
            elif value > 28:
                images = x.repeat(2, axis=1).repeat(2, axis=2)
            seconds = ours(images, labels, epochs, **options)
            found.setdefault(axis, []).append([value, statistics.median(seconds[1:])])
    return found


def draw_growth(found, path):
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(1, len(found), figsize=(13, 3), sharey=True, layout="constrained")
    for axis, (name, points) in zip(axes, found.items(), strict=True):
        values, seconds = zip(*points, strict=True)
        axis.loglog(values, seconds, "o-")
        axis.set_xlabel(name)
        axis.set_xticks(values, [f"{v:,}" for v in values], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds per epoch")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    figure.savefig(path, dpi=120)


# Side by side ------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="mnist.npz; without it Keras' own copy")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--without", nargs="*", default=[], help="competitors to leave out")
    parser.add_argument("--grow", metavar="PNG", help="draw how the cost grows instead")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = options.data or _downloaded()
    if options.worker:
        if options.worker == "first_step":  # without the time to unpack the data
            x, y = np.zeros((BATCH, 28, 28), np.uint8), np.zeros(BATCH)
        else:
            with np.load(path) as archive:
                x, y = (archive[f"{name}_train"][: options.images] for name in "xy")
        seconds = globals()[options.worker](x, y.astype(np.int32), options.epochs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak}))
        return
    if options.epochs < 2:
        parser.error("--epochs must be at least 2: the first one compiles")

    from peers import KERAS, PYTHAE, measure, python

    flags = (path, "--epochs", options.epochs, "--images", options.images, "--worker")
    if options.grow:
        draw_growth(measure(sys.executable, __file__, *flags, "grow")["seconds"], options.grow)
        print(f"Drawn in {options.grow}")
        return
    with tempfile.TemporaryDirectory() as cache:
        cached = {"XDG_CACHE_HOME": cache, "JAX_COMPILATION_CACHE_DIR": cache}
        runs = {  # name: (worker, interpreter, environment)
            "Keras fit, TensorFlow": (
                "keras_fit",
                ("keras", KERAS),
                {"KERAS_BACKEND": "tensorflow"},
            ),
            "Keras fit, JAX": ("keras_fit", None, {"KERAS_BACKEND": "jax"}),
            "pythae": ("pythae_vae", ("pythae", PYTHAE), {}),
            "pythae, flush_denormal": ("pythae_flush", ("pythae", PYTHAE), {}),
            "JAX scan, by hand": ("scan", None, {}),
            "keras-cvae": ("ours", None, {}),
            "keras-cvae, fit(x, y)": ("ours_arrays", None, {}),
            "first step, cold": ("first_step", None, {"JAX_ENABLE_COMPILATION_CACHE": "0"}),
            "first step, warm": ("first_step", None, cached),
        }
        runs = {name: run for name, run in runs.items() if run[0] not in options.without}
        found = {name: [] for name in runs}
        if "first step, warm" in runs:
            measure(sys.executable, __file__, *flags, "first_step", environment=cached)
        for _ in range(options.rounds):
            for name, (worker, peer, environment) in runs.items():
                interpreter = python(*peer) if peer else sys.executable
                one = measure(interpreter, __file__, *flags, worker, environment=environment)
                found[name].append((statistics.median(one["seconds"][1:]), one["peak"]))
    _report(found, options)


def _report(found, options):
    middle = {
        name: [statistics.median(one[i] for one in rounds) for i in (0, 1)]
        for name, rounds in found.items()
    }
    print(f"{options.images:,} images, median of {options.rounds} rounds on {os.cpu_count()} cores")
    print(f"{'':26}{'s/epoch':>9}{'peak MB':>9}{'x ours':>8}")
    seconds, peak = middle["keras-cvae"]
    for name, (s, mb) in middle.items():
        if not name.startswith("first"):
            print(f"{name:26}{s:9.2f}{mb:9.0f}{s / seconds:8.2f}")
    for name in ("first step, cold", "first step, warm"):
        if name in middle:
            print(f"{name:26}{middle[name][0]:7.2f} s")
    hand = middle.get("JAX scan, by hand")
    if hand:
        print(f"ours / scan: {seconds / hand[0]:.3f} in time, {peak / hand[1]:.2f} in memory")


def _downloaded():
    import keras

    keras.datasets.mnist.load_data()
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets" / "mnist.npz"


if __name__ == "__main__":
    main()
