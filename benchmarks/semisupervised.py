"""MNIST with 100 labels: errors of M2 (Kingma, Rezende, Mohamed & Welling 2014, table 1).

    python benchmarks/semisupervised.py DATA [--seeds 10] [--labels 100] [--epochs 40]

DATA is `mnist` or an .npz file. Each seed draws ten labelled images a class; all other labels of
the training images are hidden, those of the test set serve the score alone, and nothing is chosen
by it: the last epoch counts. Prints the test error of q(y | x), and of a classifier like it that
saw the labelled images alone. Published: M2 11.97 +- 1.71 %, re-implemented by others 7.15 %.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import keras_cvae as kc
from keras_cvae.data import Batches, Split, load
from keras_cvae.semisupervised import UNKNOWN, Classifier

# isort: split
import keras

SHAPE = (28, 28, 1)
CLASSIFIER = kc.Conv((24, 64), 128)


def hidden(y, labels, seed):
    """All but `labels` of y hidden, as many of each class."""
    rng = np.random.default_rng(seed)
    shown = np.concatenate(
        [rng.permutation(np.flatnonzero(y == c))[: labels // 10] for c in range(10)]
    )
    known = np.full(len(y), UNKNOWN, "int32")
    known[shown] = y[shown]
    return known


def error(classifier, test):
    """Share of test images that are called something else."""
    batches = Batches(Split(test.x), 1000)
    found = [classifier.apply({"x": batches[i][0]}, 1000) for i in range(len(batches))]
    return float(np.mean(np.argmax(np.concatenate(found), axis=1) != test.y))


def supervised(train, known, test, options, seed):
    """The classifier alone, on the labelled images."""
    keras.utils.set_random_seed(seed)
    classifier = Classifier(SHAPE, 10, CLASSIFIER, options.dropout)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(1e-3), loss)
    x, y = train.floats(known >= 0), known[known >= 0]
    classifier.fit({"x": x}, y, batch_size=20, epochs=100, verbose=0)
    return error(classifier, test)


def semisupervised(train, known, test, options, seed):
    keras.utils.set_random_seed(seed)
    x = train.floats()
    batch, steps = options.batch_size, options.epochs * (len(x) // options.batch_size)
    model = kc.SemiSupervisedCVAE(
        SHAPE,
        10,
        options.latent_dim,
        backbone=kc.MLP((options.units,), "gelu"),
        classifier=CLASSIFIER,
        alpha=options.alpha,
        dropout=options.dropout,
        objective=kc.ELBO(kc.Warmup(max(1, steps // 10))),
        seed=seed,
    )
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
    every = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(
            f"  epoch {epoch + 1}: " + "  ".join(f"{k} {v:.4g}" for k, v in logs.items()),
            flush=True,
        )
    )
    held = {}
    if options.watch:  # to look at, never to choose by
        held["validation_data"] = (test.floats(slice(0, 1000)), test.y[:1000])
    model.fit(
        x, known, batch, options.epochs, labelled=0.1, seed=seed, binarize="dynamic",
        callbacks=[every], verbose=0, **held,
    )  # fmt: skip
    return error(model.classifier, test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--latent-dim", type=int, default=32)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--alpha", type=float, default=10.0)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--examples", type=int, help="Only so many training images: quicker.")
    parser.add_argument("--watch", action="store_true", help="Show 1,000 test images' accuracy.")
    parser.add_argument("--out", type=Path, help="A JSON file for the errors.")
    options = parser.parse_args()

    data = load(options.data, validation="test")
    train = data.train.take(slice(0, options.examples))
    errors = {"supervised": [], "M2": []}
    for seed in range(options.seeds):
        known = hidden(train.y, options.labels, seed)
        started = time.perf_counter()
        errors["supervised"].append(supervised(train, known, data.test, options, seed))
        errors["M2"].append(semisupervised(train, known, data.test, options, seed))
        last = "  ".join(f"{name} {100 * found[-1]:.2f} %" for name, found in errors.items())
        print(f"seed {seed}: {last}  ({time.perf_counter() - started:.0f} s)", flush=True)
    for name, found in errors.items():
        found = 100 * np.array(found)
        spread = found.std(ddof=1) if len(found) > 1 else float("nan")
        print(f"{name:12}{found.mean():6.2f} +- {spread:.2f} % over {len(found)} seeds")
    if options.out:
        options.out.write_text(json.dumps(errors, indent=2) + "\n")


if __name__ == "__main__":
    main()
