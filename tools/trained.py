"""Make the models that come trained, with their cards: src/keras_cvae/trained/.

    make trained                            all of them, into runs/trained first
    python tools/trained.py mnist-dense     one of them
    python tools/trained.py --mnist PATH    with Keras' mnist.npz at a path, where it cannot be
                                            downloaded
    python tools/trained.py --adult PATH    adult.csv, or UCI's adult.data, likewise

A run that is complete is not trained again; one that was stopped goes on. What is measured is the
float16 file itself, not the run. Two CPU cores take 4 minutes for a training of `mnist-dense`, 5
for that of `mnist-complete`, 1 for that of `adult`, and as much again or more to measure each.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import keras_cvae
from keras_cvae import trained
from keras_cvae.data.tables.codec import TableCodec
from keras_cvae.data.tables.coding import Intervals
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.evaluation.tables.evaluate import evaluate_table
from keras_cvae.report.rows import compare
from keras_cvae.report.tables import rows_of
from keras_cvae.runs import tables
from keras_cvae.runs.build import load_data
from keras_cvae.runs.config import load_config
from keras_cvae.runs.run import Run

MNIST = (
    "MNIST (LeCun, Cortes & Burges): 60,000 training images, 28x28, of which a tenth was held out; "
    "each pixel binarised anew in every epoch, x ~ Bernoulli(grey level). Scores are of the 10,000 "
    "test images, binarised once."
)


ADULT = (
    "Adult, census income (Becker & Kohavi 1996, UCI): the 32,561 rows of its training part, 15 "
    "columns, of which a tenth of the rows was held out; scores are of these and of as many drawn "
    "rows as were learned."
)
ADULT_COLUMNS = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex "
    "capital-gain capital-loss hours-per-week native-country income"
)
ADULT_FROM = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/adult.data"


@dataclass(frozen=True)
class Recipe:
    """How one of them is made.

    Args:
        summary: What it does, in a sentence.
        example: What to type to try it.
        preset: The preset that it starts from.
        settings: What is set beside the preset.
        samples: Importance samples per test example.
        limit: How many test examples are scored; None: all.
        shown: The rows of the evaluation that its card shows.
    """

    summary: str
    example: str
    preset: str
    shown: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    samples: int = 200
    limit: int | None = None

    @property
    def flags(self) -> str:
        """The settings as `cvae train` takes them."""
        words = {"--preset": self.preset} | {
            f"--{name.replace('_', '-')}": ",".join(map(str, value))
            if isinstance(value, tuple)
            else value
            for name, value in self.settings.items()
        }
        return " ".join(f"{flag} {value}" for flag, value in words.items())


RECIPES = {
    "mnist-dense": Recipe(
        summary="Handwritten digits: draws the digit that you ask for, or yours as another one.",
        example="cvae generate mnist-dense -c 2",
        preset="dense",
        shown=(
            "−log p(x | y)",
            "−log p(x)",
            "on-label accuracy",
            "train on samples, test on real",
        ),
        limit=2000,
    ),
    "mnist-complete": Recipe(
        summary="Handwritten digits of which any part is known: draws the rest, many ways.",
        example="cvae complete mnist-complete IMAGE --known left -n 10",
        preset="dense",
        settings={
            "task": "complete",
            "units": (256, 256),
            "latent_dim": 32,
            "groups": 2,
            "epochs": 40,
        },
        shown=("−log p(x | y)", "the same, z drawn from p(z | y)"),
        limit=2000,
    ),
}


@dataclass(frozen=True)
class TableRecipe:
    """How a model of a table is made.

    Args:
        summary: What it does, in a sentence.
        example: What to type to try it.
        target: The column to predict from drawn rows.
        shown: The rows of the evaluation that its card shows, and what they are called there.
        settings: What differs from the default.
    """

    summary: str
    example: str
    target: str
    shown: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)


TABLES = {
    "adult": TableRecipe(
        summary="People of a census: rows under any conditions, gaps filled, log p of each.",
        example="cvae generate adult -c 'income=>50K' -n 5",
        target="income",
        settings={"hidden": 256},
        shown={
            "log p": "log p of a held-out row",
            "shapes": "shapes",
            "trends": "trends",
            "told apart by boosted trees, held-out rows": "told from held-out rows by trees",
            "learned from synthetic rows": "income predicted, learned from drawn rows, AUC",
            "learned from real rows": "the same from real rows, AUC",
            "nearer to learned rows": "draws nearer to learned than to held-out rows",
            "exact copies": "draws that copy a learned row",
        },
    ),
}


def make(name: str, recipe: Recipe, runs: Path, mnist: str) -> None:
    """Train, write, measure what was written, and write it again with its scores."""
    config = load_config(recipe.preset, **recipe.settings)
    folder = runs / name
    if not (folder / "model.keras").is_file():
        resume = (folder / "checkpoint.keras").is_file()
        keras_cvae.train(mnist, config, folder, resume=resume, overwrite=not resume)
    config = Run.open(folder).config  # with the number of epochs
    card = keras_cvae.Card(
        name=name,
        summary=recipe.summary,
        example=recipe.example,
        data=MNIST,
        data_licence="CC BY-SA 3.0",
        licence="CC BY-SA 3.0, as the data",
        commands=(
            f"cvae train mnist {recipe.flags} --out runs/trained/{name}",
            f"python tools/trained.py {name}",
            f"cvae evaluate {name} --samples {recipe.samples}"
            + (f" --limit {recipe.limit}" if recipe.limit else ""),
        ),
        limits="For looking at and for trying the software; it has seen no digits but MNIST's.",
        source="mnist",
        settings=config.model_dump(mode="json"),
    )
    path = trained.FOLDER / f"{name}.keras"
    keras_cvae.load(folder).save_to(path, card)
    evaluation = evaluate(
        keras_cvae.load(name),
        load_data(mnist, config),
        samples=recipe.samples,
        binarize=config.binarize,
        limit=recipe.limit,
    )
    rows = {row["label"]: row["values"][0] for row in compare({name: evaluation})}
    _write(keras_cvae.load(folder), path, card, recipe.shown, rows, evaluation)


def make_table(name: str, recipe: TableRecipe, runs: Path, source: str) -> None:
    """Train, write, measure what was written, and write it again with its scores."""
    folder = runs / name
    if not (folder / "table.cvae").is_file():
        tables.train(source, tables.TableConfig(**recipe.settings), folder, overwrite=True)
    run, model = tables.TableRun.open(folder), keras_cvae.load(folder)
    flags = " ".join(f"--{flag} {value}" for flag, value in recipe.settings.items())
    card = keras_cvae.Card(
        name=name,
        summary=recipe.summary,
        example=recipe.example,
        data=ADULT,
        data_licence="CC BY 4.0",
        licence="CC BY 4.0, as the data",
        commands=(
            f"cvae train {name}.csv {flags} --out runs/trained/{name}",
            f"python tools/trained.py {name} --adult {name}.csv",
            f"cvae evaluate {name} {name}.csv --target {recipe.target}",
        ),
        limits="For trying the software: a census of 1994, with what it says of people; decide "
        "nothing about anybody with it. The file holds no rows. Its schema holds every category "
        "that occurs and every value of a number with at most 256 of them, also where one person "
        "alone has it, and the lowest and the highest of the others. Nothing in it is protected as "
        "differential privacy does: for a public table.",
        source=f"{name}.csv",
        settings=run.config.model_dump(mode="json"),
    )
    path = trained.FOLDER / f"{name}.cvae"
    model.save_to(path, card)
    learned, held = run.rows()
    evaluation = evaluate_table(keras_cvae.load(name), learned, held, target=recipe.target)
    found = {line.label: line.text for _, lines in rows_of(evaluation) for line in lines}
    rows = {name: found[label] for label, name in recipe.shown.items()}
    rows["values in its schema that one row alone has"] = alone(model.codec, learned)
    _write(model, path, card, tuple(rows), rows, evaluation)


def alone(codec: TableCodec, learned: pd.DataFrame) -> str:
    """How many of the values that a schema holds are those of a single row."""
    values = limits = single = exact = 0
    for coded in codec.columns:
        read = coded.column.read(learned[coded.column.name])
        distinct, counts = np.unique(read.values[~read.missing], return_counts=True)
        one = distinct[counts == 1]
        if isinstance(coded.coding, Intervals):
            low, high = coded.coding.low, coded.coding.high
            own = low == high
            ends = np.unique(np.concatenate([low[~own], high[~own]]))
            limits, exact = limits + len(ends), exact + int(np.isin(ends, one).sum())
            levels = low[own]
        else:
            levels = distinct
        values, single = values + len(levels), single + int(np.isin(levels, one).sum())
    return f"{single} of {values}; {exact} of {limits} limits between quantiles"


def _write(
    model: Any, path: Path, card: Any, shown: tuple[str, ...], rows: dict, evaluation: Any
) -> None:
    """Write a model with the scores that were measured of it."""
    print(json.dumps(rows, indent=2, ensure_ascii=False), flush=True)
    scores = {label: rows[label] for label in shown if label in rows}
    measured = {"scores": scores, "evaluation": evaluation.to_dict()}
    written = model.save_to(path, card.model_copy(update=measured))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {written.scores}", flush=True)


def adult_file(given: str | None, folder: Path) -> str:
    """The table as a CSV file with a header: the one that was given, or UCI's."""
    if given and Path(given).suffix == ".csv":
        return given
    import keras  # after keras_cvae, which chooses its backend

    found = given or keras.utils.get_file("adult.data", ADULT_FROM)
    table = pd.read_csv(found, names=ADULT_COLUMNS.split(), skipinitialspace=True)
    if len(table) != 32_561:
        raise SystemExit(f"'{found}' has {len(table)} rows. Expected UCI's adult.data, 32,561.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "adult.csv"
    table.to_csv(path, index=False)
    return str(path)


def main() -> None:
    known = [*RECIPES, *TABLES]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"Of {', '.join(known)}. None: all.")
    parser.add_argument("--mnist", default="mnist", help="'mnist', or the path of Keras' mnist.npz")
    parser.add_argument("--adult", help="The path of adult.csv. Default: it is downloaded.")
    parser.add_argument("--runs", type=Path, default=Path("runs/trained"), help="Where runs lie.")
    given = parser.parse_args()
    if unknown := set(given.names) - set(known):
        parser.error(f"received {', '.join(unknown)}, expected some of {', '.join(known)}")
    for name in given.names or known:
        if name in TABLES:
            make_table(name, TABLES[name], given.runs, adult_file(given.adult, given.runs))
        else:
            make(name, RECIPES[name], given.runs, given.mnist)


if __name__ == "__main__":
    main()
