"""The pictures of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_cvae.data.containers import Data, Split
from keras_cvae.evaluation import bound, likeness, prepare
from keras_cvae.evaluation.bound import Elbo
from keras_cvae.evaluation.evaluate import Evaluation
from keras_cvae.evaluation.likelihood import Classification, LogLikelihood
from keras_cvae.figures import charts, of_models, of_values, sheets
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.trees import take


def compare_pictures(
    models: Mapping[str, ConditionalVAE],
    conditions: Mapping[str, Any] | None = None,
    n: int = 10,
    seed: int = 0,
    drawing: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure:
    """A row of draws for each model: the same conditions, and where they fit the same latents.

    Args:
        models: Image models by the name of the run.
        conditions: Conditions `(n, ...)` by the name of the run, as from `held_out_conditions`;
            classes that are not given are shown in turn.
        n: Pictures of each.
        seed: Of the draws.
        drawing: Their temperature and guidance by the name of the run; where none, 1 and 1.
    """
    rows, heads = [], []
    for name, model in models.items():
        y = (conditions or {}).get(name)
        classes = model.condition.spec.classes
        if y is None and classes:
            y = [classes.names[k % classes.num_classes] for k in range(n)]
            heads.append(y)
        elif y is not None:
            canonical = model.condition.spec.prepare(y)
            heads.append([model.condition.spec.words(take(canonical, i)) for i in range(n)])
        rows.append(prepare.drawn(model, y, n, seed, **(drawing or {}).get(name, {})))
    alike = bool(heads) and all(one == heads[0] and any(one) for one in heads)
    return sheets.image_grid(
        np.stack(rows), row_labels=list(models), column_labels=heads[0] if alike else None
    )


def needs_conditions(model: ConditionalVAE) -> bool:
    """Whether `compare_pictures` must be told what to ask for: there is more than the classes."""
    return bool(model.condition.width) and not model.condition.spec.classes


def held_out_conditions(
    model: ConditionalVAE, data: Data, n: int = 10, binarize: prepare.Binarize = "none"
) -> Any:
    """Conditions `(n, ...)` of test examples, for a model that `needs_conditions`.

    Of named conditions, examples come first of which all is known.

    Args:
        model: A `ConditionalVAE`.
        data: What it was trained on.
        n: How many; from the start again where there are fewer examples.
        binarize: As in `evaluate`, for models that complete pictures.
    """
    test = prepare.tested(data)[0].take(slice(0, 500))
    y = prepare.examples(model, test, binarize)[1]
    order = np.arange(len(test))
    if isinstance(y, dict):
        canonical = model.condition.spec.prepare(y)
        missing = ["?" in model.condition.spec.words(take(canonical, i)) for i in order]
        order = np.argsort(missing, kind="stable")
    return take(y, np.resize(order, n))


def pictures(
    model: ConditionalVAE, data: Data, evaluation: Evaluation, seed: int = 0
) -> dict[str, Figure]:
    """The pictures of a report, by their titles.

    Args:
        model: A `ConditionalVAE`.
        data: As given to `evaluate`.
        evaluation: What it returned.
        seed: Of the draws.
    """
    binarize, names = evaluation.settings.binarize, data.class_names
    test = prepare.tested(data)[0].spread(evaluation.settings.examples).take(slice(0, 2000))
    x, condition = prepare.examples(model, test, binarize)
    shown: dict[str, Figure] = {}
    settings = evaluation.settings
    drawing: dict[str, Any] = {"temperature": settings.temperature, "guidance": settings.guidance}
    if prepare.is_image(model):
        if model.condition.knows_part:
            shown["Completions"] = of_models.completions(model, test, binarize, seed=seed)
        else:
            shown["Samples"] = of_models.samples(model, data, seed=seed, **drawing)
            if model.latent_dim:
                shown["Reconstructions"] = of_models.reconstructions(
                    model,
                    test,
                    n=12,
                    binarize=binarize,
                    classes=names is not None and test.y is not None,
                    caption="Test examples above their reconstructions, without noise.",
                )
            shown["Outliers"] = _outliers(model, x, condition, names, seed)
            shown["Nearest training examples"] = _nearest(
                model, data.train, condition, seed, drawing
            )
    elif not model.condition.knows_part and len(model.x_shape) == 2:
        shown["Samples"] = of_values.signals(model, data, seed=seed, **drawing)
    elif not model.condition.knows_part:
        shown["Values"] = of_values.marginals(model, data, seed)
        shown["Pairs of values"] = of_values.correlations(model, data, seed)
    likelihood, known = evaluation.conditional, evaluation.classification
    if likelihood and likelihood.per_class and len(likelihood.per_class) <= charts.NAMED:
        shown["−log p(x | y) by class"] = _by_class(likelihood)
    if model.latent_groups:
        shown["KL by dimension"] = _kl(evaluation.elbo, model.latent_groups)
    if model.latent_dim >= 2:
        labels = test.y if names else None
        shown["The latent"] = _latent(model, x, condition, labels, names, seed)
    if known:
        shown["Reliability of p(y | x)"] = _reliability(known)
    return shown


def _outliers(
    model: ConditionalVAE, x: np.ndarray, condition: Any, names: Sequence[str] | None, seed: int
) -> Figure:
    scored = slice(0, 1000)
    scores = model.score(x[scored], take(condition, scored), 50, seed)
    odd = np.argsort(scores)[:12]
    heads = [names[condition[i]] for i in odd] if names and condition is not None else None
    return sheets.image_grid(
        prepare.brightness(model, x[odd])[None],
        column_labels=heads,
        caption="The least likely test examples for their condition, by log p(x | y).",
    )


def _nearest(
    model: ConditionalVAE, train: Split, condition: Any, seed: int, drawing: Mapping[str, Any]
) -> Figure:
    some = take(condition, slice(12))
    fake = Split(prepare.drawn(model, some, 12, seed + 1, **drawing)).floats()
    _, index = likeness.nearest(fake, train, 3)
    near = np.stack([train.floats(index[:, j]) for j in range(3)])
    return sheets.image_grid(
        np.concatenate([fake[None], near]),
        row_labels=["sample", "nearest", "2nd", "3rd"],
        caption="Alike, not equal: copies would show here.",
    )


def _by_class(likelihood: LogLikelihood) -> Figure:
    per_class = likelihood.per_class or {}
    return charts.bars(
        [one.nats for one in per_class.values()],
        labels=list(per_class),
        errors=[one.standard_error or 0.0 for one in per_class.values()],
        line=likelihood.nats,
        ylabel="nats",
        zero=False,
        caption="Bars are one standard error; the dashed line is the mean of all classes.",
    )


def _kl(elbo: Elbo, groups: Sequence[int]) -> Figure:
    parts = np.split(np.array(elbo.kl_per_dimension), np.cumsum(groups)[:-1])
    return charts.bars(
        np.concatenate([-np.sort(-part) for part in parts]),
        groups=groups,
        ylabel="nats",
        xlabel="latent dimension, most informative first",
        caption="What each dimension says about x, in mean; near zero: it is not used."
        + (" Colours tell the groups apart." if len(groups) > 1 else ""),
    )


def _latent(
    model: ConditionalVAE,
    x: np.ndarray,
    condition: Any,
    labels: np.ndarray | None,
    names: Sequence[str] | None,
    seed: int,
) -> Figure:
    terms = bound.bound(model, x, condition, num_samples=1, seed=seed)
    codes, axes, words = of_models.plane(
        (terms.mean - terms.prior_mean) * np.exp(-0.5 * terms.prior_log_var)
    )
    return charts.latent_plane(
        codes,
        labels,
        names,
        axis_labels=axes,
        caption=f"Test examples{words}, measured from the prior's mean in its deviations.",
    )


def _reliability(known: Classification) -> Figure:
    curves = {"as it is": known.uncalibrated or known}
    if known.uncalibrated:
        curves = {"calibrated": known} | curves
    return charts.reliability(
        {name: curve.to_dict() for name, curve in curves.items()},
        caption="The larger a dot, the more examples.",
    )
