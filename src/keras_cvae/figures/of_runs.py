"""What a trained model looks like: draws it, by the figures that know no model."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_cvae.data.containers import Data
from keras_cvae.errors import listed, nearest
from keras_cvae.figures import charts, sheets, writing
from keras_cvae.figures.kinds import KINDS
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.report import pictures
from keras_cvae.runs.run import Run
from keras_cvae.trees import repeat, take

SHOWN_POINTS = 5000


class NotAPictureError(ValueError):
    """The data are not images, so there is nothing to look at."""


def draw(
    run: Run,
    kind: str,
    *,
    out: str | Path | None = None,
    condition: str | None = None,
    grid: str = "linear",
    temperature: float = 1.0,
    seed: int = 0,
    suffix: str = ".png",
    model: ConditionalVAE | None = None,
    data: Data | None = None,
    progress: Callable = lambda items, **_: items,
) -> list[Path]:
    """Draw one kind of picture, or "all", of a complete run.

    Args:
        run: The run.
        kind: One of `KINDS`, or "all".
        out: A folder; by default `pictures` in the run.
        condition: For the manifold, the only class to show.
        grid: Of the manifold: "linear" from -1.5 to 1.5, or "quantile".
        temperature: Of the samples.
        seed: Of the samples.
        suffix: ".png", ".pdf" or ".svg".
        model: The run's model, if it is already loaded.
        data: The run's data, if they are already loaded; needed if it was trained on arrays.
        progress: Wraps the loop over pictures.

    Returns:
        The files written.

    Raises:
        NotAPictureError: One kind was asked for that needs images, and the data are none.
        ValueError: An unknown condition.
    """
    if kind not in (*KINDS, "all"):
        raise ValueError(
            f"Unknown picture '{kind}'. Known are {listed((*KINDS, 'all'))}.{nearest(kind, KINDS)}"
        )
    model, data = model or run.model(), data or run.data()
    folder = Path(out) if out is not None else run.folder / "pictures"
    drawable = _drawable(model)
    kinds = drawable if kind == "all" else (kind,)
    only = None
    if condition is not None:
        canonical, _ = model.condition.spec.prepare_any(condition)
        only = (condition, model.condition.spec.words(take(canonical, 0)))
    if not set(kinds) <= set(drawable):
        raise NotAPictureError(
            f"'{kind}' cannot be drawn where x has the shape {model.x_shape} and the condition is "
            f"{type(model.condition).__name__}. Expected one of {listed(drawable)}."
        )

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for one in progress(kinds, total=len(kinds), description="Drawing"):
        for name, figure in _figures(one, model, data, run, only, grid, temperature, seed):
            if isinstance(figure, Figure):
                path = folder / f"{name}{suffix}"
                writing.save(figure, path)
            else:
                path = folder / f"{name}.gif"
                writing.animate(figure, path)
            written.append(path)
    return written


def _drawable(model: ConditionalVAE) -> tuple[str, ...]:
    image, completes = len(model.x_shape) == 3, model.condition.knows_part
    if completes:
        return ("completions", "history") if image else ("history",)
    kinds: tuple[str, ...] = ("latent", "history")
    if image:
        kinds = tuple(kind for kind in KINDS if kind != "completions")
    if not model.latent_dim:
        kinds = tuple(kind for kind in kinds if kind in ("samples", "history"))
    return kinds


def _figures(
    kind, model, data, run, only, grid, temperature, seed
) -> Iterator[tuple[str, Figure | np.ndarray]]:
    match kind:
        case "samples":
            yield "samples", samples(model, data, temperature=temperature, seed=seed)
        case "defaults":
            yield "defaults", defaults(model, data)
        case "latent":
            yield "latent", latent(model, data)
        case "manifold":
            ending = "" if grid == "linear" else f"-{grid}"
            shown = shown_conditions(model, data) if only is None else [only]
            for y, name in shown:
                safe = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
                yield (
                    f"manifold{f'-{safe}' if name else ''}{ending}",
                    manifold(model, y, name, grid),
                )
        case "transition":
            frames, figure = transition(model, data)
            yield "transition", figure
            yield "transition", frames
        case "reconstructions":
            yield "reconstructions", reconstructions(model, data)
        case "completions":
            yield kind, pictures.completions(model, data.validation, run.config.binarize, seed=seed)
        case "history":
            yield "history", charts.history(run.history(), caption="Nats per example.")


def shown_conditions(model: ConditionalVAE, data: Data, most: int = 10) -> list[tuple[Any, str]]:
    """Conditions that stand for all of them, with their names: classes, or quantiles of numbers."""
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
    y = spec.prepare(data.train.y)
    if isinstance(y, dict):  # examples of which all is known
        words = [spec.words(take(y, i)) for i in range(min(len(data.train), 500))]
        order = np.array([i for i, said in enumerate(words) if "?" not in said] or [0])
    else:
        order = np.argsort(np.reshape(y, (len(y), -1))[:, 0], kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)]
    said = [spec.words(take(y, i)) or f"example {i}" for i in rows]
    return [(take(data.train.y, i), name) for i, name in zip(rows, said, strict=True)]


def samples(model, data, *, n: int = 12, temperature: float = 1.0, seed: int = 0) -> Figure:
    """`n` draws for each condition, one row each."""
    shown = shown_conditions(model, data)
    rows = np.stack([model.generate(y, n, temperature, seed) for y, _ in shown])
    caption = f"Draws: z ~ p(z|y) at temperature {temperature:g}; shown is the mean of p(x|z,y)."
    if shown[0][0] is None:
        return sheets.image_grid(
            model.generate(n=100, temperature=temperature, seed=seed),
            columns=10,
            caption=caption.replace("|y", "").replace(",y", ""),
        )
    return sheets.image_grid(rows, row_labels=[name for _, name in shown], caption=caption)


def defaults(model, data) -> Figure:
    """One picture for each condition: the mean of x at the prior's mean."""
    shown = shown_conditions(model, data)
    images = np.concatenate([model.generate(y, temperature=0.0) for y, _ in shown])
    caption = "The mean of p(x|z,y) where z is the mean of p(z|y)."
    return sheets.image_grid(
        images[None], column_labels=[name for _, name in shown], caption=caption
    )


