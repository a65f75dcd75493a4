"""An evaluation and its pictures as a web page in one file."""

import base64
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from keras_cvae.evaluation.evaluate import Evaluation
from keras_cvae.evaluation.verdict import Remedy, findings, verdict
from keras_cvae.files import atomic
from keras_cvae.report.rows import ROWS

FIRST = ("Samples", "Reconstructions", "Nearest training examples", "Outliers", "The latent")

CARDS = (  # section and name of the metrics that are shown large
    ("conditional", "nats"),
    ("marginal", "nats"),
    ("bits_per_dimension", "bits"),
    ("grey_level_cross_entropy", "loss"),
    ("samples", "on_label_accuracy"),
    ("samples", "tstr"),
    ("samples", "frechet_distance"),
    ("classification", "accuracy"),
)


def report_html(
    evaluation: Evaluation,
    pictures: Mapping[str, Figure],
    path: str | os.PathLike[str],
    improving: bool | None = None,
    has: Collection[Remedy] = (),
    typed: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write a page that needs nothing but itself: no scripts, fonts or pictures from elsewhere.

    Args:
        evaluation: From `evaluate`.
        pictures: By title, from `pictures` or one's own.
        path: Ends in .html; an existing file is replaced.
        improving: As in `verdict.findings`.
        has: As there.
        typed: Commands that do what is advised, each after what it is for.

    Raises:
        ValueError: Another suffix.
    """
    notes = [*_notes(evaluation, improving, has)]
    return write_page(_content(evaluation, pictures, notes) | {"typed": typed}, path)


def write_page(content: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Fill the template of a page.

    Args:
        content: What the template asks for: title, lead, cards, notes, pictures, table, typed,
            foot.
        path: Ends in .html; an existing file is replaced.

    Raises:
        ValueError: Another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path must end in .html. Received: {str(path)!r}")
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_cvae.report"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = templates.get_template("report.html.j2").render(content)
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _content(
    evaluation: Evaluation, pictures: Mapping[str, Figure], notes: list["Note"]
) -> dict[str, Any]:
    settings, seconds = evaluation.settings, sum(evaluation.seconds.values())
    binarised = ", binarised by one fixed draw" if settings.binarize == "dynamic" else ""
    few = f" of {settings.scored:,} of them" if settings.scored else ""
    order = [name for name in FIRST if name in pictures]
    order += [name for name in pictures if name not in order]
    shown = [row for row in ROWS if row.written(evaluation)]
    return {
        "title": f"A conditional VAE on {settings.data}",
        "lead": f"{settings.examples:,} {settings.split} examples{binarised}; likelihoods from "
        f"{settings.samples:,} importance samples each{few}, seed {settings.seed}. A figure after "
        "± is one standard error.",
        "cards": [*_cards(evaluation)],
        "notes": notes,
        "pictures": [embedded(name, pictures[name]) for name in order],
        "table": [(group, [*rows]) for group, rows in groupby(shown, lambda row: row.group)],
        "evaluation": evaluation,
        "foot": f"Evaluated in {seconds:.0f} s by keras-cvae.",
    }


def _cards(evaluation: Evaluation) -> Iterator[dict[str, str]]:
    rows = {(row.section, row.name): row for row in ROWS}
    for row in (rows[one] for one in CARDS):
        if text := row.written(evaluation):
            number, _, rest = text.partition(" ")
            percent = row.shown.unit == "%"
            yield {
                "label": row.label,
                "number": f"{number} %" if percent else number,
                "below": rest.removesuffix("%").strip() if percent else rest,
            }


class Note(NamedTuple):
    """What a reader of the page should know before the numbers."""

    head: str
    text: str
    bad: bool = False
    advice: str = ""


def _notes(
    evaluation: Evaluation, improving: bool | None, has: Collection[Remedy]
) -> Iterator[Note]:
    likelihood, found = evaluation.conditional, findings(evaluation, improving, has)
    if not found:
        yield Note("Verdict.", verdict(evaluation, improving, has))
    for finding in found:
        yield Note("Verdict.", finding.text, finding.severity > 1, finding.advice)
    if likelihood and likelihood.warning:
        yield Note("Few effective samples.", likelihood.warning, bad=True)
    if evaluation.left_out:
        yield Note("Left out.", " ".join(evaluation.left_out))
    if copies := evaluation.memorising:
        share = f"{100 * copies.share:.1f} % of the samples are"
        if not copies.memorised:
            near = "as near to one training example as 1 % of unseen real data."
            yield Note("No memorising.", f"{share} {near}")


def embedded(name: str, figure: Figure) -> dict[str, Any]:
    """A figure as the template takes it."""
    return {"name": name, "width": round(figure.get_figwidth() * 110), "data": _png(figure)}


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()
