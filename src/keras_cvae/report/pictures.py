"""The pictures of a report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_cvae.data.containers import Data, Split
from keras_cvae.evaluation import bound, likeness, prepare
from keras_cvae.evaluation.evaluate import Evaluation
from keras_cvae.figures import charts, sheets
from keras_cvae.trees import take


def compare_pictures(
    models: Mapping[str, Any],
    conditions: Mapping[str, Any] | None = None,
    n: int = 10,
    seed: int = 0,
) -> Figure:
    """A row of draws for each model: the same conditions, and where they fit the same latents.

    Args:
        models: Image models by the name of the run.
        conditions: Conditions `(n, ...)` by the name of the run, as from `held_out_conditions`;
            classes that are not given are shown in turn.
        n: Pictures of each.
        seed: Of the draws.
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
        rows.append(prepare.drawn(model, y, n, seed))
    alike = bool(heads) and all(one == heads[0] and any(one) for one in heads)
    return sheets.image_grid(
        np.stack(rows), row_labels=list(models), column_labels=heads[0] if alike else None
    )


def needs_conditions(model) -> bool:
    """Whether `compare_pictures` must be told what to ask for: there is more than the classes."""
    return bool(model.condition.width) and not model.condition.spec.classes


def held_out_conditions(model, data: Data, n: int = 10, binarize: Any = "none") -> Any:
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


def pictures(model, data: Data, evaluation: Evaluation, seed: int = 0) -> dict[str, Figure]:
    """The pictures of a report, by their titles.

    Args:
        model: A `ConditionalVAE`.
        data: As given to `evaluate`.
        evaluation: What it returned.
        seed: Of the draws.
    """
    settings, shown = evaluation.settings, dict[str, Figure]()
    test = prepare.tested(data)[0].take(slice(0, settings.examples))
    x, y = prepare.examples(model, test.take(slice(0, 2000)), settings.binarize)
    names = data.class_names
    if prepare.is_image(model):
        if model.condition.knows_part:
            shown["Completions"] = completions(model, test, settings.binarize, seed=seed)
        else:
            shown |= _image_pictures(model, data, x, y, names, seed)
    likelihood = evaluation.conditional
    if likelihood and likelihood.per_class:
        shown["−log p(x | y) by class"] = charts.bars(
            [one.nats for one in likelihood.per_class.values()],
            labels=list(likelihood.per_class),
            errors=[one.standard_error or 0.0 for one in likelihood.per_class.values()],
            line=likelihood.nats,
            ylabel="nats",
            zero=False,
            caption="Bars are one standard error; the dashed line is the mean of all classes.",
        )
    if groups := model.latent_groups:
        shown["KL by dimension"] = charts.bars(
            _sorted_within(evaluation.elbo.kl_per_dimension, groups),
            groups=groups,
            ylabel="nats",
            xlabel="latent dimension, most informative first",
            caption="What each dimension says about x, in mean; near zero: it is not used."
            + (" Colours tell the groups apart." if len(groups) > 1 else ""),
        )
    terms = bound.bound(model, x, y, num_samples=1, seed=seed)
    if terms.z.shape[1] >= 2:
        top = np.argsort(-terms.kl.mean(axis=0))[:2]
        u = (terms.mean - terms.prior_mean) * np.exp(-0.5 * terms.prior_log_var)
        shown["The latent"] = charts.latent_plane(
            u[:, top],
            None if test.y is None or not names else test.y[: len(u)],
            names,
            axis_labels=(f"$z_{{{top[0]}}}$", f"$z_{{{top[1]}}}$"),
            caption="Test examples in the two most informative dimensions, measured from the "
            "prior's mean in its deviations.",
        )
    if known := evaluation.classification:
        curves = {"as it is": known.uncalibrated or known}
        if known.uncalibrated:
            curves = {"calibrated": known} | curves
        shown["Reliability of p(y | x)"] = charts.reliability(
            {name: curve.to_dict() for name, curve in curves.items()},
            caption="The larger a dot, the more examples.",
        )
    return shown


def completions(
    model, split: Split, binarize: Any = "none", examples: int = 8, n: int = 10, seed: int = 0
) -> Figure:
    """What is known, the truth, and `n` completions, one row an example."""
    rows = split.take(slice(0, examples))
    x, y = prepare.examples(model, rows, binarize)
    drawn = model.complete(y, n=n, seed=seed).reshape(len(x), n, *model.x_shape)
    known = np.where(np.isnan(y), 0.5, y)
    labels = ["known", "truth", *map(str, range(1, n + 1))]
    return sheets.image_grid(
        np.concatenate([known[:, None], x[:, None], drawn], axis=1),
        column_labels=labels,
        caption="Grey is unknown; completions show the mean of p(x|z,y), z drawn from p(z|y).",
    )


def _sorted_within(values, groups) -> np.ndarray:
    ends = np.cumsum(groups)
    return np.concatenate([-np.sort(-part) for part in np.split(np.asarray(values), ends[:-1])])


def _image_pictures(model, data, x, y, names, seed) -> dict[str, Figure]:
    shown = {}
    known = model.condition.spec.classes
    if known and y is not None:
        classes = known.names[:10]
        drawn = model.generate(classes, 12, seed=seed)
        grid = prepare.brightness(model, drawn)
        shown["Samples"] = sheets.image_grid(
            grid.reshape(len(classes), 12, *model.x_shape),
            row_labels=list(classes),
            caption="Drawn for each class; not chosen. The mean of p(x | z, y) is shown.",
        )
    else:
        some = take(y, slice(48))
        shown["Samples"] = sheets.image_grid(
            prepare.drawn(model, some, 48, seed), caption="Drawn, not chosen."
        )
    few = 12 if names is None else _one_of_each(data, y, names)
    rows = np.arange(len(x))[:12] if isinstance(few, int) else few
    given = take(y, rows)
    again = model.reconstruct(x[rows], given)
    shown["Reconstructions"] = sheets.reconstructions(
        prepare.brightness(model, x[rows]),
        prepare.brightness(model, again),
        caption="Test examples through the latent and back.",
    )
    scored = slice(0, 1000)
    scores = model.score(x[scored], take(y, scored), 50, seed)
    odd = np.argsort(scores)[:12]
    shown["Outliers"] = sheets.image_grid(
        prepare.brightness(model, x[odd])[None],
        column_labels=[names[y[i]] for i in odd] if names and y is not None else None,
        caption="The least likely test examples for their condition, by log p(x | y).",
    )
    wanted = take(y, slice(12))
    fake = Split(prepare.drawn(model, wanted, 12, seed + 1)).floats()
    _, index = likeness.nearest(fake, data.train, 3)
    near = np.stack([data.train.floats(index[:, j]) for j in range(3)])
    shown["Nearest training examples"] = sheets.image_grid(
        np.concatenate([fake[None], near]),
        row_labels=["sample", "nearest", "2nd", "3rd"],
        caption="Alike, not equal: copies would show here.",
    )
    return shown


def _one_of_each(data, y, names) -> Any:
    if (
        y is None
        or isinstance(y, dict)
        or np.asarray(y).ndim != 1
        or np.asarray(y).dtype.kind != "i"
    ):
        return 12
    first = [np.flatnonzero(y == k)[:1] for k in range(min(len(names), 12))]
    return np.concatenate(first)
