"""Tables: Adult, Online Shoppers and Beijing PM2.5, with the same defaults for all.

    python benchmarks/tables.py FOLDER [--data adult shoppers beijing] [--seeds 3] [--epochs N]
        [--what rows conditions imputing missing rare] [--out tables.json]

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
    rare         200 learned rows of which 20 are >50K: a classifier with class weights, with
                 SMOTE-NC's idea (if imbalanced-learn is there) and with drawn rows
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import train_test_split

from keras_cvae import TableCVAE
from keras_cvae.data.tables.files import read
from keras_cvae.evaluation.tables import detection, imputation, meets, utility
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
    column = target if not is_number(train[target]) else train.columns[0]
    asked = {column: train[column].mode()[0]}
    model.sample(500, asked, seed=0)  # compiled once
    started = time.perf_counter()
    model.sample(500, asked, seed=1)
    drawn = time.perf_counter() - started
    started = time.perf_counter()
    model.sample(500, asked, seed=1, resample=False)
    return {
        "shapes": evaluation.shapes.score,
        "trends": evaluation.trends.score,
        "C2ST": evaluation.trees.score,
        "C2ST held out": evaluation.held_out_trees.score,
        "C2ST logistic": evaluation.logistic.score,
        "TSTR": evaluation.utility.synthetic,
        "TRTR": evaluation.utility.real,
        "DCR share": evaluation.privacy.dcr_share,
        "copies": evaluation.privacy.copies,
        "impossible": evaluation.impossible.share,
        "nats": evaluation.likelihood.nats,
        "nats, learned": evaluation.likelihood.train_nats,
        "CPU-s": seconds,
        "500 rows, s": drawn,
        "500 rows directly, s": time.perf_counter() - started,
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
        figures = imputation(truth, tables, hidden)
        for figure in ("accuracy", "rmse", "crps"):
            found[f"{name}: {figure}"] = getattr(figures, figure)
        for level, share in figures.coverage.items():
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
        ("drawn rows", pd.concat([small, drawn]), None),
    ):
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--data", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--what", nargs="+", default=["rows"])
    parser.add_argument("--out", default="tables.json")
    args = parser.parse_args()
    results = {}
    for name in args.data:
        train, test = split(args.folder, name)
        target = TARGETS[name]
        for seed in range(args.seeds):
            found = results.setdefault(name, {}).setdefault(str(seed), {})
            if {"rows", "conditions", "imputing"} & set(args.what):
                model, seconds = learned(train, seed, args.epochs)
            if "rows" in args.what:
                found |= rows(train, test, target, model, seconds, seed)
            if "conditions" in args.what and name == "adult":
                found |= conditions(train, test, model, seed)
            if "imputing" in args.what:
                found |= imputing(train, test, model, seed)
            if "missing" in args.what:
                found |= missing(train, test, target, seed, args.epochs)
            if "rare" in args.what and name == "adult":
                found |= rare(train, test, target, seed, args.epochs)
            print(name, seed, json.dumps({k: round(v, 4) for k, v in found.items()}), flush=True)
            Path(args.out).write_text(json.dumps(results, indent=2))
        show(name, results[name])


def show(name, seeds):
    print(f"\n{name}, {len(seeds)} seeds")
    figures = pd.DataFrame(seeds).T
    for column in figures:
        print(f"  {column:<60} {figures[column].mean():.4f} +- {figures[column].std():.4f}")


if __name__ == "__main__":
    main()
