"""What a model knows: how likely its training examples are, kept in the run."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_cvae import masks
from keras_cvae.data.containers import Split
from keras_cvae.errors import DataError
from keras_cvae.evaluation.prepare import examples
from keras_cvae.files import read_json, write_json
from keras_cvae.runs.run import Run, RunError

EXAMPLES, SAMPLES = 500, 10
NAME = "typical.json"


@dataclass(frozen=True)
class Typical:
    """log p(x | y) of training examples, in nats.

    Args:
        least: The least of all that were looked at.
        low: Below it lies one in a hundred.
        examples: How many were looked at.
    """

    least: float
    low: float
    examples: int


def typical(run: Run, model: Any, progress: Callable | None = None) -> Typical | None:
    """How likely training examples are; as measured when the run ended, or else now.

    Args:
        run: The run; of one that is not complete, nothing is kept.
        model: Its model.
        progress: As in `Run.data`.

    Returns:
        None if it was never measured and the data are gone.
    """
    path = run.folder / NAME
    try:
        if path.is_file() and run.complete:
            return Typical(**read_json(path))
    except (ValueError, TypeError):  # damaged: made again
        with contextlib.suppress(OSError):
            path.unlink()
    try:
        return measure(run, model, run.data(progress).train)
    except (RunError, DataError):
        return None


def measure(run: Run, model: Any, train: Split) -> Typical:
    """Measure how likely training examples are, and keep it in the run if that is complete."""
    x, condition = examples(model, train.labelled.spread(EXAMPLES))
    scores = log_probs(model, x, condition)
    found = Typical(float(scores.min()), float(np.quantile(scores, 0.01)), len(scores))
    if run.complete:
        with contextlib.suppress(OSError):  # where it cannot be kept, it is made again
            write_json(run.folder / NAME, asdict(found))
    return found


def log_probs(model: Any, x: np.ndarray, condition: Any) -> np.ndarray:
    """log p(x | y) as `typical` measures it, `(n,)` in nats.

    Of a model that completes, that of x with as little known as it can do with, whatever
    `condition` is: so that it does not depend on how much a user knows.
    """
    if model.condition.knows_part:
        fixed = model.condition.spec.fixed
        nothing = np.zeros((1, *model.x_shape[:-1], 1), bool)
        condition = masks.holes(x, nothing if fixed is None else fixed)
    return np.asarray(model.score(x, condition, SAMPLES, 0))
