"""What draws of colour pictures are worth, and what the judge's figures themselves are worth.

    python benchmarks/color.py RUN [DATA] [--count 10000] [--out color.json]

RUN is a run of `cvae train`, DATA what it was trained on. The judge of `cvae evaluate`, which
learns from real training pictures, says what it sees in draws of each class, at temperature 1 as
the model means it, and with guidance. Beside them it judges what says how far to trust it: real
test pictures; these reduced to 8x8 pixels; and draws of a Gaussian for each class over 256
principal components, in which hardly an object is seen: what is on-label need not be recognised.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from keras_cvae.evaluation.judge import Judge
from keras_cvae.evaluation.likeness import likeness
from keras_cvae.evaluation.prepare import brightness
from keras_cvae.runs.build import load_data
from keras_cvae.runs.run import Run

DRAWN = ((1.0, 1.0), (1.0, 1.5), (1.0, 2.0), (1.0, 3.0), (0.8, 1.0), (0.8, 2.0))  # and guidance


def as_bytes(x):
    """Pictures in 0..1 as bytes."""
    return np.rint(255 * np.clip(x, 0, 1)).astype("uint8")


def reduced(x, size):
    """Pictures as blocks of their means: `size` by `size` of them."""
    n, side = len(x), x.shape[1] // size
    blocks = x.reshape(n, size, side, size, side, -1).mean(axis=(2, 4))
    return as_bytes(blocks.repeat(side, axis=1).repeat(side, axis=2) / 255)


def gaussians(x, y, asked, components, rng):
    """Draws of one Gaussian a class in principal components."""
    flat = x.reshape(len(x), -1) / np.float32(255)
    axes = PCA(components, svd_solver="randomized", random_state=0).fit(flat[:10_000])
    z, drawn = axes.transform(flat), np.empty((len(asked), components))
    for k in np.unique(asked):
        own, rows = z[y == k], asked == k
        drawn[rows] = rng.multivariate_normal(own.mean(axis=0), np.cov(own.T), rows.sum())
    return as_bytes(axes.inverse_transform(drawn).reshape(-1, *x.shape[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("color.json"))
    options = parser.parse_args()

    started, run, rng = time.process_time(), Run.open(options.run), np.random.default_rng(0)
    model = run.model()
    data = load_data(options.data, run.config) if options.data else run.data()
    names = np.array(data.class_names)
    train, test = data.train, data.test or data.validation
    order = rng.permutation(len(train))
    x, y = as_bytes(train.floats(order)), np.asarray(train.y)[order]
    real, truth = as_bytes(test.floats()), np.asarray(test.y)

    judge = Judge(model.x_shape, len(names)).fit(x, y)
    asked = np.repeat(np.arange(len(names)), options.count // len(names))
    features = judge.features(real)
    rows = {}

    def say(name, pictures, classes, compared=True):
        found = {"judged right": judge.accuracy(pictures, classes)}
        if compared:
            like = likeness(features, judge.features(pictures), features)
            found |= {one: getattr(like, one) for one in ("precision", "recall", "coverage")}
            found |= {"Fréchet distance": like.frechet_distance}
        rows[name] = found
        words = "  ".join(
            f"{key} {value:.1f}" if key.startswith("Fr") else f"{key} {100 * value:5.1f} %"
            for key, value in found.items()
        )
        print(f"{name:32} {words}", flush=True)
        options.out.write_text(json.dumps(rows, indent=2))

    say("real", real, truth, compared=False)
    say("real, 8x8 pixels", reduced(real, 8), truth, compared=False)
    for temperature, guidance in DRAWN:
        if guidance != 1.0 and not run.config.label_dropout:
            continue
        drawn = model.generate(names[asked], 1, temperature, seed=0, guidance=guidance)
        title = f"temperature {temperature:g}, guidance {guidance:g}"
        say(title, as_bytes(brightness(model, drawn)), asked)
    components = min(256, np.bincount(y).min() - 1)
    say("a Gaussian a class", gaussians(x, y, asked, components, rng), asked)
    print(f"{time.process_time() - started:.0f} s of CPU time")


if __name__ == "__main__":
    main()
