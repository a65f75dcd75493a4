"""Figures as a person reads them: a self-contained page, pictures, runs side by side."""

import base64
import html
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from keras_cvae import evaluation, plots
from keras_cvae.conditions import Unconditional, classes_of, take
from keras_cvae.data import Data, Split


class Row(NamedTuple):
    """One figure of a table.

    Args:
        group: What it belongs to.
        label: Its name.
        path: Where it stands in the metrics.
        unit: "nats", "%", "bits", "s", or "" for a number.
        better: 1: higher is better; -1: lower; 0: neither.
        error: Where its standard error stands, or None.
        note: What it means, in a sentence.
        of: Where it stands out of how many it is, or None.
    """

    group: str
    label: str
    path: str
    unit: str
    better: int
    error: str | None = None
    note: str = ""
    of: str | None = None


def _diversity(of: str, where: str = "") -> tuple[Row, ...]:
    """Rows for the figures of `evaluation.diversity`, in whatever samples were compared in."""
    figures = (
        ("precision", "%", 1, "Samples that look real."),
        ("recall", "%", 1, "Real data that samples reach."),
        ("density", "", 0, "1 is like real data."),
        ("coverage", "%", 1, "Real data with a sample near."),
    )
    return tuple(
        Row("Samples", f"{name}{where}", f"{of}.{name}", unit, better, note=note)
        for name, unit, better, note in figures
    )


ROWS = (
    Row(
        "Likelihood", "−log p(x | y)", "conditional.nats", "nats", -1,
        "conditional.standard_error", "How surprising a test example is, given its condition.",
    ),
    Row(
        "Likelihood", "the same, z drawn from p(z | y)", "from_prior.nats", "nats", -1,
        "from_prior.standard_error", "What completions are drawn from; an upper bound.",
    ),
    Row(
        "Likelihood", "−log p(x)", "marginal.nats", "nats", -1, "marginal.standard_error",
        "Without the class: comparable with unconditional models.",
    ),
    Row(
        "Likelihood", "effective samples, median", "conditional.median_effective_sample_size", "",
        0, None, "How many of the draws of z a test example's estimate rests on.",
        of="conditional.num_samples",
    ),
    Row(
        "Likelihood", "bits per dimension", "bits_per_dimension.bits", "bits", -1,
        "bits_per_dimension.standard_error", "The same, for each value of x.",
    ),
    Row(
        "Likelihood", "grey-level cross-entropy", "grey_level_cross_entropy.loss", "nats", -1,
        "elbo.standard_error",
        "Reconstruction + KL on grey levels. Not a likelihood: compare only with the same.",
    ),
    Row(
        "Likelihood", "−ELBO", "elbo.negative", "nats", -1, "elbo.standard_error",
        "The bound that training minimises.",
    ),
    Row("Likelihood", "reconstruction", "elbo.reconstruction", "nats", 0),
    Row("Likelihood", "KL", "elbo.kl", "nats", 0, None, "What the latent says about x."),
    Row("Latent", "active dimensions", "latent.active_units", "", 0),
    Row(
        "Latent", "I(x; z | y), at least", "latent.mutual_information", "nats", 0, None,
        "An estimate that cannot pass the logarithm of the number of examples.",
    ),
    Row(
        "Latent", "aggregate posterior to prior", "latent.aggregate_gap", "nats", -1, None,
        "0 when drawing from the prior is drawing from what the decoder knows.",
    ),
    Row(
        "Samples", "on-label accuracy", "samples.on_label_accuracy", "%", 1, None,
        "How often the judge sees the class that was asked for.",
    ),
    Row(
        "Samples", "train on samples, test on real", "samples.tstr", "%", 1, None,
        "A classifier that saw only samples.",
    ),
    Row(
        "Samples", "train on real, test on real", "samples.judge_accuracy", "%", 0, None,
        "The same classifier on real data: what the line above can reach.",
    ),
    Row(
        "Samples", "Fréchet distance (judge features)", "samples.frechet_distance", "", -1, None,
        "Between samples and test data; not the FID.",
    ),
    Row(
        "Samples", "the same, of training data", "samples.frechet_distance_real", "", 0, None,
        "What perfect samples would get.",
    ),
    *_diversity("samples"),
    Row(
        "Samples", "Fréchet distance, in components of x", "components.frechet_distance", "", -1,
        None, "Between samples and test data.",
    ),
    Row(
        "Samples", "the same, of training data, in components of x",
        "components.frechet_distance_real", "", 0,
    ),
    *_diversity("components", ", in components of x"),
    Row(
        "Samples", "possible copies of training data", "memorising.share", "%", -1, None,
        "1 % is expected of samples that copy nothing.",
    ),
    Row(
        "Classification", "accuracy of p(y | x)", "classification.accuracy", "%", 1, None,
        "Bayes' rule on the likelihoods of the classes.",
    ),
    Row(
        "Classification", "calibration error", "classification.calibration_error", "%", -1, None,
        "How far the confidence is from the share that is right.",
    ),
    Row(
        "Calibration", "truths within the central 50 %", "calibration.coverage_50", "%", 0, None,
        "Of draws from p(x | y), in mean over the values of x.",
    ),
    Row(
        "Calibration", "truths within the central 90 %", "calibration.coverage_90", "%", 0, None,
        "Fewer: the draws are too sure; more: not sure enough.",
    ),
    Row(
        "Calibration", "least p-value of uniform ranks", "calibration.least_p_value", "", 0, None,
        "Below 0.05, some value of x is drawn from the wrong distribution.",
    ),
)  # fmt: skip


