"""The figures and pictures as a page."""

import base64
import html
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from keras_cvae.files import atomic
from keras_cvae.report.rows import ROWS, few_samples, written

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
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
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
