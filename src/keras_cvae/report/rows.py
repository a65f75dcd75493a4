"""An evaluation as rows of a table, and the comparison of runs."""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_cvae.evaluation.chance import share_error
from keras_cvae.evaluation.evaluate import Evaluation
from keras_cvae.evaluation.metrics import Metric, Section


@dataclass(frozen=True)
class Row:
    """One metric of an evaluation.

    Args:
        group: The heading that it stands below.
        label: Its name.
        note: What it means, in a sentence.
        section: The field of `Evaluation` that it belongs to.
        name: Its own field in there.
        shown: How it is shown.
    """

    group: str
    label: str
    note: str
    section: str
    name: str
    shown: Metric

    def value(self, evaluation: Evaluation) -> float | None:
        """The number as it is shown, or None if it does not apply."""
        number = self._field(evaluation, self.name)
        return -number if number is not None and self.shown.negated else number

    def error(self, evaluation: Evaluation) -> float:
        """Its standard error; 0 if there is none."""
        return self._field(evaluation, self.shown.error) or 0.0

    def spread(self, evaluation: Evaluation) -> float:
        """How far it may be from another for chance alone: its error; of a share without one, that
        of a share among the test examples."""
        number, error = self.value(evaluation), self.error(evaluation)
        if error or number is None or self.shown.unit != "%":
            return error
        return share_error(min(max(number, 0.0), 1.0), evaluation.settings.examples) or 0.0

    def written(self, evaluation: Evaluation) -> str:
        """The number with its error and unit; "" if it does not apply."""
        number, shown = self.value(evaluation), self.shown
        if number is None:
            return ""
        if shown.unit == "%":
            if number >= 0.9995:
                return "100 %"
            around = f"{100 * self.error(evaluation):.1f}"
            return f"{100 * number:.1f}" + f" ± {around}" * (around != "0.0") + " %"
        if isinstance(number, int):
            return f"{number}"
        text, error = f"{number:.{shown.digits}f}", self.error(evaluation)
        if shown.of:
            text += f" of {self._field(evaluation, shown.of)}"
        if error:
            text += f" ± {error:.{shown.digits}f}"
        few = " (few)" if shown.few and number < shown.few else ""
        return f"{text} {shown.unit}".rstrip() + few

    def _field(self, evaluation: Evaluation, name: str) -> Any:
        section = getattr(evaluation, self.section)
        return getattr(section, name) if section is not None and name else None


def _annotated(cls: type, kind: type) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and annotation of the fields of a dataclass that have one of this kind."""
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for about in getattr(hint, "__metadata__", ()):
            if isinstance(about, kind):
                yield name, typing.get_args(hint)[0], about


def _rows() -> Iterator[Row]:
    for section, hint, about in _annotated(Evaluation, Section):
        metrics = next(part for part in typing.get_args(hint) or (hint,) if part is not type(None))
        for name, _, shown in _annotated(metrics, Metric):
            label, note = about.labels.get(
                name, ("", "") if about.labels else (shown.label, shown.note)
            )
            if label:
                yield Row(about.group, label + about.suffix, note, section, name, shown)


ROWS = tuple(_rows())


def compare(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Put several evaluations side by side.

    Args:
        evaluations: By the name of the run.

    Returns:
        For each metric that any run has: `group`, `label`, `values` (written, one a run), `best`
        (index of the best run; None if better has no meaning, if the error bars of the best two
        meet, if they are `apart`, or if it is about draws and these were `drawn_apart` or
        `judged_apart`).
    """
    table, different = [], apart(evaluations)
    drawn = drawn_apart(evaluations) or judged_apart(evaluations)
    for row in ROWS:
        cells = [row.written(one) for one in evaluations.values()]
        if any(cells):
            unlike = different or (drawn and row.section in ("samples", "components", "memorising"))
            best = None if unlike else _best(row, [*evaluations.values()])
            table.append({"group": row.group, "label": row.label, "values": cells, "best": best})
    return table


def apart(evaluations: Mapping[str, Evaluation]) -> str:
    """Says in what evaluations were measured differently; "" if their figures may be compared.

    Args:
        evaluations: By the name of the run.
    """
    ours = {name: one.settings for name, one in evaluations.items()}
    differing = [
        f"{what} ({', '.join(f'{name}: {getattr(one, field)}' for name, one in ours.items())})"
        for field, what in _SETTINGS.items()
        if len({getattr(one, field) for one in ours.values()}) > 1
    ]
    tests = {one.test for one in ours.values() if one.test}
    if len(tests) > 1 and not differing:
        differing = ["other test examples, though as many of the same name"]
    if not differing:
        return ""
    return (
        "These figures cannot be compared: they were measured with different "
        f"{'; '.join(differing)}."
    )


def drawn_apart(evaluations: Mapping[str, Evaluation]) -> str:
    """Says that the draws of runs were made with other settings; "" if all are alike."""
    ours = {name: one.settings for name, one in evaluations.items()}
    how = {(one.temperature, one.guidance) for one in ours.values()}
    if len(how) < 2:
        return ""
    each = ", ".join(f"{n}: {one.guidance:g} and {one.temperature:g}" for n, one in ours.items())
    return (
        f"Draws of each run were made as it makes them, with guidance and temperature ({each}), so "
        "none is called the best."
    )


def judged_apart(evaluations: Mapping[str, Evaluation]) -> str:
    """Says that the draws of runs were judged by judges of other kinds; "" if all are alike."""
    kinds = {name: one.settings.kind for name, one in evaluations.items() if one.settings.kind}
    if len({*kinds.values()}) < 2:
        return ""
    each = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    return (
        f"What is said of draws cannot be compared: they were judged as what x are to each run "
        f"({each}), by judges that differ. Likelihoods are of the same x, and can."
    )


_SETTINGS = {
    "data": "data",
    "split": "splits",
    "examples": "numbers of examples",
    "scored": "numbers of examples for log p(x | y)",
    "samples": "importance samples",
    "binarize": "binarisation",
    "coding": "codings of x",
    "seed": "seeds",
}


def _best(row: Row, evaluations: list[Evaluation]) -> int | None:
    numbers = {i: n for i, one in enumerate(evaluations) if (n := row.value(one)) is not None}
    if not row.shown.better or len(numbers) < 2:
        return None
    first, second, *_ = sorted(numbers, key=lambda i: -row.shown.better * numbers[i])
    bars = sum(row.spread(evaluations[i]) for i in (first, second))
    return first if abs(numbers[first] - numbers[second]) > bars else None
