"""What a trained model looks like: its draws, its latent, its reconstructions, as figures."""

from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_cvae.data.containers import Data, Split
from keras_cvae.evaluation.prepare import Binarize, brightness, examples
from keras_cvae.figures import charts, sheets
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.trees import repeat, take

SHOWN_POINTS = 5000


def shown_conditions(
    model: ConditionalVAE, data: Data | None, most: int = 10
) -> list[tuple[Any, str]]:
    """Conditions that stand for all of them, with their names: classes, or quantiles of numbers.

    Classes need no data.
    """
    spec = model.condition.spec
    classes = spec.classes
    if classes:
        names = classes.names
        spread = np.unique(
            np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
        )
        return [(names[i], names[i]) for i in spread]
    if not model.condition.width:
        return [(None, "")]
    if data is None:
        raise ValueError(f"Which of {spec.summary()} to show is taken from data. Received none.")
    y = spec.prepare(data.train.y)
    if isinstance(y, dict):  # examples of which all is known
        words = [spec.words(take(y, i)) for i in range(min(len(data.train), 500))]
        order = np.array([i for i, said in enumerate(words) if "?" not in said] or [0])
    else:
        order = np.argsort(np.reshape(y, (len(y), -1))[:, 0], kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)]
    said = [spec.words(take(y, i)) or f"example {i}" for i in rows]
    return [(take(data.train.y, i), name) for i, name in zip(rows, said, strict=True)]


def samples(
    model: ConditionalVAE,
    data: Data | None,
    *,
    n: int = 12,
    temperature: float = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
) -> Figure:
    """Draw `n` pictures for each of `shown_conditions`, one row each; 100 of none."""
    shown = shown_conditions(model, data)
    if shown[0][0] is None:
        n = 100
    drawn = [model.generate(y, n, temperature, seed, guidance=guidance) for y, _ in shown]
    rows = np.stack([brightness(model, x) for x in drawn])
    at = f"temperature {temperature:g}" + f", guidance {guidance:g}" * (guidance != 1.0)
    caption = f"Draws: z ~ p(z|y) at {at}; shown is the mean of p(x|z,y)."
    if shown[0][0] is None:
        caption = caption.replace("|y", "").replace(",y", "")
        return sheets.image_grid(rows[0], columns=10, caption=caption)
    return sheets.image_grid(rows, row_labels=[name for _, name in shown], caption=caption)


def defaults(model: ConditionalVAE, data: Data | None) -> Figure:
    """Draw the mean of x at the prior's mean, for each of `shown_conditions`."""
    shown = shown_conditions(model, data)
    images = brightness(
        model, np.concatenate([model.generate(y, temperature=0.0) for y, _ in shown])
    )
    caption = "The mean of p(x|z,y) where z is the mean of p(z|y)."
    return sheets.image_grid(
        images[None], column_labels=[name for _, name in shown], caption=caption
    )


def latent(model: ConditionalVAE, data: Data) -> Figure:
    """Draw posterior means of held-out examples in a plane of the latent space."""
    held_out = data.shown
    rows = np.random.default_rng(0).permutation(len(held_out))[:SHOWN_POINTS]
    y = take(held_out.y, rows)
    conditional = y if model.condition.width else None
    z = model.encode(held_out.floats(rows), conditional)
    if model.latent_dim > 2:
        prior = _prior(model, conditional, len(rows))
        z = (z - prior["mean"]) / np.exp(0.5 * prior["log_var"])
    codes, axes, words = plane(z)
    which = "held-out" if len(data.validation) or data.test else "training"
    labels, names = _colours(y, data.class_names)
    return charts.latent_plane(
        codes,
        labels,
        names,
        caption=f"Posterior means of {len(rows):,} {which} examples{words}.",
        axis_labels=axes,
    )


def _colours(y: Any, names: Any) -> tuple[Any, Any]:
    """What the points of a plane are coloured by, and its names: of several the first that can."""
    if not isinstance(y, dict):
        numbers = None if y is None else y if y.ndim == 1 else y[:, 0]
        of_bar = "y" if y is not None and y.ndim == 1 else "first number of y"
        return numbers, names if names is not None or y is None else of_bar
    for name, values in y.items():
        if values.ndim == 1 and values.dtype.kind == "U":
            found, index = np.unique(values, return_inverse=True)
            return index, found.tolist()
        if values.ndim == 1 and values.dtype.kind in "iuf" and np.isfinite(values).all():
            return values.astype(float), name
    return None, None


def plane(z: np.ndarray) -> tuple[np.ndarray, tuple[str, str], str]:
    """Codes `(n, d)` as points `(n, 2)`, the names of the axes, and words for the caption.

    Of more than two dimensions, the two principal components in which most of their variance lies.

    Args:
        z: Posterior means; of more than two dimensions in deviations of the prior from its mean.
    """
    dim = z.shape[1]
    if dim <= 2:
        return z[:, [0, dim - 1]], ("$z_{1}$", f"$z_{{{dim}}}$"), ""
    centred = z - z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.abs(axes[:2]).argmax(axis=1)].diagonal())[:, None]
    share = np.square(sizes) / max(float(np.square(sizes).sum()), 1e-30)
    names = tuple(f"component {i + 1} ({100 * share[i]:.0f} %)" for i in range(2))
    words = (
        f", in the two principal components of {dim} latent dimensions that hold "
        f"{100 * share[:2].sum():.0f} % of their variance"
    )
    return centred @ axes.T, (names[0], names[1]), words


def _prior(model: ConditionalVAE, y: Any, n: int) -> dict[str, np.ndarray]:
    canonical, single = model.condition.spec.prepare_any(y)
    inputs = {"noise": np.zeros((n, model.latent_dim), "float32")}
    if canonical is not None:
        inputs["condition"] = repeat(canonical, n) if single else canonical
    return model.prior.predict(inputs, verbose=0)


