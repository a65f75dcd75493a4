"""What each part is worth: the same short training with one thing changed at a time.

    python benchmarks/ablation.py DATA [--epochs 10] [--images 1000] [--rows NAME ...]

DATA is `mnist` or a path to Keras' mnist.npz. Each row trains on dynamically binarised digits from
the same seed for as many epochs, and is scored by -log p(x|y) of test images, evenly spread, with
200 importance samples. Rows end up in `ablation.json` under --out as they finish, so a run can be
cut short and taken up again. Expected on two cores: about one minute a row.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import keras_cvae
from keras_cvae.evaluation import bound, prepare
from keras_cvae.runs import build
from keras_cvae.runs.config import load_config

DENSE = {"binarize": "dynamic", "units": (500, 500), "batch_size": 200, "latent_dim": 48}
PLAIN = DENSE | {"prior": "standard", "groups": 1}
LEARNED = DENSE | {"groups": 1}
GROUPS = DENSE | {"groups": 8}
CAUSAL = GROUPS | {"likelihood": "causal_bernoulli"}
TOPDOWN = DENSE | {
    "backbone": "topdown",
    "units": (256,),
    "latent_dim": 36,
    "groups": 6,
    "clip": 50.0,
}
BOTH = TOPDOWN | {"likelihood": "causal_bernoulli"}

# Name: what changed, and the settings.
ROWS = {
    "plain": ("p(z) = N(0, I) (Kingma & Welling 2014)", PLAIN),
    "learned": ("p(z|y) learned (Sohn et al. 2015)", LEARNED),
    "groups": ("p(z_g|y, z_<g) in 8 groups (ours; after Kingma et al. 2016)", GROUPS),
    "rate": ("... at 4e-3 in place of 1e-3", GROUPS | {"learning_rate": 4e-3}),
    "ema": ("... and averaged weights, 0.998", GROUPS | {"ema": 0.998}),
    "free-bits": (
        "... and 0.1 free bits a group (Kingma et al. 2016)",
        GROUPS | {"free_bits": 0.1},
    ),
    "no-warmup": ("... without KL warm-up (Bowman et al. 2016)", GROUPS | {"warmup": 0.0}),
    "samples": ("... 5 draws of z in the ELBO", GROUPS | {"num_samples": 5}),
    "iwae": (
        "... IWAE, 5 draws (Burda et al. 2016)",
        GROUPS | {"objective": "iwae", "num_samples": 5, "warmup": 0.0},
    ),
    "dreg": (
        "... and its q by DReG (Tucker et al. 2019)",
        GROUPS | {"objective": "dreg", "num_samples": 5, "warmup": 0.0},
    ),
    "causal": ("groups, pixels see their neighbours (Gulrajani et al. 2017)", CAUSAL),
    "causal-rate": ("... at 4e-3", CAUSAL | {"learning_rate": 4e-3, "clip": 50.0}),
    "topdown": ("top-down, 6 groups of 6 (Sønderby et al. 2016)", TOPDOWN),
    "both-rate": (
        "top-down and neighbours, at 3e-3, grown in 3 % of the run",
        BOTH | {"learning_rate": 3e-3, "rate_warmup": 0.03},
    ),
    "both-ema": (
        "... and averaged weights, 0.998",
        BOTH | {"learning_rate": 3e-3, "rate_warmup": 0.03, "ema": 0.998},
    ),
}


def score(data, settings, epochs, images, folder) -> dict:
    """Train in `folder` and estimate -log p(x|y)."""
    config = load_config(epochs=epochs, **settings)
    loaded = build.load_data(data, config)
    start = time.monotonic()
    model = keras_cvae.train(loaded, config, folder, overwrite=True).model()
    seconds = time.monotonic() - start
    test = loaded.test.spread(images)
    x, y = prepare.examples(model, test, "dynamic")
    estimate = model.log_prob(x, y, num_samples=200)
    elbo = bound.bound(model, x, y)
    return {
        "nats": -estimate.mean,
        "elbo": -float(elbo.elbo.mean()),
        "kl": float(elbo.kl.sum(axis=1).mean()),
        "effective_sample_size": float(np.median(estimate.effective_sample_size)),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS])
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "ablation.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    print(f"{'':62}{'-log p(x|y)':>12}{'-ELBO':>8}{'KL':>7}{'ESS':>6}{'time':>8}")
    for name in options.rows:
        what, settings = ROWS[name]
        key = f"{name}, {options.epochs} epochs, {options.images} spread images"
        if key not in known:
            known[key] = score(
                options.data, settings, options.epochs, options.images, options.out / name
            )
            path.write_text(json.dumps(known, indent=2))
        row = known[key]
        print(
            f"{what:62}{row['nats']:12.2f}{row['elbo']:8.2f}{row['kl']:7.1f}"
            f"{row['effective_sample_size']:6.0f}{row['seconds']:6.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
