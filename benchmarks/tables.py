"""Tables: Adult, Online Shoppers and Beijing PM2.5, with the same defaults for all.

    python benchmarks/tables.py FOLDER [--data adult shoppers beijing] [--seeds 3] [--epochs N]
        [--what rows conditions imputing missing rare latent] [--out tables.json]
        [--models FOLDER] [--peer tvae PYTHON] [--peer mostlyai PYTHON] [--rows FILE.csv]

FOLDER has adult.csv, shoppers.csv and beijing.csv. Each table is cut 80/20 (random_state 0); a
model learns the 80 % once for each seed, and draws as many rows. Figures are means over the seeds
with their spread:

    rows         shapes, trends, C2ST score of boosted trees against the learned and against the
                 held-out rows, TSTR beside real rows, DCR share, exact copies, impossible pairs,
                 held-out nats a row, seconds of training (CPU) and of 500 conditioned rows
    conditions   Adult: C2ST AUC of rows under four conditions, direct, resampled, filtered, and
                 of two halves of the real ones
    imputing     a fifth of the held-out cells hidden: against k-NN, IterativeImputer on one-hot
                 columns and a boosted tree for each column, in accuracy, RMSE of the mean, CRPS
    missing      a fifth of the learned cells missing: TSTR against complete data
    rare         200 learned rows of which 20 are >50K: a classifier as it is, with class weights,
                 with SMOTE-NC (if imbalanced-learn is there) and with drawn rows
    latent       the ablation: no latent, and one with all columns drawn at once or in some steps

`--models` keeps trained models there, and takes those that are there already. `--peer` runs another
generator by the Python of its own environment and measures its rows in the same way; `--rows`
measures rows that are in a file already. With `--what real`, real rows stand in for synthetic ones:
what there is to reach.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import train_test_split

from keras_cvae import TableCVAE
from keras_cvae.data.tables.files import read
from keras_cvae.data.tables.schema import Schema
from keras_cvae.evaluation.tables import (
    detection,
    impossible,
    imputation,
    meets,
    privacy,
    shapes,
    trends,
    utility,
)
from keras_cvae.evaluation.tables.evaluate import evaluate_table
from keras_cvae.evaluation.tables.plain import is_number, stacked, threads

TARGETS = {"adult": "income", "shoppers": "Revenue", "beijing": "pm2.5"}
CONDITIONS = (
    {"income": ">50K", "sex": "Female"},
    {"income": ">50K"},
    {"race": "Black", "occupation": "Exec-managerial"},
    {"marital-status": "Divorced", "capital-gain": 0, "hours-per-week": 40},
)


def split(folder, name):
    table = read(Path(folder) / f"{name}.csv")
    table = table.drop(columns="No", errors="ignore")  # Beijing's row number
    parts = train_test_split(table, test_size=0.2, random_state=0)
    return [part.reset_index(drop=True) for part in parts]


def learned(train, seed, epochs, **options):
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TableCVAE(seed=seed, epochs=epochs, **options).fit(train, verbose=0)
    return model, time.process_time() - started


def rows(train, test, target, model, seconds, seed):
    evaluation = evaluate_table(model, train, test, target=target, seed=seed)
    column = target if not is_number(train[target]) else "cbwd"
    asked = {column: train[column].mode()[0]}
    model.sample(500, asked, seed=0)  # compiled once
    started = time.perf_counter()
    model.sample(500, asked, seed=1)
    drawn = time.perf_counter() - started
    likely = evaluation.likelihood
    return figures(evaluation) | {
        "nats": likely.nats,
        "nats, learned": likely.train_nats,
        "CPU-s": seconds,
        "500 rows, s": drawn,
    }


def measured(train, test, target, drawn, seed):
    """The figures of rows, whoever drew them."""
    schema = Schema.infer(train)
    return figures(
        SimpleNamespace(
            shapes=shapes(train, drawn, schema),
            trends=trends(train, drawn, schema),
            trees=detection(train, drawn, schema=schema, seed=seed),
            held_out_trees=detection(test, drawn, schema=schema, seed=seed),
            logistic=detection(train, drawn, by="logistic", schema=schema, seed=seed),
            utility=utility(train, drawn, test, target, schema),
            privacy=privacy(train, test, drawn, schema, seed=seed),
            impossible=impossible(pd.concat([train, test]), drawn, schema),
        )
    )


def figures(found):
    return {
        "shapes": found.shapes.score,
        "trends": found.trends.score,
        "C2ST": found.trees.score,
        "C2ST held out": found.held_out_trees.score,
        "C2ST logistic": found.logistic.score,
        "TSTR": found.utility.synthetic,
        "TRTR": found.utility.real,
        "DCR share": found.privacy.dcr_share,
        "copies": found.privacy.copies,
        "impossible": found.impossible.share,
    }


def conditions(train, test, model, seed):
    real, drawn = pd.concat([train, test]), model.sample(len(train), seed=seed)
    found = {}
    for asked in CONDITIONS:
        met = real[meets(real, asked)].drop(columns=list(asked))
        half = met.sample(frac=1, random_state=seed)
        name = ", ".join(f"{column}={value}" for column, value in asked.items())
        direct = model.sample(len(met), asked, seed=seed, resample=False)
        resampled = model.sample(len(met), asked, seed=seed)
        violated = (~meets(pd.concat([direct, resampled]), asked)).sum()
        found |= {
            f"{name}: direct": detection(met, direct[list(met)]).auc,
            f"{name}: resampled": detection(met, resampled[list(met)]).auc,
            f"{name}: filtered": detection(met, drawn[meets(drawn, asked)][list(met)]).auc,
            f"{name}: real halves": detection(half[::2], half[1::2]).auc,
            f"{name}: violated": float(violated),
            f"{name}: share of the real": len(met) / len(real),
            f"{name}: probability": resampled.attrs["probability"],
            f"{name}: ESS / rows": resampled.attrs["effective_sample_size"] / len(met),
        }
    return found


def imputing(train, test, model, seed, draws=20):
    rng = np.random.default_rng(seed)
    truth = test.sample(min(1500, len(test)), random_state=seed).reset_index(drop=True)
    truth = truth.dropna().reset_index(drop=True)
    hidden = rng.random(truth.shape) < 0.2
    gaps = truth.astype(object).where(~hidden, None)
    found = {}
    for name, tables in {
        "this model": model.impute(gaps, draws, seed=seed),
        "k-NN": [knn(train, gaps)],
        "iterative": [iterative(train, gaps)],
        "boosted trees": [boosted(train, gaps)],
    }.items():
        good = imputation(truth, tables, hidden)
        for figure in ("accuracy", "rmse", "crps"):
            found[f"{name}: {figure}"] = getattr(good, figure)
        for level, share in good.coverage.items():
            found[f"{name}: coverage {level}"] = share
    return found


def _coded(train, gaps):
    """Numbers standardised, categories one-hot, NaN where hidden."""
    both = pd.concat([train, gaps], ignore_index=True)
    parts = {}
    for name in train:
        if is_number(train[name]):
            values = both[name].astype(float)
            parts[name] = ((values - values.mean()) / values.std()).to_frame()
        else:
            one_hot = pd.get_dummies(both[name].astype(object), dtype=float)
            parts[name] = one_hot.where(both[name].notna(), np.nan, axis=0)
    return parts, len(train)


def _decoded(parts, train, gaps, x):
    filled, start = {}, 0
    for name, part in parts.items():
        values = x[:, start : start + part.shape[1]]
        start += part.shape[1]
        if is_number(train[name]):
            numbers = train[name].astype(float)
            drawn = values[:, 0] * numbers.std() + numbers.mean()
        else:
            drawn = part.columns.to_numpy()[values.argmax(axis=1)]
        filled[name] = gaps[name].where(gaps[name].notna(), pd.Series(drawn, gaps.index))
    return pd.DataFrame(filled).astype(train.dtypes.map(lambda d: float if d.kind in "iuf" else d))


def _imputed(train, gaps, imputer, most):
    parts, n = _coded(train, gaps)
    x = np.concatenate([part.to_numpy(float) for part in parts.values()], axis=1)
    some = np.random.default_rng(0).permutation(n)[:most]
    imputer.fit(x[some])
    return _decoded(parts, train, gaps, imputer.transform(x[n:]))


def knn(train, gaps):
    return _imputed(train, gaps, KNNImputer(n_neighbors=25), 5000)


def iterative(train, gaps):
    return _imputed(train, gaps, IterativeImputer(max_iter=5, random_state=0), 5000)


def boosted(train, gaps):
    """Each column from all others, whose gaps the trees take as they are."""
    filled = gaps.copy()
    typed = gaps.astype({name: float for name in train if is_number(train[name])})
    for name in train:
        x = stacked([train.drop(columns=name), typed.drop(columns=name)])
        rows = gaps[name].isna().to_numpy()
        number = is_number(train[name])
        kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
        model = kind(categorical_features="from_dtype", random_state=0, early_stopping=False)
        y = train[name].astype(float) if number else train[name].astype(str)
        with threads(len(train)):
            model.fit(x[: len(train)], y)
            filled.loc[rows, name] = model.predict(x[len(train) :][rows])
    return filled


def missing(train, test, target, seed, epochs):
    rng = np.random.default_rng(seed)
    hidden = rng.random(train.shape) < 0.2
    gaps = train.astype(object).where(~hidden, None)
    gaps = gaps.astype({n: "float64" for n in train if is_number(train[n])}).astype(
        {n: train[n].dtype for n in train if not is_number(train[n]) and train[n].dtype != bool}
    )
    model, _ = learned(gaps, seed, epochs, missing="unknown")
    drawn = model.sample(len(train), seed=seed)
    return {"TSTR, a fifth missing": utility(train, drawn, test, target).synthetic}


def rare(train, test, target, seed, epochs):
    often, few = (train[train[target] == label] for label in ("<=50K", ">50K"))
    small = pd.concat([often.sample(180, random_state=seed), few.sample(20, random_state=seed)])
    small = small.reset_index(drop=True)
    model, _ = learned(small, seed, 40, hidden=64, layers=1)
    drawn = model.sample(160, {target: ">50K"}, seed=seed)
    y_test = test[target] == ">50K"
    found = {}
    for name, table, weight in (
        ("as it is", small, None),
        ("class weights", small, "balanced"),
        ("SMOTE-NC", smote(small, target, seed), None),
        ("drawn rows", pd.concat([small, drawn]), None),
    ):
        if table is None:
            continue
        x = stacked([table.drop(columns=target), test.drop(columns=target)])
        model_ = HistGradientBoostingClassifier(
            categorical_features="from_dtype", class_weight=weight, random_state=0
        )
        with threads(len(table)):
            model_.fit(x[: len(table)], table[target] == ">50K")
            p = model_.predict_proba(x[len(table) :])[:, 1]
        found |= {
            f"{name}: AUC": roc_auc_score(y_test, p),
            f"{name}: balanced accuracy": balanced_accuracy_score(y_test, p > 0.5),
            f"{name}: F1": f1_score(y_test, p > 0.5),
        }
    return found


def smote(small, target, seed):
    """The table with a class enlarged by SMOTE-NC; None without imbalanced-learn."""
    try:
        from imblearn.over_sampling import SMOTENC
    except ImportError:
        return None
    inputs = small.drop(columns=target)
    words = [name for name in inputs if not is_number(inputs[name])]
    sampler = SMOTENC(words, random_state=seed)
    x, y = sampler.fit_resample(inputs.astype(dict.fromkeys(words, object)), small[target])
    return x.assign(**{target: y})


def latent(train, test, seed, epochs):
    """What z carries, and what the rows are worth, with no latent and with three kinds of one."""
    found = {}
    for name, options in {
        "no latent": {},
        "z of 8, all columns at once": {"latent_dim": 8, "blocks": 1},
        "z of 8, 4 steps": {"latent_dim": 8, "blocks": 4},
        "z of 8, a step for each": {"latent_dim": 8, "blocks": len(train.columns)},
    }.items():
        model, seconds = learned(train, seed, epochs, **options)
        drawn = model.sample(len(train), seed=seed)
        some = test[:300]
        found |= {
            f"{name}: C2ST": detection(train, drawn, seed=seed).score,
            f"{name}: trends": trends(train, drawn).score,
            f"{name}: impossible": impossible(pd.concat([train, test]), drawn).share,
            f"{name}: nats": float(model.log_prob(some, num_samples=50).mean()),
            f"{name}: KL": kl(model, some),
            f"{name}: CPU-s": seconds,
        }
    return found


def kl(model, some):
    if not model.latent_dim:
        return 0.0
    codes = model.codec.encode(model.codec.read(some, warn=False), len(some)).astype("float32")
    nothing = np.full_like(codes, -1.0)
    return float(model.model.evaluate(codes, nothing, verbose=0, return_dict=True)["kl"])


PEERS = {
    "tvae": """