def value(metrics: Mapping[str, Any], path: str) -> Any:
    """The figure at a dotted path, or None."""
    if path == "elbo.negative":
        elbo = value(metrics, "elbo.elbo")
        return None if elbo is None else -elbo
    found: Any = metrics
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def written(metrics: Mapping[str, Any], row: Row) -> str:
    """A figure with its error and unit, "" if it is absent."""
    number = value(metrics, row.path)
    if number is None:
        return ""
    if row.unit == "%":
        return f"{100 * number:.1f} %" if number < 0.9995 else "100 %"
    if isinstance(number, int):
        return f"{number}"
    if row.of:
        few = " (few)" if number < evaluation.FEW else ""
        return f"{number:.0f} of {value(metrics, row.of)}{few}"
    error = value(metrics, row.error) if row.error else None
    digits = 3 if row.unit == "bits" else 2
    if error is not None and math.isfinite(error):
        return f"{number:.{digits}f} ± {error:.{digits}f} {row.unit}".rstrip()
    return f"{number:.{digits}f} {row.unit}".rstrip()


def few_samples(metrics: Mapping[str, Any]) -> str:
    """What it means where importance samples are too few for their errors; else "".

    The logarithm of a mean of weights lies below the truth by half its relative variance, which is
    about one over the effective sample size.
    """
    effective = value(metrics, "conditional.median_effective_sample_size")
    if effective is None or effective >= evaluation.FEW:
        return ""
    return (
        f"Half of the estimates rest on fewer than {effective:.1f} effective samples of "
        f"{value(metrics, 'conditional.num_samples')}: −log p is too high, by about "
        f"{0.5 / effective:.2f} nats or more, and its errors are too small. Take more samples; if "
        "that changes little, q(z | x, y) misses part of the true posterior."
    )


