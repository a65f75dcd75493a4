"""Completing MNIST from 1, 2 or 3 quadrants (Sohn, Lee & Yan 2015, table 1; masks as in Pyro).

    python benchmarks/quadrants.py DATA [--quadrants 1 2 3] [--targets binary] [--epochs 60]
        [--rows baseline cvae guess gsnn hybrid topdown] [--out quadrants] [--picture]

DATA is `mnist` or an .npz file. Each row is trained on 55,000 training images; 5,000 others choose
its epoch (--validation takes another part); the test set is scored once. The top-down network is
the preset `strong`. In nats per image, of the unknown part alone: importance sampling with 100 and
500 draws from q(z | x, y), the bound (-ELBO), and importance sampling with 500 draws from the
prior, which is what drawing from the model meets. The baseline has no latent, and the GSNN no q:
they have one exact figure, and one estimate, from the prior.

Results are kept in OUT/results.json, one training a row; a row that is there is not trained again,
and only scored again for another number of images (--limit).
Grey targets (`--targets grey`) are a cross-entropy, not a likelihood: a table of their own.
Published (binary): NN 99.75 / 62.18 / 25.99, CVAE 63.91 / 44.73 / 20.95. Pyro's tutorial (grey, an
ELBO): NN 100.4 / 61.9 / 25.4, CVAE 71.8 / 51.0 / 24.2.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import keras_cvae as kc
from keras_cvae import masks
from keras_cvae.data.batches import CompletionBatches
from keras_cvae.data.sources import load
from keras_cvae.evaluation import bound
from keras_cvae.figures import sheets, writing
from keras_cvae.runs.build import build_model
from keras_cvae.runs.config import load_config

# isort: split
import keras

ROWS = ("baseline", "cvae", "guess", "gsnn", "hybrid", "topdown")
SHAPE, UNITS, ALPHA = (28, 28, 1), (500, 500), 0.5
BINARY = ("channels", "reach")  # settings of the likelihood of binary targets
COLUMNS = ("is_100", "is_500", "bound", "prior_500")


def compiled(model, steps, rate):
    """For as many steps, at a rate that falls from `rate` to 0."""
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)))
    return model


def trained(model, batches, held, epochs):
    """Fit, and keep the epoch that is best on validation (of averages, if they are taken)."""
    best = keras.callbacks.EarlyStopping("val_loss", patience=epochs, restore_best_weights=True)
    averages = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] * model.optimizer.use_ema
    started = time.perf_counter()
    batches.epoch = 0
    history = model.fit(
        batches,
        validation_data=held,
        epochs=epochs,
        shuffle=False,
        verbose=2,
        callbacks=[*averages, best],
    ).history
    model.set_weights(best.best_weights)  # Keras ends with the last average
    return {
        "epochs": epochs,
        "best_epoch": int(np.argmin(history["val_loss"])) + 1,
        "last": history["val_loss"][-1],
        "seconds_per_epoch": round((time.perf_counter() - started) / epochs, 2),
        "validation": float(min(history["val_loss"])),
    }


def cvae(mask, row, steps, options, guess=None):
    elbo = kc.ELBO(kc.Warmup(max(1, steps // 10)))
    objective = {"gsnn": kc.GSNN(), "hybrid": kc.Hybrid(elbo, ALPHA)}.get(row, elbo)
    groups = [len(part) for part in np.array_split(range(options.latent_dim), options.groups)]
    model = kc.ConditionalVAE(
        SHAPE,
        kc.KnownPart(SHAPE, mask, guess),
        groups,
        prior=kc.ConditionalNormal((options.prior_units,) * 2, "gelu"),
        backbone=kc.MLP(UNITS, "gelu"),
        objective=objective,
        seed=options.seed,
    )
    return compiled(model, steps, 1e-3)


def topdown(mask, target, data, options):
    """The preset `strong`, as `cvae train --task complete --preset strong` builds it."""
    own = dict(setting.split("=") for setting in options.topdown)
    if target == "grey":
        own = {name: value for name, value in own.items() if name not in BINARY}
        own = {"likelihood": "bernoulli", "binarize": "none"} | own
    same = {"epochs": options.epochs, "seed": options.seed}
    config = load_config("strong", task="complete", known=mask, **same | own)
    return build_model(config, data)


def scores(model, row, x, seed):
    """Nats per image of the unknown part, with the standard error over images."""
    found = {"images": len(x)}
    if row == "baseline":
        exact = -model.log_prob(x, x)
        return found | {"exact": [float(exact.mean()), float(exact.std(ddof=1) / np.sqrt(len(x)))]}

    def of(estimate):
        return [-estimate.mean, estimate.mean_standard_error]

    prior = of(model.log_prob(x, x, 500, seed, proposal="prior"))
    if row == "gsnn":
        return found | {"prior_500": prior}
    bounds = -bound.bound(model, x, x, seed=seed).elbo
    return found | {
        "is_100": of(model.log_prob(x, x, 100, seed)),
        "is_500": of(model.log_prob(x, x, 500, seed)),
        "bound": [float(bounds.mean()), float(bounds.std(ddof=1) / np.sqrt(len(x)))],
        "prior_500": prior,
    }


def run(quadrants, target, options, data, results, keep):
    """Train and score the rows of one table's column block."""
    mask, folder = masks.PROTOCOL[quadrants], options.out
    binarize = {"binary": "dynamic", "grey": "none"}[target]

    def batches(split, **order):
        return CompletionBatches(split, options.batch_size, mask, binarize=binarize, **order)

    train = batches(data.train, shuffle=True, seed=options.seed)
    held, test = batches(data.validation), batches(data.test)
    x = np.concatenate([test[i][0] for i in range(len(test))])
    x = x[:: max(1, len(x) // options.limit)][: options.limit]  # the first ones are harder
    steps = options.epochs * len(train)
    for row in options.rows:
        name = f"{target}-{quadrants}-{row}"
        path = folder / f"{name}.keras"
        told = results.get(name, {})
        if path.is_file():
            if told.get("images") != len(x):
                keep(name, told | scores(keras.saving.load_model(path), row, x, options.seed))
            continue
        keras.utils.set_random_seed(options.seed)
        if row == "baseline":
            model = kc.Baseline(SHAPE, kc.MLP(UNITS, "gelu"), condition=kc.KnownPart(SHAPE, mask))
            compiled(model, steps, 2e-3)
        elif row == "topdown":
            model = topdown(mask, target, data, options)
        else:
            guess = None
            if row == "guess":
                guess = keras.saving.load_model(folder / f"{target}-{quadrants}-baseline.keras")
            model = cvae(mask, row, steps, options, guess)
        told = trained(model, train, held, options.epochs)
        model.save(path)
        keep(name, told | {"weights": model.count_params()} | scores(model, row, x, options.seed))


def table(results, target, quadrants):
    """The results as lines of text."""
    lines = [f"{target} targets: nats per test image", f"{'':12}{'quadrants':>9}  "]
    lines[1] += "".join(f"{c:>17}" for c in ("exact", *COLUMNS))
    for q in quadrants:
        for row in ROWS:
            found = results.get(f"{target}-{q}-{row}")
            if found:
                cells = [found.get(c) for c in ("exact", *COLUMNS)]
                words = [f"{c[0]:.2f} ± {c[1]:.2f}" if c else "" for c in cells]
                lines.append(f"{row:12}{q:>9}  " + "".join(f"{w:>17}" for w in words))
    return "\n".join(lines)


def picture(options, data, quadrants, target, examples=8, n=10):
    """Input, truth, the baseline's blur, and ten completions each by the strongest row there is."""
    mask = masks.PROTOCOL[quadrants]
    binarize = {"binary": "dynamic", "grey": "none"}[target]
    x = CompletionBatches(data.test, 1000, mask, binarize=binarize)[0][0]
    x = np.concatenate([x[data.test.y[:1000] == c][:1] for c in range(examples)])
    folder = options.out
    blur = keras.saving.load_model(folder / f"{target}-{quadrants}-baseline.keras").predict(x)
    paths = [folder / f"{target}-{quadrants}-{row}.keras" for row in ("topdown", "cvae")]
    strongest = next(path for path in paths if path.is_file())
    drawn = kc.load(strongest).complete(x, n=n, seed=0, output="sample")
    given = np.where(masks.known(mask, SHAPE), x, 0.5)
    columns = [given[:, None], x[:, None], blur[:, None], drawn.reshape(examples, n, *SHAPE)]
    labels = ["input", "truth", "baseline", *[""] * n]
    figure = sheets.image_grid(np.concatenate(columns, axis=1), column_labels=labels)
    writing.save(figure, folder / f"{target}-{quadrants}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--quadrants", type=int, nargs="+", default=[1, 2, 3], choices=(1, 2, 3))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--targets", nargs="+", default=["binary"], choices=("binary", "grey"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--latent-dim", type=int, default=48)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--prior-units", type=int, default=256)
    parser.add_argument("--topdown", nargs="+", default=[], help="its settings: reach=4")
    parser.add_argument("--validation", type=float, default=1 / 12, help="part of the training set")
    parser.add_argument("--limit", type=int, default=10_000, help="test images, evenly spread")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("quadrants"))
    parser.add_argument("--picture", action="store_true")
    options = parser.parse_args()
    if "guess" in options.rows and "baseline" not in options.rows:
        parser.error("--rows guess needs baseline: its guess is the baseline's.")
    options.rows.sort(key=ROWS.index)

    data = load(options.data, validation=options.validation)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}

    def keep(name, result):
        results[name] = result
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(name, json.dumps(result), flush=True)

    for target in options.targets:
        for quadrants in options.quadrants:
            run(quadrants, target, options, data, results, keep)
            if options.picture:
                picture(options, data, quadrants, target)
    for target in options.targets:
        print(table(results, target, options.quadrants))


if __name__ == "__main__":
    main()
