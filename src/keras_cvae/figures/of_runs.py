"""The pictures of a run, as files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_cvae.data.containers import Data
from keras_cvae.errors import listed, nearest
from keras_cvae.figures import charts, of_models, of_values, writing
from keras_cvae.figures.kinds import KINDS
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.runs.run import Run, RunError
from keras_cvae.trees import take

OF_VECTORS = ("marginals", "correlations")


class NotAPictureError(ValueError):
    """The data are not images, so there is nothing to look at."""


def draw(
    run: Run,
    kind: str,
    *,
    out: str | Path | None = None,
    condition: Any = None,
    grid: str = "linear",
    temperature: float | None = None,
    guidance: float | None = None,
    seed: int = 0,
    suffix: str = ".png",
    model: ConditionalVAE | None = None,
    data: Data | None = None,
    progress: Callable = lambda items, **_: items,
    notice: Callable[[str], object] = lambda text: None,
) -> list[Path]:
    """Draw one kind of picture, or "all", of a complete run.

    Args:
        run: The run.
        kind: One of `KINDS`, or "all".
        out: A folder; by default `pictures` in the run.
        condition: For the manifold, the only condition to show.
        grid: Of the manifold, in deviations of the prior: "linear" from -1.5 to 1.5, or "quantile".
        temperature: Of the samples; None: what the run recommends (`RunConfig.drawing`).
        guidance: Of the samples, as in `ConditionalVAE.generate`; None: what the run recommends.
        seed: Of the samples.
        suffix: ".png", ".pdf" or ".svg".
        model: The run's model, if it is already loaded.
        data: The run's data, if they are already loaded; needed if it was trained on arrays.
        progress: Wraps the loop over pictures.
        notice: Called with a sentence about what "all" leaves out, if the data are gone.

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
    model = model or run.model()
    folder = Path(out) if out is not None else run.folder / "pictures"
    drawable = tuple(k for k in _drawable(model) if k != "history" or run.history())
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

    needing = [one for one in kinds if _needs_data(one, model, only is not None)]
    if data is None and needing:
        try:
            data = run.data()
        except RunError as gone:
            kinds = tuple(one for one in kinds if one not in needing)
            if not kinds:
                raise
            notice(f"Left out: {listed(needing)}. {gone}")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    asked = {"temperature": temperature, "guidance": guidance}
    drawn = run.config.drawing | {name: one for name, one in asked.items() if one is not None}
    for one in progress(kinds, total=len(kinds), description="Drawing"):
        for name, figure in _figures(one, model, data, run, only, grid, seed, drawn):
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
    kinds: tuple[str, ...] = ("samples", "latent", "history")
    if len(model.x_shape) == 1:
        kinds = ("marginals", "correlations", "latent", "history")
    if image:
        kinds = tuple(kind for kind in KINDS if kind not in ("completions", *OF_VECTORS))
    if not model.latent_dim:
        kinds = tuple(kind for kind in kinds if kind in ("samples", "history", *OF_VECTORS))
    return kinds


def _needs_data(kind: str, model: ConditionalVAE, told: bool) -> bool:
    """Whether a picture shows data, or conditions that only data tell."""
    of_signals = kind == "samples" and len(model.x_shape) == 2
    if kind in ("latent", "reconstructions", "completions", *OF_VECTORS) or of_signals:
        return True
    told = told and kind == "manifold"
    free = bool(model.condition.spec.classes) or not model.condition.width
    return kind != "history" and not free and not told


def _figures(
    kind: str,
    model: ConditionalVAE,
    data: Any,
    run: Run,
    only: tuple[Any, str] | None,
    grid: str,
    seed: int,
    drawn: dict[str, Any],
) -> Iterator[tuple[str, Figure | np.ndarray]]:
    """Yield names and figures of one kind; frames of an animation are an array."""
    match kind:
        case "samples" if len(model.x_shape) == 2:
            yield kind, of_values.signals(model, data, seed=seed, **drawn)
        case "marginals":
            yield kind, of_values.marginals(model, data, seed)
        case "correlations":
            yield kind, of_values.correlations(model, data, seed)
        case "samples":
            yield kind, of_models.samples(model, data, seed=seed, **drawn)
        case "defaults":
            yield kind, of_models.defaults(model, data)
        case "latent":
            yield kind, of_models.latent(model, data)
        case "manifold":
            ending = "" if grid == "linear" else f"-{grid}"
            for condition, name in [only] if only else of_models.shown_conditions(model, data):
                safe = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
                yield (
                    f"{kind}{f'-{safe}' if name else ''}{ending}",
                    of_models.manifold(model, condition, name, grid),
                )
        case "transition":
            frames, figure = of_models.transition(model, data)
            yield kind, figure
            yield kind, frames
        case "reconstructions":
            classes = data.class_names is not None and data.shown.y is not None
            held = len(data.validation) or data.test
            which = "Held-out originals" if held else "Training examples"
            caption = f"{which} above their reconstructions, without noise."
            yield (
                kind,
                of_models.reconstructions(model, data.shown, classes=classes, caption=caption),
            )
        case "completions":
            binarize = run.config.binarize
            yield kind, of_models.completions(model, data.shown, binarize, seed=seed)
        case "history":
            yield kind, _history(run)


def _history(run: Run) -> Figure:
    history, best = run.history(), run.metrics().get("best_epoch")
    caption = "Lower is better: the loss is minus the ELBO, reconstruction plus KL."
    if best is not None:
        caption += f" Dotted: epoch {best}, whose weights were kept."
    if min(history.get("val_loss") or history["loss"]) < 0:
        caption += " Below 0 where x has a density, which may be above 1."
    return charts.history(history, kept=best, caption=caption)