def compare(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Several metrics side by side.

    Args:
        runs: Metrics by the name of the run.

    Returns:
        For each figure that any run has: `group`, `label`, `values` (written, one a run), `best`
        (index of the best run, or None where it has no sense, or where the error bars of the best
        two meet).
    """
    table = []
    for row in ROWS:
        cells = [written(metrics, row) for metrics in runs.values()]
        if not any(cells):
            continue
        numbers = [value(metrics, row.path) for metrics in runs.values()]
        errors = [(value(m, row.error) or 0.0) if row.error else 0.0 for m in runs.values()]
        known = [i for i, number in enumerate(numbers) if number is not None]
        best = None
        if row.better and len(known) > 1:
            first, second, *_ = sorted(known, key=lambda i: -row.better * numbers[i])
            apart = abs(numbers[first] - numbers[second])
            if apart > math.hypot(errors[first], errors[second]):
                best = first
        table.append({"group": row.group, "label": row.label, "values": cells, "best": best})
    return table


def compare_pictures(
    models: Mapping[str, Any],
    conditions: Mapping[str, Any] | None = None,
    n: int = 10,
    seed: int = 0,
) -> Figure:
    """A row of draws for each model: the same conditions, and where they fit the same latents.

    Args:
        models: Image models by the name of the run.
        conditions: Canonical conditions `(n, ...)` by the name of the run, as from
            `held_out_conditions`; classes that are not given are shown in turn.
        n: Pictures of each.
        seed: Of the draws.
    """
    rows, heads = [], []
    for name, model in models.items():
        y = (conditions or {}).get(name)
        classes = classes_of(model.condition)
        if y is None and classes:
            each = np.arange(n, dtype="int32") % classes.num_classes
            heads.append([classes.names[k] for k in each])
            y = classes.as_weights(each)
        elif y is not None:
            heads.append([model.condition.words(take(y, i)) for i in range(n)])
        rows.append(evaluation.drawn(model, y, n, seed))
    alike = bool(heads) and all(one == heads[0] and any(one) for one in heads)
    return plots.image_grid(
        np.stack(rows), row_labels=list(models), column_labels=heads[0] if alike else None
    )


def needs_conditions(model) -> bool:
    """Whether `compare_pictures` must be told what to ask for: there is more than the classes."""
    return bool(model.condition.width) and not classes_of(model.condition)


def held_out_conditions(model, data: Data, n: int = 10, binarize: Any = "none") -> Any:
    """Canonical conditions `(n, ...)` of test examples, for a model that `needs_conditions`.

    Of named conditions, examples come first of which all is known.

    Args:
        model: A `ConditionalVAE`.
        data: What it was trained on.
        n: How many; from the start again where there are fewer examples.
        binarize: As in `evaluate`, for models that complete pictures.
    """
    test = data.validation if data.test is None else data.test
    test = test.take(slice(0, 500))
    if model.condition.knows_part:
        y = evaluation.known_part(model, test, binarize)[1]
    else:
        y = model.condition.prepare(test.y)
    order = np.arange(len(test))
    if isinstance(y, dict):
        missing = ["?" in model.condition.words(take(y, i)) for i in order]
        order = np.argsort(missing, kind="stable")
    return take(y, np.resize(order, n))


def pictures(model, data: Data, metrics: Mapping[str, Any], seed: int = 0) -> dict[str, Figure]:
    """The pictures of a report, by their titles.

    Args:
        model: A `ConditionalVAE`.
        data: As given to `evaluate`.
        metrics: What it returned.
        seed: Of the draws.
    """
    shown: dict[str, Figure] = {}
    test = data.validation if data.test is None else data.test
    test = test.take(slice(0, metrics["settings"]["examples"]))
    y = None if isinstance(model.condition, Unconditional) else test.y
    binarize = metrics["settings"]["binarize"]
    x = evaluation.prepared(model, test.take(slice(0, 2000)), binarize)
    y = take(y, slice(2000))
    names = data.class_names
    if model.condition.knows_part:
        x, y = evaluation.known_part(model, test.take(slice(0, 2000)), binarize)
        if len(model.x_shape) == 3:
            shown["Completions"] = completions(model, test, binarize, seed=seed)
    elif len(model.x_shape) == 3:
        shown |= _image_pictures(model, data, x, y, names, seed)
    per_class = value(metrics, "conditional.per_class")
    if per_class:
        shown["−log p(x | y) by class"] = plots.bars(
            [one["nats"] for one in per_class.values()],
            labels=list(per_class),
            errors=[one["standard_error"] or 0.0 for one in per_class.values()],
            line=metrics["conditional"]["nats"],
            ylabel="nats",
            zero=False,
            caption="Bars are one standard error; the dashed line is the mean of all classes.",
        )
    groups = model.latent_groups
    shown["KL by dimension"] = plots.bars(
        _sorted_within(metrics["elbo"]["kl_per_dimension"], groups),
        groups=groups,
        ylabel="nats",
        xlabel="latent dimension, most informative first",
        caption="What each dimension says about x, in mean; near zero: it is not used."
        + (" Colours tell the groups apart." if len(groups) > 1 else ""),
    )
    terms = evaluation.bound(model, x, y, num_samples=1, seed=seed)
    if terms.z.shape[1] >= 2:
        top = np.argsort(-terms.kl.mean(axis=0))[:2]
        u = (terms.mean - terms.prior_mean) * np.exp(-0.5 * terms.prior_log_var)
        shown["The latent"] = plots.latent_plane(
            u[:, top],
            None if test.y is None or not names else test.y[: len(u)],
            names,
            axis_labels=(f"$z_{{{top[0]}}}$", f"$z_{{{top[1]}}}$"),
            caption="Test examples in the two most informative dimensions, measured from the "
            "prior's mean in its deviations.",
        )
    classification = metrics.get("classification")
    if classification:
        curves = {"calibrated": classification}
        if "uncalibrated" in classification:
            curves["as it is"] = classification["uncalibrated"]
        else:
            curves = {"as it is": classification}
        shown["Reliability of p(y | x)"] = plots.reliability(
            curves, caption="The larger a dot, the more examples."
        )
    return shown


def completions(
    model, split: Split, binarize: Any = "none", examples: int = 8, n: int = 10, seed: int = 0
) -> Figure:
    """What is known, the truth, and `n` completions, one row an example."""
    rows = split.take(slice(0, examples))
    x, y = evaluation.known_part(model, rows, binarize)
    drawn = model.complete(y, n=n, seed=seed).reshape(len(x), n, *model.x_shape)
    known = np.where(np.isnan(y), 0.5, y)
    labels = ["known", "truth", *map(str, range(1, n + 1))]
    return plots.image_grid(
        np.concatenate([known[:, None], x[:, None], drawn], axis=1),
        column_labels=labels,
        caption="Grey is unknown; completions show the mean of p(x|z,y), z drawn from p(z|y).",
    )


def _sorted_within(values, groups) -> np.ndarray:
    ends = np.cumsum(groups)
    return np.concatenate([-np.sort(-part) for part in np.split(np.asarray(values), ends[:-1])])


def _image_pictures(model, data, x, y, names, seed) -> dict[str, Figure]:
    shown = {}
    known = classes_of(model.condition)
    if known and y is not None:
        classes = np.arange(min(known.num_classes, 10), dtype="int32")
        drawn = model.generate(known.as_weights(classes), 12, seed=seed)
        grid = evaluation.brightness(model, drawn)
        shown["Samples"] = plots.image_grid(
            grid.reshape(len(classes), 12, *model.x_shape),
            row_labels=[known.names[c] for c in classes],
            caption="Drawn for each class; not chosen. The mean of p(x | z, y) is shown.",
        )
    else:
        some = take(y, slice(48))
        shown["Samples"] = plots.image_grid(
            evaluation.drawn(model, some, 48, seed), caption="Drawn, not chosen."
        )
    few = 12 if names is None else _one_of_each(data, y, names)
    rows = np.arange(len(x))[:12] if isinstance(few, int) else few
    given = take(y, rows)
    again = model.reconstruct(x[rows], given)
    shown["Reconstructions"] = plots.reconstructions(
        evaluation.brightness(model, x[rows]),
        evaluation.brightness(model, again),
        caption="Test examples through the latent and back.",
    )
    scored = slice(0, 1000)
    scores = model.score(x[scored], take(y, scored), 50, seed)
    odd = np.argsort(scores)[:12]
    shown["Outliers"] = plots.image_grid(
        evaluation.brightness(model, x[odd])[None],
        column_labels=[names[y[i]] for i in odd] if names and y is not None else None,
        caption="The least likely test examples for their condition, by log p(x | y).",
    )
    wanted = take(y, slice(12))
    fake = Split(evaluation.drawn(model, wanted, 12, seed + 1)).floats()
    _, index = evaluation.nearest(fake, data.train, 3)
    near = np.stack([data.train.floats(index[:, j]) for j in range(3)])
    shown["Nearest training examples"] = plots.image_grid(
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


_STYLE = """
:root{--ink:#222;--quiet:#667;--rule:#e3e3e6;--accent:#2f6fae}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);
 font:17px/1.55 Charter,"Bitstream Charter",Cambria,Georgia,"DejaVu Serif",serif}
main{max-width:50rem;margin:0 auto;padding:3.2rem 1.4rem 5rem}
h1{font-size:2.1rem;line-height:1.15;margin:0 0 .3rem;letter-spacing:-.01em}
h2{font-size:1.3rem;margin:3rem 0 .4rem}
p{margin:.4rem 0 1rem}.quiet{color:var(--quiet)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:1.2rem 1.6rem;
 margin:2rem 0 1.6rem;padding:1.4rem 0;border:solid var(--rule);border-width:1px 0}
.card b{display:block;font-size:1.75rem;line-height:1.2;font-weight:600;
 font-variant-numeric:tabular-nums}
.card i{font-style:normal;font-size:.86rem;color:var(--quiet);display:block}
.note{border-left:3px solid var(--accent);padding:.1rem 0 .1rem 1rem;margin:1.4rem 0}
.note.bad{border-color:#bd1f01}.note p{margin:.3rem 0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
td,th{padding:.34rem .2rem;border-bottom:1px solid var(--rule);vertical-align:baseline;
 text-align:left}
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;padding-right:1.6rem}
td.w{color:var(--quiet);font-size:.86rem}
th{font-weight:600;padding-top:1.3rem;border-bottom:1px solid var(--ink)}
.flow{display:flex;flex-wrap:wrap;gap:0 2.6rem}section{max-width:100%}
figure{margin:.8rem 0 0}img{max-width:100%;height:auto;display:block}
footer{margin-top:4rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--quiet);
 font-size:.86rem}