def latent(model, data) -> Figure:
    """Posterior means of held-out examples in a plane of the latent space."""
    held_out = data.validation
    rows = np.random.default_rng(0).permutation(len(held_out))[:SHOWN_POINTS]
    y = take(held_out.y, rows)
    conditional = y if model.condition.width else None
    z = model.encode(held_out.floats(rows), conditional)
    first, second, words = plane(model, data)
    caption = f"Posterior means of {len(rows):,} held-out examples{words}."
    labels, names = _colours(y, data.class_names)
    return charts.latent_plane(
        z[:, [first, second]],
        labels,
        names,
        caption=caption,
        axis_labels=(f"$z_{{{first + 1}}}$", f"$z_{{{second + 1}}}$"),
    )


def _colours(y, names) -> tuple[Any, Any]:
    """What the points of a plane are coloured by, and its names: of several the first that can."""
    if not isinstance(y, dict):
        return (y if y is None or y.ndim == 1 else y[:, 0]), names
    for values in y.values():
        if values.ndim == 1 and values.dtype.kind == "U":
            found, index = np.unique(values, return_inverse=True)
            return index, found.tolist()
        if values.ndim == 1 and values.dtype.kind in "iuf" and np.isfinite(values).all():
            return values, None
    return None, None


def plane(model, data) -> tuple[int, int, str]:
    """Two latent dimensions to look at, and words for the caption where there was a choice.

    With more than two: those whose posterior means vary most, in units of the prior, that is, the
    two that carry most of what the latent knows.
    """
    if model.latent_dim == 1:
        return 0, 0, ""
    if model.latent_dim == 2:
        return 0, 1, ""
    count = min(len(data.validation), 1000)
    x = data.validation.floats(np.arange(count))
    y = None if not model.condition.width else take(data.validation.y, slice(count))
    prior = _prior(model, y, count)
    z = (model.encode(x, y) - prior["mean"]) / np.exp(0.5 * prior["log_var"])
    first, second = sorted(np.argsort(z.var(axis=0))[-2:].tolist())
    return (
        first,
        second,
        f", in the two of {model.latent_dim} latent dimensions that vary most",
    )


def _prior(model, y, n: int) -> dict[str, np.ndarray]:
    canonical, single = model.condition.spec.prepare_any(y)
    inputs = {"noise": np.zeros((n, model.latent_dim), "float32")}
    if canonical is not None:
        inputs["condition"] = repeat(canonical, n) if single else canonical
    return model.prior.predict(inputs, verbose=0)


def manifold(model, condition, name: str = "", grid: str = "linear", size: int = 13) -> Figure:
    """The sweep of two latent dimensions for one condition, the others at the prior's mean.

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
    z = np.tile(prior["mean"], (size, size, 1))
    z[..., first] += values[None, :] * spread[first]
    if second != first:
        z[..., second] += values[:, None] * spread[second]
    images = model.decode(z.reshape(-1, model.latent_dim), condition)
    of_prior = " in standard deviations of p(z|y) from its mean"
    unit = of_prior if model.prior.prior.learned else ""
    rest = (
        f"; the two of {model.latent_dim} dimensions that change the picture most, the others at "
        "the prior's mean"
        if model.latent_dim > 2
        else ""
    )
    return sheets.manifold(
        images.reshape(size, size, *model.x_shape),
        values,
        title=name or None,
        caption=f"Sweep of the latent{unit}, {'quantile' if grid == 'quantile' else 'linear'} "
        f"grid{rest}.",
        axis_labels=(f"$z_{{{first + 1}}}$", f"$z_{{{second + 1}}}$"),
    )


def _active(model, condition) -> tuple[int, int]:
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


def transition(model, data, steps: int = 8) -> tuple[np.ndarray, Figure]:
    """The morph through all conditions at the prior's mean: frames, and a strip of them."""
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
    frames = np.concatenate([way[:-1] for way in ways] + [ways[-1][-1:]])
    every = max(1, steps // 4)
    strip = frames[::every]
    labels = {i * (steps // every): name for i, name in enumerate(names) if name}
    return frames, sheets.transition(strip, labels=labels or None, caption=caption)


def reconstructions(model, data, n: int = 20) -> Figure:
    """Held-out examples above their reconstructions, spread over the classes."""
    held_out = data.validation
    if data.class_names is not None and held_out.y is not None:
        order = np.argsort(held_out.y, kind="stable")
        rows = order[np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)]
    else:
        rows = np.arange(min(n, len(held_out)))
    x = held_out.floats(rows)
    y = take(held_out.y, rows) if model.condition.width else None
    caption = "Held-out originals above their reconstructions, without noise."
    return sheets.reconstructions(x, model.reconstruct(x, y), caption=caption)