import sys, pandas as pd
from ctgan import TVAE
table = pd.read_csv(sys.argv[1])
words = [name for name in table if table[name].dtype == object]
model = TVAE(epochs=300); model.fit(table.dropna(), words)
model.sample(len(table)).to_csv(sys.argv[2], index=False)
""",
    "mostlyai": """
import sys, pandas as pd
from mostlyai.engine import TabularARGN
table = pd.read_csv(sys.argv[1])
model = TabularARGN(max_training_time=10); model.fit(table)
model.sample(n_samples=len(table)).to_csv(sys.argv[2], index=False)
""",
}


def peer(train, test, target, name, python, seed):
    """Rows of another generator, which runs in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / file) for file in ("train.csv", "rows.csv")]
        train.to_csv(paths[0], index=False)
        started = time.perf_counter()
        subprocess.run([python, "-c", PEERS[name], *paths], check=True)
        seconds = time.perf_counter() - started
        found = measured(train, test, target, as_real(read(paths[1]), train), seed)
    return {f"{name}: {figure}": value for figure, value in found.items()} | {f"{name}: s": seconds}


def as_real(drawn, train):
    """Drawn rows with the columns and kinds of the real ones."""
    drawn = drawn[list(train)]
    for name in train:
        if is_number(train[name]) and not is_number(drawn[name]):
            drawn = drawn.assign(**{name: pd.to_numeric(drawn[name], errors="coerce")})
    return drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--data", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--what", nargs="*", default=["rows"])
    parser.add_argument("--peer", nargs=2, action="append", default=[], metavar=("NAME", "PYTHON"))
    parser.add_argument("--rows")
    parser.add_argument("--models")
    parser.add_argument("--out", default="tables.json")
    args = parser.parse_args()
    results = {name: {} for name in args.data}
    for seed, name in itertools.product(range(args.seeds), args.data):
        found = results[name].setdefault(str(seed), {})
        for some in parts(args, name, seed):
            found |= some
            print(name, seed, json.dumps({k: round(v, 4) for k, v in some.items()}), flush=True)
            Path(args.out).write_text(json.dumps(results, indent=2))
    for name, seeds in results.items():
        show(name, seeds)


