"""What draws look like where x are no pictures: signals as lines, vectors value by value."""

import numpy as np
from matplotlib.figure import Figure

from keras_cvae.data.containers import Data
from keras_cvae.evaluation.prepare import drawn
from keras_cvae.figures import lines, tables
from keras_cvae.figures.of_models import shown_conditions
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.trees import take

MOST = 2000  # examples that draws are compared with
PLOTS, PAIRS = 24, 60  # values that are shown, alone and in pairs


def signals(
    model: ConditionalVAE,
    data: Data,
    *,
    n: int = 6,
    temperature: float = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
) -> Figure:
    """Draw signals for each of `shown_conditions` (six at most), over real ones."""
    rows = {}
    some = data.shown.spread(MOST)
    for condition, name in shown_conditions(model, data, 6):
        x = some.floats()
        if condition is not None and data.class_names and not isinstance(some.y, dict):
            x = x[some.y == data.class_names.index(name)]
        real = x[:n] if condition is None or data.class_names else x[:0]
        draws = model.generate(condition, n, temperature, seed, output="sample", guidance=guidance)
        rows[name or "draws"] = (real, draws)
    at = f"temperature {temperature:g}" + f", guidance {guidance:g}" * (guidance != 1.0)
    return lines.signals(rows, caption=f"Draws from p(x|z,y), z ~ p(z|y) at {at}, and real ones.")


def compared(model: ConditionalVAE, data: Data, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Real vectors `(n, d)`, and a draw for the condition of each."""
    some = data.shown.spread(MOST)
    y = take(some.y, slice(None)) if model.condition.width else None
    return some.floats(), drawn(model, y, len(some), seed, "sample")


def marginals(model: ConditionalVAE, data: Data, seed: int = 0) -> Figure:
    """Draw the distribution of each value, real and drawn, the least alike first."""
    real, draws = compared(model, data, seed)
    alike = 1.0 - _distances(real, draws)
    order = np.argsort(alike, kind="stable")[:PLOTS]
    names = {f"value {i + 1}": i for i in order}
    known, new = ({name: x[:, i].astype(float) for name, i in names.items()} for x in (real, draws))
    scores = {name: float(alike[i]) for name, i in names.items()}
    caption = (
        "Draws for the conditions of real examples. The number is 1 less the largest distance of "
        "the two distribution functions (Kolmogorov and Smirnov): 1 where they are the same."
    )
    return tables.marginals(known, new, scores, drawn="draws", caption=caption)


def correlations(model: ConditionalVAE, data: Data, seed: int = 0) -> Figure:
    """Draw how pairs of values go together, real beside drawn: |correlation|."""
    real, draws = compared(model, data, seed)
    d = min(real.shape[1], PAIRS)
    names = [str(i + 1) for i in range(d)]
    both = (_correlation(x[:, :d]) for x in (real, draws))
    return tables.dependence(names, *both, drawn="draws", measure="|correlation|")


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of Kolmogorov and Smirnov of each column, `(d,)`."""
    found = []
    for one, other in zip(a.T, b.T, strict=True):
        both = np.sort(np.concatenate([one, other]))
        below = [np.searchsorted(np.sort(x), both, "right") / len(x) for x in (one, other)]
        found.append(np.abs(below[0] - below[1]).max())
    return np.array(found)


def _correlation(x: np.ndarray) -> np.ndarray:
    """|correlation| of columns, `(d, d)`; 0 for one that never changes."""
    spread = x.std(axis=0)
    u = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.abs(u.T @ u / len(x))
