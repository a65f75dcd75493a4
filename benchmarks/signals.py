"""Whether draws of signals are what was asked for, with what `cvae train` chooses.

    python benchmarks/signals.py [SET ...] [--seeds 0 1] [--plain] [--label-dropout 0.1]

Four sets are made, in their units: `ecg` (heartbeats of 2 s in millivolts, which begin anywhere:
regular, irregular, one broad beat), `speeds` (a machine's acceleration at three speeds), `forms` (a
generator's voltage: sine, square, triangle, saw), `gestures` (two channels, five kinds, which begin
alike). A judge that learned from 4,000 others of each says what it sees in draws for 1,000 more.
`--plain` draws z at once, not in groups. Wild are draws beyond three times what signals reach.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from keras_cvae.data.look import look
from keras_cvae.evaluation.judge import Judge
from keras_cvae.evaluation.likeness import likeness
from keras_cvae.runs.choices import choose
from keras_cvae.runs.train import train

PLAIN = {"groups": 1, "prior_activation": "relu"}


def ecg(n, rng, length=256):
    """Waves of each beat as bumps: (when, how high, how broad)."""
    usual = [(-0.16, 0.12, 0.022), (-0.03, -0.12, 0.008), (0, 1.1, 0.01), (0.03, -0.25, 0.01)]
    usual, broad = [*usual, (0.22, 0.28, 0.04)], [(0, 1.5, 0.05), (0.14, -0.6, 0.06)]
    kinds, time_ = rng.choice(3, n, p=[0.6, 0.25, 0.15]), np.linspace(0, 2, length)
    x = np.zeros((n, length))
    for i, kind in enumerate(kinds):
        pace = 0.8 * np.exp(rng.normal(0, 0.06))
        beats = np.arange(rng.uniform(0, pace), 2.4, pace)
        if kind == 1:
            beats = np.cumsum(rng.uniform(0.42, 1.1, 8)) - rng.uniform(0, 0.5)
        height = np.exp(rng.normal(0, 0.12))
        for j, beat in enumerate(beats):
            waves = broad if kind == 2 and j == 1 else usual[1:] if kind == 1 else usual
            for when, high, wide in waves:
                x[i] += height * high * np.exp(-0.5 * ((time_ - beat - when) / wide) ** 2)
    drift = 0.02 * np.cumsum(rng.normal(0, 0.1, x.shape), axis=1) + rng.normal(0, 0.05, (n, 1))
    return x + drift + rng.normal(0, 0.02, x.shape), kinds


def speeds(n, rng, length=128):
    kinds, moments = rng.integers(0, 3, n), np.arange(length) / length
    pace = 2 * np.pi * np.array([6.0, 9.0, 13.0])[kinds] * np.exp(rng.normal(0, 0.05, n))
    begin, high = rng.uniform(0, 2 * np.pi, (n, 2)), 9.8 * np.exp(rng.normal(0, 0.25, n))
    turned = pace[:, None] * moments
    x = np.sin(turned + begin[:, :1]) + 0.35 * np.sin(2 * turned + begin[:, 1:])
    return high[:, None] * x + rng.normal(0, 1, x.shape), kinds


def forms(n, rng, length=200):
    kinds, pace = rng.integers(0, 4, n), 3 * np.exp(rng.normal(0, 0.1, n))
    u = (pace[:, None] * np.arange(length) / length + rng.uniform(0, 1, (n, 1))) % 1
    each = [np.sin(2 * np.pi * u), np.where(u < 0.5, 1, -1), 4 * np.abs(u - 0.5) - 1, 2 * u - 1]
    x = np.stack(each)[kinds, np.arange(n)] * 230 * np.exp(rng.normal(0, 0.15, (n, 1)))
    return x + rng.normal(0, 8, (n, 1)) + rng.normal(0, 12, x.shape), kinds


def gestures(n, rng, length=100):
    kinds, high = rng.integers(0, 5, n), np.exp(rng.normal(0, 0.3, (n, 1, 1)))
    s = np.linspace(-1, 1, length) - rng.normal(0, 0.08, (n, 1))
    s = s / (0.25 * np.exp(rng.normal(0, 0.2, (n, 1))))
    bump, swing = np.exp(-0.5 * s**2), -s * np.exp(-0.5 * s**2)
    pairs = [(bump, 0 * s), (0 * s, bump), (swing, bump), (bump, -swing)]
    pairs.append((bump * np.cos(2 * s), swing))
    x = np.stack([np.stack(pair, axis=-1) for pair in pairs])[kinds, np.arange(n)] * high
    drift = 0.05 * np.cumsum(rng.normal(0, 0.2, x.shape), axis=1)
    return x + drift + rng.normal(0, 0.05, x.shape), kinds


SETS = {ecg: 1500, speeds: 1200, forms: 900, gestures: 700}  # how many are learned from


def measure(make, count, seed, asked, folder):
    x, y = make(count, np.random.default_rng(1))
    path = folder / f"{make.__name__}.npz"
    np.savez(path, x=x.astype("float32"), y=y)
    others, kinds = make(5000, np.random.default_rng(99))
    others = others.reshape(5000, *others.shape[1:], -1) if others.ndim == 2 else others
    others = others.astype("float32")
    judge = Judge(others.shape[1:], int(kinds.max()) + 1).fit_once(
        others[:4000], kinds[:4000], folder
    )
    real, truth = others[4000:], kinds[4000:]
    features = judge.features(real)

    started = time.process_time()
    choice = choose(look(path), {"seed": seed} | asked)
    run = train(path, choice.config, folder / "run", overwrite=True)
    model, took = run.model(), time.process_time() - started
    for guidance in (1.0, 2.0, 3.0) if choice.config.label_dropout else (1.0,):
        draws = model.generate(truth, 1, seed=5, output="sample", guidance=guidance)
        wild = ~(np.abs(draws).max(axis=(1, 2)) < 3 * np.abs(real).max())
        draws[wild] = 0.0
        like = likeness(features, judge.features(draws), features)
        print(
            f"{make.__name__:9} seed {seed} guidance {guidance:g}: judged right "
            f"{100 * judge.accuracy(draws, truth):.1f} % "
            f"(real {100 * judge.accuracy(real, truth):.1f} %), "
            f"precision {100 * like.precision:.0f} %, recall {100 * like.recall:.0f} %, Fréchet "
            f"distance {like.frechet_distance:.0f}, wild {wild.sum()}; validation loss "
            f"{run.metrics()['val_loss']:.1f} nats, {took:.0f} s of CPU time",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {make.__name__: make for make in SETS}
    parser.add_argument("sets", nargs="*", default=[*known], help=", ".join(known))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--label-dropout", type=float, default=0.0)
    options = parser.parse_args()
    asked = PLAIN if options.plain else {}
    asked = asked | ({"label_dropout": options.label_dropout} if options.label_dropout else {})
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            for seed in options.seeds:
                measure(known[name], SETS[known[name]], seed, asked, Path(folder))


if __name__ == "__main__":
    main()
