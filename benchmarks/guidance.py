"""Label dropout and guidance: what they cost in likelihood, what they give in samples.

    python benchmarks/guidance.py [mnist.npz] [--epochs 6] [--dropout 0.1] [--weights 1 1.5 2 3]

The settings of the ablation's `groups` with label dropout (Ho & Salimans 2022). For each guidance
weight 10,000 draws, a thousand of a class, as a classifier of real digits sees them: the share that
is what was asked for, the Fréchet distance to test digits in its features, precision and recall
(Kynkäänniemi et al. 2019); and TSTR, the accuracy on test digits of a classifier trained on the
draws. With the figures of the model without dropout, and of no guidance.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import keras_cvae
from ablation import GROUPS
from keras_cvae.evaluation import likeness, prepare
from keras_cvae.evaluation.judge import Judge
from keras_cvae.runs import build
from keras_cvae.runs.config import load_config


def judged(judge, draws, asked, test, real):
    """The figures of one set of draws."""
    seen = judge.features(draws)
    student = Judge(draws.shape[1:], 10).fit(draws, asked)
    shape = likeness.diversity(real, seen)
    return {
        "on-label": 100 * judge.accuracy(draws, asked),
        "TSTR": 100 * student.accuracy(test.x, test.y),
        "Fréchet": likeness.frechet_distance(seen, real),
        "precision": 100 * shape["precision"],
        "recall": 100 * shape["recall"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="mnist")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--images", type=int, default=1000, help="test images, spread")
    options = parser.parse_args()

    asked = np.arange(10_000) % 10
    judge = None
    for dropout in (0.0, options.dropout):
        config = load_config(epochs=options.epochs, **GROUPS | {"label_dropout": dropout})
        data = build.load_data(options.data, config)
        if judge is None:
            judge = Judge(data.train.x.shape[1:], 10).fit(data.train.x, data.train.y)
            real = judge.features(data.test.x)
        with tempfile.TemporaryDirectory() as folder:
            model = keras_cvae.train(data, config, Path(folder) / "run").model()
        few = data.test.spread(options.images)
        nats = model.log_prob(*prepare.examples(model, few, "dynamic"), num_samples=200)
        print(f"label dropout {dropout}: -log p(x|y) {-nats.mean:.2f} nats", flush=True)
        for weight in options.weights if dropout else [1.0]:
            draws = prepare.drawn(model, asked, len(asked), 0, guidance=weight)
            found = judged(judge, draws, asked, data.test, real)
            words = "  ".join(f"{name} {value:.1f}" for name, value in found.items())
            print(f"  guidance {weight:3}:  {words}", flush=True)


if __name__ == "__main__":
    main()
