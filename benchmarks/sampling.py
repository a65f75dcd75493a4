"""Drawing images: ours, pythae, Keras `predict`, and what the matrix products allow.

    python benchmarks/sampling.py [--images 10000] [--rounds 5]

Equal models (16 - 512 - 784, Bernoulli, untrained) take turns; each round is one process of each.
Images per second in memory and as PNG files, and the time to draw one. The limit is the decoder's
two matrix products alone. Expected on two AVX-512 cores: pythae 226,000 images/s in memory and
2,500 as PNG, Keras `predict` 68,000; the limit is near 240,000. About two minutes.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from likelihood import HIDDEN, LATENT, PIXELS, seconds

PNGS = 2000


def ours(images):
    import jax

    from keras_cvae import MLP, ConditionalVAE
    from keras_cvae.figures import writing
    from keras_cvae.inference import steps

    model = ConditionalVAE((28, 28, 1), latent_dim=LATENT, backbone=MLP((HIDDEN,)), seed=0)

    def draw(n=images):
        return model.generate(n=n, seed=0)

    def write():
        with tempfile.TemporaryDirectory() as folder:
            for i, image in enumerate(draw(PNGS)):
                writing.save_image(image, Path(folder) / f"{i:05}.png")

    z = np.random.default_rng(0).standard_normal((images, LATENT), "float32")

    def predict(n=images):
        return model.decoder.predict({"z": z[:n]}, batch_size=256, verbose=0)

    rng, rows = np.random.default_rng(0), steps.decoded_at_once(model)
    shapes = ((rows, LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS))
    parts = [jax.device_put(rng.standard_normal(shape, "float32")) for shape in shapes]
    product = jax.jit(lambda z, first, second: (z @ first) @ second)
    for warm in (draw, lambda: draw(1), lambda: draw(PNGS), predict, lambda: predict(1)):
        warm()
    product(*parts).block_until_ready()
    return {
        "memory": images / seconds(draw, 7),
        "png": PNGS / seconds(write, 2),
        "one": seconds(lambda: draw(1), 50),
        "predict_memory": images / seconds(predict, 7),
        "predict_one": seconds(lambda: predict(1), 50),
        "limit": rows / seconds(lambda: product(*parts).block_until_ready(), 50),
    }


def pythae(images):
    import torch
    from pythae.models import VAE, VAEConfig
    from pythae.samplers import NormalSampler

    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT)).eval()
    sampler = NormalSampler(model)

    def draw(n=images):
        with torch.no_grad():
            return sampler.sample(n, batch_size=500, return_gen=True)

    def write():
        with tempfile.TemporaryDirectory() as folder:
            sampler.sample(PNGS, batch_size=500, output_dir=folder, return_gen=False)

    draw(), draw(1)
    return {
        "memory": images / seconds(draw, 7),
        "png": PNGS / seconds(write, 2),
        "one": seconds(lambda: draw(1), 50),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=("ours", "pythae"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(globals()[options.worker](options.images)))
        return
    from peers import PYTHAE, measure, python

    other = python("pythae", PYTHAE)
    flags = ("--images", options.images, "--worker")
    rounds = []
    for _ in range(options.rounds):
        theirs = measure(other, __file__, *flags, "pythae")
        mine = measure(sys.executable, __file__, *flags, "ours")
        rounds.append(mine | {f"pythae_{key}": value for key, value in theirs.items()})
    found = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    print(f"{options.images} images, median of {options.rounds} rounds")
    print(f"{'':22}{'in memory':>12}{'as PNG':>10}{'one image':>12}")
    for name, key in (("keras-cvae generate", ""), ("pythae sample", "pythae_")):
        memory, png, one = (found[key + what] for what in ("memory", "png", "one"))
        print(f"{name:22}{memory:10,.0f}/s{png:8,.0f}/s{1000 * one:9.2f} ms")
    memory, one = found["predict_memory"], found["predict_one"]
    print(f"{'Keras predict':22}{memory:10,.0f}/s{'':>10}{1000 * one:9.2f} ms")
    print(f"{'limit: products, XLA':22}{found['limit']:10,.0f}/s")
    print(
        f"of pythae: {found['memory'] / found['pythae_memory']:.2f} x;  "
        f"of predict: {found['memory'] / found['predict_memory']:.2f} x;  "
        f"below the limit: {found['limit'] / found['memory']:.2f} x"
    )


if __name__ == "__main__":
    main()