@media(max-width:40rem){td.w{display:none}td.n{padding-right:0}}
"""

_ORDER = ("Samples", "Reconstructions", "Nearest training examples", "Outliers", "The latent")


def report_html(
    metrics: Mapping[str, Any], pictures: Mapping[str, Figure], path: str | os.PathLike[str]
) -> Path:
    """Write a page that needs nothing but itself: no scripts, fonts or pictures from elsewhere.

    Args:
        metrics: From `evaluate`.
        pictures: By title, from `pictures` or one's own.
        path: Ends in .html. Written under a temporary name first.

    Raises:
        ValueError: Another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path must end in .html. Received: {str(path)!r}")
    page = _page(metrics, pictures)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.html")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _page(metrics: Mapping[str, Any], pictures: Mapping[str, Figure]) -> str:
    settings = metrics["settings"]
    title = f"A conditional VAE on {settings['data']}"
    binarised = ", binarised by one fixed draw" if settings["binarize"] == "dynamic" else ""
    lead = (
        f"{settings['examples']:,} {settings['split']} examples{binarised}; likelihoods from "
        f"{settings['samples']:,} importance samples each, seed {settings['seed']}. A figure after "
        "± is one standard error."
    )
    order = [name for name in _ORDER if name in pictures]
    order += [name for name in pictures if name not in order]
    figures = "".join(
        f"<section><h2>{html.escape(name)}</h2>{_img(pictures[name], name)}</section>"
        for name in order
    )
    seconds = sum(metrics.get("seconds", {}).values())
    foot = f"Evaluated in {seconds:.0f} s by keras-cvae." if seconds else "Written by keras-cvae."
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{html.escape(title)}</h1><p class=quiet>{html.escape(lead)}</p>"
        f"{_cards(metrics)}{_notes(metrics)}<div class=flow>{figures}</div>"
        f"<h2>All figures</h2>{_table(metrics)}<footer>{foot}</footer></main></body></html>\n"
    )


