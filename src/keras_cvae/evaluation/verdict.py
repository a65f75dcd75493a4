"""What an evaluation says of a model: everything that was measured, the worst first."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from keras_cvae.evaluation.evaluate import Evaluation

Remedy = Literal[
    "longer",
    "larger",
    "smaller",
    "wider",
    "patience",
    "lower rate",
    "warm-up",
    "free bits",
    "own width",
    "overdispersed",
    "marginals",
    "samples",
]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a model.

    Args:
        severity: 3: draws are not what was asked for; 2: they fall short; 1: harmless, perhaps.
        text: What was found, in a sentence.
        advice: What to do about it, with the options of `cvae train` that do it.
        remedies: The same, for what knows how each is typed: see `runs.remedies`.
    """

    severity: Literal[1, 2, 3]
    text: str
    advice: str
    remedies: tuple[Remedy, ...] = ()

    def __str__(self) -> str:
        return f"{self.text} {self.advice}"


def findings(evaluation: Evaluation, improving: bool | None = None) -> list[Finding]:
    """All that is wrong, the worst first; nothing if all is well.

    Args:
        evaluation: What was measured.
        improving: Whether validation still improved when training ended; None: nobody knows.
    """
    help = _Help(evaluation, improving)
    found = [finding for rule in RULES for finding in rule(evaluation, help)]
    return sorted(found, key=lambda finding: -finding.severity)


def verdict(evaluation: Evaluation, improving: bool | None = None) -> str:
    """What to think of a model, in a paragraph that a terminal can print.

    Args:
        evaluation: What was measured.
        improving: As in `findings`.
    """
    found = findings(evaluation, improving)
    if not found:
        unseen = not (evaluation.samples or evaluation.components)
        far = ", as far as it was measured" if unseen else ""
        return f"Healthy{far}: {_strengths(evaluation)} Nothing to do."
    head = {3: "Not usable", 2: "Falls short", 1: "Good, with a remark"}[found[0].severity]
    return f"{head}: " + "\n".join(map(str, found))


class _Help:
    """Advice that several findings give: the same in all of them, so that none contradicts."""

    def __init__(self, evaluation: Evaluation, improving: bool | None):
        known, copies, latent = evaluation.generalization, evaluation.memorising, evaluation.latent
        self.examples = known.examples if known else None
        far = known is not None and known.gap > _noise(known.standard_error)
        self.by_heart = far or bool(copies and copies.memorised)
        self.improving = improving
        self.unused = latent is not None and latent.state != "healthy"  # dimensions of z

    @property
    def more(self) -> str:
        """What helps a model that has not learned enough, or not what holds for others."""
        if self.by_heart:
            learned = "" if self.examples is None else f" (it learned from {self.examples:,})"
            return (
                f"More examples{learned}, or a smaller network (--units): it knows these better "
                "than others already."
            )
        if self.improving is False:
            return (
                "Validation no longer improved, so training longer brings nothing: more examples, "
                "or a larger network (--units)."
            )
        still = "" if self.improving else ", if validation still improved"
        return f"Train longer (--resume --epochs){still}, or a larger network (--units)."

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """Those of `more`."""
        if self.by_heart:
            return ("smaller",)
        return ("larger",) if self.improving is False else ("longer", "larger")

    def wider(self, first: str) -> tuple[str, tuple[Remedy, ...]]:
        """The advice to give z more dimensions, after other; none where it leaves some unused."""
        if self.unused:
            return f"{first}.", ()
        return f"{first}, or more latent dimensions (--latent-dim).", ("wider",)


def _noise(error: float | None) -> float:
    return 3.0 * (error or math.inf)


def _strengths(evaluation: Evaluation) -> str:
    said = []
    if (judged := evaluation.samples) and judged.on_label_accuracy is not None:
        said.append(f"{_percent(judged.on_label_accuracy)} of the draws are what was asked for")
    if evaluation.conditional and evaluation.baseline:
        better = evaluation.baseline.nats - evaluation.conditional.nats
        said.append(f"the likelihood is {better:.1f} nats above that of independent values")
    if evaluation.latent:
        latent = evaluation.latent
        said.append(f"{latent.active_units} of {latent.latent_dim} dimensions carry information")
    text = "; ".join(said) or "nothing that was measured is wrong"
    return text[0].upper() + text[1:] + "."


