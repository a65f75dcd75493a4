"""What an evaluation says of a model: everything that was measured, the worst first."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from keras_cvae.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a model.

    Args:
        severity: 3: draws are not what was asked for; 2: they fall short; 1: harmless, perhaps.
        text: What was found, in a sentence.
        advice: What to do about it.
    """

    severity: Literal[1, 2, 3]
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text} {self.advice}"


def findings(evaluation: Evaluation) -> list[Finding]:
    """All that is wrong, the worst first; nothing if all is well."""
    found = [finding for rule in RULES for finding in rule(evaluation)]
    return sorted(found, key=lambda finding: -finding.severity)


def verdict(evaluation: Evaluation) -> str:
    """What to think of a model, in a paragraph that a terminal can print."""
    found = findings(evaluation)
    if not found:
        unseen = not (evaluation.samples or evaluation.components)
        far = ", as far as it was measured" if unseen else ""
        return f"Healthy{far}: {_strengths(evaluation)} Nothing to do."
    head = {3: "Not usable", 2: "Falls short", 1: "Good, with a remark"}[found[0].severity]
    return f"{head}: " + "\n".join(map(str, found))


def _more(evaluation: Evaluation) -> str:
    """What helps a model that has not learned enough, or not what holds for others."""
    known = evaluation.generalization
    if known and known.gap > _noise(known.standard_error):
        return (
            f"More examples (it learned from {known.examples:,}), or a smaller network (--units): "
            "it knows these better than others already."
        )
    return "Train longer (--resume --epochs), or a larger network (--units)."


def _noise(error: float | None) -> float:
    return 4.0 * (error or math.inf)


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


def _draws_of_another_class(evaluation: Evaluation) -> Iterator[Finding]:
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
            _more(evaluation),
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


def _little_variety(evaluation: Evaluation) -> Iterator[Finding]:
    judged = evaluation.samples
    found = judged or evaluation.components
    if found is None or (judged and not judged.knows):
        return
    what = "Draws of a class" if judged else "Draws"
    if found.recall is not None and found.recall < 0.3:
        sample = ", or draw with output='sample' (--sample)" if found.output == "mean" else ""
        yield Finding(
            2,
            f"{what} are alike: they reach {_percent(found.recall)} of the real examples.",
            f"Give z more dimensions (--latent-dim){sample}. {_more(evaluation)}",
        )
    elif found.precision is not None and found.precision < 0.5:
        yield Finding(
            2,
            f"{what} are unlike real examples: {_percent(found.precision)} lie among them.",
            _more(evaluation),
        )
    elif judged and judged.tstr is not None and judged.tstr < judged.judge_accuracy - 0.1:
        yield Finding(
            2,
            f"A classifier that learns from draws is right about {_percent(judged.tstr)} of real "
            f"examples, one that learns from real ones about {_percent(judged.judge_accuracy)}.",
            _more(evaluation),
        )


def _worse_than_independent(evaluation: Evaluation) -> Iterator[Finding]:
    ours, simple = evaluation.conditional, evaluation.baseline
    if ours is None or simple is None:
        return
    error = 2.0 * ((ours.standard_error or 0.0) + (simple.standard_error or 0.0))
    if ours.nats > simple.nats + error:
        yield Finding(
            3,
            f"The likelihood is {ours.nats - simple.nats:.1f} nats below that of independent "
            "values with the means of each class: little was learned.",
            f"{_more(evaluation)} A lower learning rate, if the loss jumped.",
        )


def _overfitted(evaluation: Evaluation) -> Iterator[Finding]:
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
    )


def _miscalibrated(evaluation: Evaluation) -> Iterator[Finding]:
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
    if found.place.startswith("moment"):
        advice = _OF_SIGNALS
    else:
        counts = evaluation.settings.coding == "counts"
        advice = "See it in `cvae plot RUN marginals`. " + (_OF_COUNTS if counts else _OF_NUMBERS)
    yield Finding(2 if 0.8 < inside < 0.97 else 3, text, advice)


_OF_COUNTS = (
    "Counts that vary more than a Poisson's take --likelihood negative_binomial, and with more "
    "zeros than that zero_inflated_negative_binomial; else train longer, or more latent dimensions."
)
_OF_SIGNALS = (
    "See it in `cvae plot RUN samples`. --variance predicted gives each moment a width of its own; "
    "else train longer, or more latent dimensions."
)
_OF_NUMBERS = (
    "Values with a sharp end, such as 0, or that differ by factors take --likelihood bounded with "
    "--bounds 0..; else --variance predicted, or more latent dimensions."
)


def _spread(inside: float) -> str:
    """What is wrong with the spread of draws, by how much lies in their central 90 %; or ""."""
    if inside < 0.87:
        return "too narrow for the truth"
    return "too wide for the truth" if inside > 0.93 else ""


def _overconfident(evaluation: Evaluation) -> Iterator[Finding]:
    found = evaluation.classification
    if found and found.calibration_error > 0.1:
        yield Finding(
            1,
            f"p(y | x) is off by {_percent(found.calibration_error)} from the share that is right.",
            "Do not read it as a probability.",
        )


def _collapsed(evaluation: Evaluation) -> Iterator[Finding]:
    latent = evaluation.latent
    if latent and latent.state == "collapsed":
        yield Finding(3, latent.verdict, latent.advice)
    elif latent and latent.state == "partly collapsed":
        yield Finding(1, latent.verdict, latent.advice)


def _memorised(evaluation: Evaluation) -> Iterator[Finding]:
    copies = evaluation.memorising
    if copies and copies.memorised:
        yield Finding(
            3,
            f"{_percent(copies.share)} of the draws are copies of training data.",
            "More data, fewer epochs, a smaller network.",
        )


RULES: tuple[Callable[[Evaluation], Iterator[Finding]], ...] = (
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