def _cards(metrics) -> str:
    wanted = (
        "conditional.nats", "marginal.nats", "bits_per_dimension.bits",
        "grey_level_cross_entropy.loss", "samples.on_label_accuracy", "samples.tstr",
        "samples.frechet_distance", "classification.accuracy",
    )  # fmt: skip
    cards = []
    for row in (row for path in wanted for row in ROWS if row.path == path):
        text = written(metrics, row)
        if text:
            number, _, rest = text.partition(" ")
            unit = " %" if row.unit == "%" else ""
            below = "" if unit else rest
            cards.append(
                f"<div class=card><i>{html.escape(row.label)}</i><b>{number}{unit}</b>"
                f"<i>{html.escape(below)}</i></div>"
            )
    return f"<div class=cards>{''.join(cards)}</div>"


def _notes(metrics) -> str:
    latent, notes = metrics["latent"], []
    healthy = latent["verdict"].startswith("Healthy")
    advice = "" if healthy else f"<p>{html.escape(latent['advice'])}</p>"
    bad = "" if healthy else " bad" if latent["verdict"].startswith("Collapsed") else ""
    notes.append((bad, f"<p><b>The latent.</b> {html.escape(latent['verdict'])}</p>{advice}"))
    few = few_samples(metrics)
    if few:
        notes.append((" bad", f"<p><b>Few effective samples.</b> {html.escape(few)}</p>"))
    if left_out := metrics.get("left_out"):
        said = html.escape(" ".join(left_out))
        notes.append(("", f"<p><b>Left out.</b> {said}</p>"))
    copies = metrics.get("memorising")
    if copies:
        share = f"{100 * copies['share']:.1f} %"
        notes.append(
            (
                " bad",
                f"<p><b>Memorising.</b> {share} of the samples are copies of training data.</p>",
            )
            if copies["memorised"]
            else (
                "",
                f"<p><b>No memorising.</b> {share} of the samples are as near to one training "
                "example as 1 % of unseen real data.</p>",
            )
        )
    return "".join(f'<div class="note{bad}">{text}</div>' for bad, text in notes)


def _table(metrics) -> str:
    lines, group = [], ""
    for row in ROWS:
        text = written(metrics, row)
        if not text:
            continue
        if row.group != group:
            group = row.group
            lines.append(f"<tr><th colspan=3>{group}</th></tr>")
        lines.append(
            f"<tr><td>{html.escape(row.label)}</td><td class=n>{html.escape(text)}</td>"
            f"<td class=w>{html.escape(row.note)}</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"


def _img(figure: Figure, name: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    width = round(figure.get_figwidth() * 110)
    return (
        f'<figure><img width={width} alt="{html.escape(name, quote=True)}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )
