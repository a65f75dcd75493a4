"""Make the models that come trained, with their cards: src/keras_cvae/trained/*.keras.

    make trained                            all of them, into runs/trained first
    python tools/trained.py mnist-dense     one of them
    python tools/trained.py --mnist PATH    with Keras' mnist.npz at a path, where it cannot be
                                            downloaded

A run that is complete is not trained again; one that was stopped goes on. What is measured is the
float16 file itself, not the run. Two CPU cores take 4 minutes for a training of `mnist-dense`, 5
for that of `mnist-complete`, and as much again to measure each.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras_cvae
from keras_cvae import trained
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.report.rows import compare
from keras_cvae.runs.build import load_data
from keras_cvae.runs.config import load_config
from keras_cvae.runs.run import Run

MNIST = (
    "MNIST (LeCun, Cortes & Burges): 60,000 training images, 28x28, of which a tenth was held out; "
    "each pixel binarised anew in every epoch, x ~ Bernoulli(grey level). Scores are of the 10,000 "
    "test images, binarised once."
)


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
    shared = keras_cvae.load(name)
    evaluation = evaluate(
        shared,
        load_data(mnist, config),
        samples=recipe.samples,
        binarize=config.binarize,
        limit=recipe.limit,
    )
    rows = {row["label"]: row["values"][0] for row in compare({name: evaluation})}
    print(json.dumps(rows, indent=2, ensure_ascii=False), flush=True)
    full = card.model_copy(
        update={
            "scores": {label: rows[label] for label in recipe.shown if label in rows},
            "evaluation": evaluation.to_dict(),
        }
    )
    shared = keras_cvae.load(folder).save_to(path, full)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {shared.scores}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"Of {', '.join(RECIPES)}. None: all.")
    parser.add_argument("--mnist", default="mnist", help="'mnist', or the path of Keras' mnist.npz")
    parser.add_argument("--runs", type=Path, default=Path("runs/trained"), help="Where runs lie.")
    given = parser.parse_args()
    if unknown := set(given.names) - set(RECIPES):
        parser.error(f"received {', '.join(unknown)}, expected some of {', '.join(RECIPES)}")
    for name in given.names or RECIPES:
        make(name, RECIPES[name], given.runs, given.mnist)


if __name__ == "__main__":
    main()
