"""Counts of genes in cells: `NegativeBinomial` here beside scvi-tools' scVI, on the same counts.

    python benchmarks/counts.py [--scvi PYTHON] [--install] [--data simulated pbmc] [--seeds 3]

PYTHON is the interpreter of an environment that has scvi-tools; --install makes one under
.venv-peers. Without either the rows of scVI, and the data that scanpy ships, are left out.

Simulated cells are of six types in three batches; the counts of a gene are negative binomial, in
proportion to the cell's size. Both models are given the batch and the size, and log p of a cell
given these has a closed form, "truth". The real cells are the 700 PBMCs that scanpy ships, whose
counts are recovered from their logarithms; both models are given the type of the cell, and its
total as the size, which is scVI's default. A total says something of the very counts that it is
the sum of, so log p given it is no density of x: a comparison, not a bound.

Both have 10 latent dimensions, a hidden layer of 128, batches of 128, as many epochs, and a KL that
grows over the first quarter of them; else each is trained as its authors do it, scVI with dropout,
batch normalisation and a constant rate. Ours includes its compilation.
Each row: log p per held-out cell in nats by importance sampling with as many samples from q (each
by its own estimator), and seconds of training, in mean over seeds, with their standard deviation.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import special, stats

import peers

SCVI = ("torch==2.13.0", "scvi-tools==1.4.2")
LATENT, HIDDEN, BATCH = 10, 128, 128


def simulated(cells: int, genes: int) -> dict[str, np.ndarray]:
    """Cells of six types in three batches, and log p of each given its batch and size."""
    rng = np.random.default_rng(0)
    types, batches = 6, 3
    level = rng.normal(0.0, 1.2, genes) + rng.normal(size=(types, 1, genes)) * (
        rng.random((types, 1, genes)) < 0.3
    )
    share = special.softmax(level + rng.normal(0.0, 0.2, (1, batches, genes)), axis=-1)
    r = np.exp(rng.normal(1.0, 0.5, genes))
    of_batch = rng.dirichlet(np.full(types, 2.0), batches)
    batch = rng.integers(batches, size=cells)
    kind = (rng.random((cells, 1)) > of_batch.cumsum(axis=1)[batch]).sum(axis=1)
    size = np.exp(rng.normal(np.log(5.0 * genes), 0.5, cells))
    mean = size[:, None] * share[kind, batch]
    x = rng.poisson(mean * rng.gamma(r, size=mean.shape) / r)
    log_p = np.stack(
        [
            np.log(of_batch[batch, t]) + _log_p(x, size[:, None] * share[t, batch], r)
            for t in range(types)
        ]
    )
    truth = special.logsumexp(log_p, axis=0)
    return {"x": x, "group": batch, "size": size, "truth": truth}


def _log_p(x: np.ndarray, mean: np.ndarray, r: np.ndarray) -> np.ndarray:
    return stats.nbinom.logpmf(x, r, r / (r + mean)).sum(axis=1)


def own(cells: dict, epochs: int, samples: int, seed: int, dispersion: str = "learned") -> dict:
    """Train a `ConditionalVAE`; log p of each held-out cell, and seconds of training."""
    import keras_cvae as kc

    # isort: split
    import keras

    train, test = split(cells)
    condition = {"group": int(cells["group"].max()) + 1, "size": kc.Exposure()}
    steps = epochs * -(-len(train["x"]) // BATCH)
    model = kc.ConditionalVAE(
        cells["x"].shape[1:],
        condition,
        LATENT,
        likelihood=kc.NegativeBinomial(dispersion),
        backbone=kc.MLP((HIDDEN,)),
        objective=kc.ELBO(kc.Warmup(steps // 4)),
        seed=seed,
    )
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)))
    y, held = ({name: part[name] for name in ("group", "size")} for part in (train, test))
    started = time.perf_counter()
    model.fit(train["x"], y, BATCH, epochs, verbose=0)
    seconds = time.perf_counter() - started
    return {
        "log_prob": model.log_prob(test["x"], held, samples).log_prob.tolist(),
        "seconds": seconds,
    }


def scvi_row(cells: dict, epochs: int, samples: int, seed: int) -> dict:
    """The same of scvi-tools' scVI; runs in its environment."""
    import logging
    import warnings

    import anndata
    import scvi

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.seed = seed

    def table(part):
        about = {"group": part["group"].astype(str), "size": part["size"]}
        return anndata.AnnData(part["x"].astype("float32"), obs=about)

    train, test = map(table, split(cells))
    scvi.model.SCVI.setup_anndata(train, batch_key="group", size_factor_key="size")
    model = scvi.model.SCVI(
        train, n_hidden=HIDDEN, n_latent=LATENT, n_layers=1, gene_likelihood="nb"
    )
    started = time.perf_counter()
    model.train(
        epochs,
        batch_size=BATCH,
        train_size=1.0,
        accelerator="cpu",
        enable_progress_bar=False,
        plan_kwargs={"n_epochs_kl_warmup": max(1, epochs // 4)},  # 400 by default
    )
    seconds = time.perf_counter() - started
    log_prob = model.get_marginal_ll(
        test, n_mc_samples=samples, n_mc_samples_per_pass=min(samples, 25), return_mean=False
    )
    return {"log_prob": np.asarray(log_prob).tolist(), "seconds": seconds}


def pbmc() -> dict:
    """The counts of the cells that scanpy ships; runs in scvi-tools' environment."""
    import scanpy

    cells = scanpy.datasets.pbmc68k_reduced()
    # log(1 + count * factor), with a factor for each cell: its smallest positive value is one count
    scaled = np.expm1(cells.raw.X.toarray())
    counts = scaled / np.where(scaled > 0, scaled, np.inf).min(axis=1, keepdims=True)
    assert np.abs(counts - np.rint(counts)).max() < 0.2
    group = np.unique(cells.obs["bulk_labels"].astype(str), return_inverse=True)[1]
    x = np.rint(counts).astype(int)
    return {"x": x.tolist(), "group": group.tolist(), "size": x.sum(axis=1).tolist()}


def split(cells: dict) -> tuple[dict, dict]:
    """Four fifths to train on, the rest held out."""
    order = np.random.default_rng(1).permutation(len(cells["x"]))
    cut = len(order) * 4 // 5
    return tuple({k: v[rows] for k, v in cells.items()} for rows in (order[:cut], order[cut:]))


def table(name: str, cells: dict, rows: dict[str, list[dict]]) -> None:
    """Print the rows of a data set."""
    n, genes = cells["x"].shape
    print(f"\n{name}: {n} cells, {genes} genes; log p per held-out cell in nats, seconds")
    if "truth" in cells:
        print(f"  {'truth':24}{split(cells)[1]['truth'].mean():10.2f}")
    for row, runs in rows.items():
        mean = [np.mean(run["log_prob"]) for run in runs]
        seconds = [run["seconds"] for run in runs]
        print(
            f"  {row:24}{np.mean(mean):10.2f} ± {np.std(mean):.2f}"
            f"{np.mean(seconds):10.1f} ± {np.std(seconds):.1f} s"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scvi", help="an interpreter that has scvi-tools")
    parser.add_argument("--install", action="store_true", help="make one under .venv-peers")
    parser.add_argument("--data", nargs="+", default=["simulated", "pbmc"])
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--genes", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer", choices=("scvi", "pbmc"), help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.peer == "pbmc":
        print(json.dumps(pbmc()))
        return
    if given.peer == "scvi":
        with np.load(given.file) as cells:
            print(json.dumps(scvi_row(dict(cells), given.epochs, given.samples, given.seed)))
        return
    scvi = peers.python("scvi", SCVI) if given.install else given.scvi
    for name in given.data:
        if name == "pbmc" and not scvi:
            print("pbmc: left out; scanpy ships it. Give --scvi PYTHON, or --install.")
            continue
        if name == "simulated":
            cells = simulated(given.cells, given.genes)
        else:
            found = peers.measure(scvi, __file__, "--peer", "pbmc")
            cells = {key: np.asarray(values) for key, values in found.items()}
        sizes = ("--epochs", given.epochs, "--samples", given.samples)
        rows: dict[str, list[dict]] = {"NegativeBinomial": []}
        if scvi:
            rows["scVI"] = []
        else:
            print("scVI: left out. Give --scvi PYTHON, or --install.", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "cells.npz"
            np.savez(file, **cells)
            for seed in range(given.seeds):
                rows["NegativeBinomial"].append(own(cells, given.epochs, given.samples, seed))
                if scvi:
                    run = ("--peer", "scvi", "--file", file, "--seed", seed, *sizes)
                    rows["scVI"].append(peers.measure(scvi, __file__, *run))
        table(name, cells, rows)


if __name__ == "__main__":
    main()
