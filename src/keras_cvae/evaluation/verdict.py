"""What an evaluation says of a model: everything that was measured, the worst first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from keras_cvae.evaluation.evaluate import Evaluation

MORE = "Train longer, or a larger network (--units)"


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
        return f"Healthy: {_strengths(evaluation)} Nothing to do."
    head = {3: "Not usable", 2: "Falls short", 1: "Good, with a remark"}[found[0].severity]
    return f"{head}: " + "\n".join(map(str, found))


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
    if most < 0.6:
        yield Finding(
            2,
            f"The judge of draws is itself right about {_percent(most)} of real examples only: "
            "what it says of draws means little.",
            "More examples a class are needed to judge.",
        )
    elif right < most - 0.05:
        yield Finding(
            3 if right < most - 0.2 else 2,
            f"Only {_percent(right)} of the draws are what was asked for (of real examples the "
            f"judge reads {_percent(most)} right).",
            f"{MORE}; a larger latent_dim lets more through z than the class.",
        )


def _little_variety(evaluation: Evaluation) -> Iterator[Finding]:
    judged = evaluation.samples
    if judged is None or judged.judge_accuracy < 0.6:
        return
    recall = getattr(judged, "recall", None)
    if recall is not None and recall < 0.3:
        yield Finding(
            2,
            f"Draws of a class are alike: they reach {_percent(recall)} of the real examples.",
            "Give z more dimensions (--latent-dim), or draw with output='sample'.",
        )
    elif judged.tstr is not None and judged.tstr < judged.judge_accuracy - 0.1:
        yield Finding(
            2,
            f"A classifier that learns from draws is right about {_percent(judged.tstr)} of real "
            f"examples, one that learns from real ones about {_percent(judged.judge_accuracy)}.",
            f"{MORE}.",
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
            f"{MORE}, with a lower learning rate if the loss jumped.",
        )


def _miscalibrated(evaluation: Evaluation) -> Iterator[Finding]:
    found = evaluation.calibration
    if found is None or found.least_p_value >= 0.01:
        return
    inside = found.coverage_90
    how = "too narrow" if inside < 0.87 else "too wide" if inside > 0.93 else "of another shape"
    yield Finding(
        2 if 0.8 < inside < 0.97 else 3,
        f"Draws are {how} than the truth is spread: {_percent(inside)} of it lies in the central "
        f"90 % (p = {found.least_p_value:.2g})."
        if how != "of another shape"
        else f"Draws have another shape than the truth (p = {found.least_p_value:.2g}).",
        "Predict the variance (--variance predicted), train longer, or give z more dimensions.",
    )


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
    _miscalibrated,
    _little_variety,
    _overconfident,
)


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"