def manifold(
    model: ConditionalVAE, condition: Any, name: str = "", grid: str = "linear", size: int = 13
) -> Figure:
    """Sweep two latent dimensions, or the only one, with the others at the prior's mean.

    Steps are in standard deviations of p(z|y), from -1.5 to 1.5; for the standard normal prior they
    are the values of z. "quantile" spaces them evenly in probability, from 5 % to 95 %.
    """
    if grid == "quantile":
        values = np.array([NormalDist().inv_cdf(p) for p in np.linspace(0.05, 0.95, size)])
    else:
        values = np.linspace(-1.5, 1.5, size)
    prior = {key: value[0] for key, value in _prior(model, condition, 1).items()}
    spread = np.exp(0.5 * prior["log_var"])
    first, second = _active(model, condition)
    rows = values if second != first else np.zeros(1)  # of one dimension a single row
    z = np.tile(prior["mean"], (len(rows), size, 1))
    z[..., first] += values[None, :] * spread[first]
    if second != first:
        z[..., second] += rows[:, None] * spread[second]
    images = brightness(model, model.decode(z.reshape(-1, model.latent_dim), condition))
    given = "|y" if model.condition.width else ""
    of_prior = f" in standard deviations of p(z{given}) from its mean"
    unit = of_prior if model.prior.prior.learned else ""
    rest = (
        f"; the two of {model.latent_dim} dimensions that change the picture most, the others at "
        "the prior's mean"
        if model.latent_dim > 2
        else ""
    )
    return sheets.manifold(
        images.reshape(len(rows), size, *model.x_shape),
        rows,
        column_values=values,
        title=name or None,
        caption=f"Sweep of the latent{unit}, {'quantile' if grid == 'quantile' else 'linear'} "
        f"grid{rest}.",
        axis_labels=(f"$z_{{{first + 1}}}$", f"$z_{{{second + 1}}}$" * (second != first)),
    )


def _active(model: ConditionalVAE, condition: Any) -> tuple[int, int]:
    """The two dimensions in which one standard deviation of the prior changes x most."""
    dim = model.latent_dim
    if dim <= 2:
        return 0, dim - 1
    prior = {key: value[0] for key, value in _prior(model, condition, 1).items()}
    moves = np.diag(np.exp(0.5 * prior["log_var"]))
    up, down = (model.decode(prior["mean"] + sign * moves, condition) for sign in (1, -1))
    change = np.square(up - down).reshape(dim, -1).sum(axis=1)
    first, second = sorted(np.argsort(change)[-2:].tolist())
    return first, second


def transition(
    model: ConditionalVAE, data: Data | None, steps: int = 8
) -> tuple[np.ndarray, Figure]:
    """Morph through all conditions at the prior's mean: frames, and a strip of them."""
    shown = shown_conditions(model, data)
    if shown[0][0] is None:
        rng = np.random.default_rng(0)
        z = rng.standard_normal((6, model.latent_dim)).astype("float32")
        ways = [model.interpolate(a, b, steps=steps + 1) for a, b in pairwise(z)]
        names, caption = ["" for _ in z], "A walk between draws from the prior."
    else:
        ways = [
            model.interpolate(condition=a, to_condition=b, steps=steps + 1)
            for (a, _), (b, _) in pairwise(shown)
        ] or [model.generate(shown[0][0], n=2, temperature=0.0)]
        names = [name for _, name in shown]
        caption = "From one condition to the next through their mixtures, z at the prior's mean."
    frames = brightness(model, np.concatenate([way[:-1] for way in ways] + [ways[-1][-1:]]))
    every = max(1, steps // 4)
    strip = frames[::every]
    labels = {i * (steps // every): name for i, name in enumerate(names) if name}
    return frames, sheets.transition(strip, labels=labels or None, caption=caption)


def reconstructions(
    model: ConditionalVAE,
    split: Split,
    *,
    n: int = 20,
    binarize: Binarize = "none",
    classes: bool = False,
    caption: str,
) -> Figure:
    """Draw examples above their reconstructions.

    Args:
        model: An image model.
        split: The examples.
        n: How many of them, at most.
        binarize: As in `evaluate`.
        classes: Whether the split's y are classes, over which the examples are spread.
        caption: What is shown.
    """
    order = np.argsort(split.y, kind="stable") if classes else np.arange(min(n, len(split)))
    rows = order[np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)]
    x, condition = examples(model, split.take(rows), binarize)
    again = model.reconstruct(x, condition)
    return sheets.reconstructions(brightness(model, x), brightness(model, again), caption=caption)


def completions(
    model: ConditionalVAE,
    split: Split,
    binarize: Binarize = "none",
    *,
    count: int = 8,
    n: int = 10,
    seed: int = 0,
) -> Figure:
    """Draw what is known, the truth, and completions, one row an example.

    Args:
        model: An image model that completes.
        split: The examples.
        binarize: As in `evaluate`.
        count: Examples, the first ones.
        n: Completions of each.
        seed: Of the draws.
    """
    x, known = examples(model, split.take(slice(0, count)), binarize)
    drawn = model.complete(known, n=n, seed=seed).reshape(len(x), n, *model.x_shape)
    known = np.where(np.isnan(known), 0.5, known)
    labels = ["known", "truth", *map(str, range(1, n + 1))]
    return sheets.image_grid(
        np.concatenate([known[:, None], x[:, None], drawn], axis=1),
        column_labels=labels,
        caption="Grey is unknown; completions show the mean of p(x|z,y), z drawn from p(z|y).",
    )