def _draws_of_another_class(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    judged = evaluation.samples
    if judged is None or judged.on_label_accuracy is None:
        return
    right, most = judged.on_label_accuracy, judged.judge_accuracy
    if not judged.knows:
        yield Finding(
            2,
            f"The judge of draws is itself right about {_percent(most)} of real examples only "
            f"(a guess about {_percent(judged.chance)}): what it says of draws means little.",
            "More examples a class are needed to judge.",
        )
        return
    if right < most - 0.05:
        yield Finding(
            3 if right < most - 0.2 else 2,
            f"Only {_percent(right)} of the draws are what was asked for (of real examples the "
            f"judge reads {_percent(most)} right).",
            help.more,
            help.remedies,
        )
    each, real = judged.on_label_per_class or {}, judged.judge_per_class or {}
    worst = min(
        sorted(each.keys() & real.keys()), key=lambda name: each[name] - real[name], default=None
    )
    if worst is not None and each[worst] < real[worst] - 0.2 and right >= most - 0.2:
        yield Finding(
            3 if each[worst] < 0.5 * real[worst] else 2,
            f"Only {_percent(each[worst])} of the draws of '{worst}' are that (of real ones the "
            f"judge reads {_percent(real[worst])} right).",
            f"More examples of '{worst}' would help most.",
        )


def _little_variety(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    judged = evaluation.samples
    found = judged or evaluation.components
    if found is None or (judged and not judged.knows):
        return
    what = "Draws of a class" if judged else "Draws"
    if found.recall is not None and found.recall < 0.3:
        mean = "Draw with --sample, not the mean. " if found.output == "mean" else ""
        wider: tuple[Remedy, ...] = () if help.unused else ("wider",)
        z = "" if help.unused else "Give z more dimensions (--latent-dim). "
        yield Finding(
            2,
            f"{what} are alike: they reach {_percent(found.recall)} of the real examples.",
            f"{mean}{z}{help.more}",
            (*wider, *help.remedies),
        )
    elif found.precision is not None and found.precision < 0.5:
        yield Finding(
            2,
            f"{what} are unlike real examples: {_percent(found.precision)} lie among them.",
            help.more,
            help.remedies,
        )
    elif judged and judged.tstr is not None and judged.tstr < judged.judge_accuracy - 0.1:
        yield Finding(
            2,
            f"A classifier that learns from draws is right about {_percent(judged.tstr)} of real "
            f"examples, one that learns from real ones about {_percent(judged.judge_accuracy)}.",
            help.more,
            help.remedies,
        )


def _worse_than_independent(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    ours, simple = evaluation.conditional, evaluation.baseline
    if ours is None or simple is None:
        return
    error = 2.0 * ((ours.standard_error or 0.0) + (simple.standard_error or 0.0))
    if ours.nats > simple.nats + error:
        yield Finding(
            3,
            f"The likelihood is {ours.nats - simple.nats:.1f} nats below that of independent "
            "values with the means of each class: little was learned.",
            f"{help.more} A lower rate (--learning-rate), if the loss jumped.",
            (*help.remedies, "lower rate"),
        )


def _overfitted(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    known = evaluation.generalization
    if known is None or known.gap <= _noise(known.standard_error):
        return
    simple, ours = evaluation.baseline, evaluation.conditional
    learned = simple.nats - known.train if simple and ours else abs(known.train)
    lost = known.gap / max(learned, known.gap)
    if lost < 0.1:
        return
    yield Finding(
        2 if lost > 0.5 else 1,
        f"It learned by heart: examples that it was not trained on are {known.gap:.1f} nats less "
        f"likely than those it was ({_percent(lost)} of all that was learned).",
        f"More examples (there are {known.examples:,}), a smaller network (--units), or, unless "
        "that was done, --patience 30, which keeps the best epoch.",
        ("smaller", "patience"),
    )


def _miscalibrated(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    found = evaluation.calibration
    if found is None or found.least_p_value >= 0.01:
        return
    inside, p = found.coverage_90, f"p = {found.least_p_value:.2g}"
    if 0.87 <= inside <= 0.93 and found.worst is not None and found.worst_coverage_90 is not None:
        own = found.worst_coverage_90
        how = _spread(own) or "of another shape than the truth"
        which = found.place or f"value {found.worst + 1}"
        text = f"Draws of {which} are {how}: {_percent(own)} of the true ones lie"
        text += f" in the central 90 % ({p})."
    elif how := _spread(inside):
        text = f"Draws are {how}: {_percent(inside)} of it lies in the central 90 % ({p})."
    else:
        text = f"Draws have another shape than the truth ({p})."
    seen: Remedy
    remedies: tuple[Remedy, ...]
    if found.place.startswith("moment"):
        seen, cause, remedies = "samples", _OF_SIGNALS, ("own width",)
    elif evaluation.settings.coding == "counts":
        seen, cause, remedies = "marginals", _OF_COUNTS, ("overdispersed",)
    else:
        seen, cause, remedies = "marginals", _OF_NUMBERS, ("own width",)
    advice, wide = help.wider(cause)
    yield Finding(
        2 if 0.8 < inside < 0.97 else 3,
        text,
        f"Plotted beside the real ones (cvae plot, {seen}) it can be seen. {advice}",
        (seen, *remedies, *wide),
    )


_OF_COUNTS = (
    "Counts that vary more than a Poisson's take --likelihood negative_binomial, and with more "
    "zeros than that zero_inflated_negative_binomial"
)
_OF_SIGNALS = "--variance predicted gives each moment a width of its own"
_OF_NUMBERS = (
    "Values with a sharp end, such as 0, or that differ by factors take --likelihood bounded with "
    "--bounds 0..; others --variance predicted"
)


def _spread(inside: float) -> str:
    """What is wrong with the spread of draws, by how much lies in their central 90 %; or ""."""
    if inside < 0.87:
        return "too narrow for the truth"
    return "too wide for the truth" if inside > 0.93 else ""


def _overconfident(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    found = evaluation.classification
    if found and found.calibration_error > 0.1:
        yield Finding(
            1,
            f"p(y | x) is off by {_percent(found.calibration_error)} from the share that is right.",
            "Do not read it as a probability.",
        )


def _collapsed(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    latent = evaluation.latent
    if latent and latent.state == "collapsed":
        yield Finding(3, latent.verdict, f"{_USE_Z[0].upper()}{_USE_Z[1:]}.", _TO_USE_Z)
    elif latent and latent.state == "partly collapsed":
        yield Finding(
            1,
            latent.verdict,
            "Harmless if the likelihood is good: fewer do the same faster (--latent-dim "
            f"{latent.active_units + 2}). To use more of them: {_USE_Z}.",
            _TO_USE_Z,
        )


_USE_Z = (
    "let beta grow slowly (--warmup 0.3), leave some KL free (--free-bits 0.5), or lower beta "
    "(--beta 0.5)"
)
_TO_USE_Z: tuple[Remedy, ...] = ("warm-up", "free bits")


def _memorised(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    copies = evaluation.memorising
    if copies and copies.memorised:
        yield Finding(
            3,
            f"{_percent(copies.share)} of the draws are copies of training data.",
            "More examples, a smaller network (--units), or fewer epochs.",
            ("smaller", "patience"),
        )


RULES: tuple[Callable[[Evaluation, _Help], Iterator[Finding]], ...] = (
    _draws_of_another_class,
    _memorised,
    _collapsed,
    _worse_than_independent,
    _overfitted,
    _miscalibrated,
    _little_variety,
    _overconfident,
)


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"