def parts(args, name, seed):
    """The figures that were asked for, one group after the other."""
    train, test = split(args.folder, name)
    target, adult = TARGETS[name], name == "adult"
    if {"rows", "conditions", "imputing"} & set(args.what):
        model, seconds = kept(args, name, train, seed)
    if "rows" in args.what:
        yield rows(train, test, target, model, seconds, seed)
    if "conditions" in args.what and adult:
        yield conditions(train, test, model, seed)
    if "imputing" in args.what:
        yield imputing(train, test, model, seed)
    if "missing" in args.what:
        yield missing(train, test, target, seed, args.epochs)
    if "rare" in args.what and adult:
        yield rare(train, test, target, seed, args.epochs)
    if "latent" in args.what:
        yield latent(train, test, seed, args.epochs)
    if "real" in args.what:
        half = train.sample(len(test), random_state=seed)
        rest = train.drop(half.index).reset_index(drop=True)
        yield measured(rest, test, target, half.reset_index(drop=True), seed)
    for other, python in args.peer:
        yield peer(train, test, target, other, python, seed)
    if args.rows:
        yield measured(train, test, target, as_real(read(args.rows), train), seed)


def kept(args, name, train, seed):
    """A trained model, from the file if there is one."""
    if args.models is None:
        return learned(train, seed, args.epochs)
    path = Path(args.models) / f"{name}-{seed}.cvae"
    if not path.is_file():
        model, seconds = learned(train, seed, args.epochs)
        model.save(path)
        path.with_suffix(".json").write_text(json.dumps(seconds))
    return TableCVAE.load(path), json.loads(path.with_suffix(".json").read_text())


def show(name, seeds):
    print(f"\n{name}, {len(seeds)} seeds")
    table = pd.DataFrame(seeds).T
    for column in table:
        print(f"  {column:<60} {table[column].mean():.4f} +- {table[column].std():.4f}")


if __name__ == "__main__":
    main()
