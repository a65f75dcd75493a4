"""What an evaluation says of a model: everything that was measured, the worst first."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from keras_cvae.evaluation.chance import PERHAPS, SURE, Gap
from keras_cvae.evaluation.evaluate import Evaluation
from keras_cvae.evaluation.samples import Judged

Remedy = Literal[
    "longer",
    "larger",
    "smaller",
    "wider",
    "patience",
    "lower rate",
    "warm-up",
    "free bits",
    "lower beta",
    "own width",
    "bounded",
    "overdispersed",
    "zero-inflated",
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
        return f"{self.text} {self.advice}".strip()


def findings(
    evaluation: Evaluation, improving: bool | None = None, has: Collection[Remedy] = ()
) -> list[Finding]:
    """All that is wrong, the worst first; nothing if all is well.

    Args:
        evaluation: What was measured.
        improving: Whether validation still improved when training ended; None: nobody knows.
        has: What the model has already, or cannot have; it is not advised.
    """
    help = _Help(evaluation, improving, has)
    found = [finding for rule in RULES for finding in rule(evaluation, help)]
    found += _idle(evaluation, help, found)
    return sorted(found, key=lambda finding: -finding.severity)


def verdict(
    evaluation: Evaluation, improving: bool | None = None, has: Collection[Remedy] = ()
) -> str:
    """What to think of a model, in a paragraph that a terminal can print.

    Args:
        evaluation: What was measured.
        improving: As in `findings`.
        has: As in `findings`.
    """
    found = findings(evaluation, improving, has)
    if not found:
        unseen = not (evaluation.samples or evaluation.components)
        far = ", as far as it was measured" if unseen else ""
        return f"Healthy{far}: {_strengths(evaluation)} Nothing to do."
    head = {3: "Not usable", 2: "Falls short", 1: "Good, with a remark"}[found[0].severity]
    return f"{head}: " + "\n".join(map(str, found))


class _Help:
    """Advice that several findings give: the same in all of them, so that none contradicts."""

    def __init__(
        self, evaluation: Evaluation, improving: bool | None, has: Collection[Remedy] = ()
    ):
        known, copies, latent = evaluation.generalization, evaluation.memorising, evaluation.latent
        self.examples = known.examples if known else None
        far = known is not None and known.gap > _noise(known.standard_error)
        self.by_heart = far or bool(copies and copies.memorised)
        self.improving, self.has = improving, has
        self.unused = latent is not None and latent.state != "healthy"  # dimensions of z

    def of(self, *remedies: Remedy) -> tuple[Remedy, ...]:
        """Those that the model does not have yet."""
        return tuple(one for one in remedies if one not in self.has)

    def words(self, *remedies: Remedy) -> list[str]:
        """What those are that the model does not have yet, with their options."""
        return [_WORDS[one] for one in self.of(*remedies)]

    @property
    def more(self) -> str:
        """What helps a model that has not learned enough, or not what holds for others."""
        if self.by_heart:
            learned = "" if self.examples is None else f" (it learned from {self.examples:,})"
            what = _either([f"more examples{learned}", *self.words("smaller")])
            return f"{_capital(what)}: it knows these better than others already."
        if self.improving is False:
            what = _either(["more examples", *self.words("larger")])
            return f"Validation no longer improved, so training longer brings nothing: {what}."
        still = "" if self.improving else ", if validation still improved"
        longer = [f"train longer (--resume --epochs){still}"]
        return f"{_capital(_either([*longer, *self.words('larger')]))}."

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """Those of `more`."""
        if self.by_heart:
            return self.of("smaller")
        return self.of("larger") if self.improving is False else self.of("longer", "larger")

    @property
    def wider(self) -> tuple[Remedy, ...]:
        """More dimensions of z; none where it leaves some unused."""
        return () if self.unused else self.of("wider")

    @property
    def to_use_z(self) -> str:
        """What makes a model use more of z."""
        return _either([*self.words(*_TO_USE_Z), "weaken the decoder"])


_TO_USE_Z: tuple[Remedy, ...] = ("warm-up", "free bits", "lower beta")
_WORDS: dict[Remedy, str] = {
    "larger": "a larger network (--units)",
    "smaller": "a smaller network (--units)",
    "wider": "more latent dimensions (--latent-dim)",
    "patience": "--patience 30, which keeps the best epoch",
    "warm-up": "let beta grow slowly (--warmup 0.3)",
    "free bits": "leave some KL free (--free-bits 0.5)",
    "lower beta": "lower beta (--beta)",
    "own width": "--variance predicted gives each value a width of its own",
    "bounded": "values with a sharp end, such as 0, or that differ by factors take --likelihood "
    "bounded with --bounds 0..",
    "overdispersed": "counts that vary more than a Poisson's take --likelihood negative_binomial",
    "zero-inflated": "counts with more zeros than that take --likelihood "
    "zero_inflated_negative_binomial",
}
_TO_TELL = "More examples to measure it on would tell."


def _either(ways: Iterable[str]) -> str:
    *some, last = ways
    return f"{', '.join(some)}, or {last}" if some else last


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _short(
    gap: Gap,
    bar: float,
    severity: Literal[2, 3],
    text: str,
    advice: str,
    remedies: tuple[Remedy, ...] = (),
) -> Iterator[Finding]:
    """A gap above a bar: a shortfall where chance cannot explain it, a remark where it may."""
    if gap.size <= bar:
        return
    if gap.exceeds(SURE):
        yield Finding(severity, text, advice, remedies)
    elif gap.exceeds(PERHAPS):
        few = "" if gap.examples is None else f": it rests on {gap.examples:,} examples"
        yield Finding(1, f"{text} That may be chance{few}.", _TO_TELL)


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
    return _capital("; ".join(said) or "nothing that was measured is wrong") + "."


def _draws_of_another_class(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    judged = evaluation.samples
    if judged is None or judged.on_label_accuracy is None:
        return
    yield from _short(
        judged.ignorance,
        0.0,
        2,
        f"The judge of draws is itself right about {_percent(judged.judge_accuracy)} of real "
        f"examples only (a guess about {_percent(judged.chance)}): what it says of draws means "
        "little.",
        "More examples a class are needed to judge.",
    )
    if not _knows(judged):
        return
    right, most = judged.on_label_accuracy, judged.judge_accuracy
    yield from _short(
        Gap.between(right, judged.judged_draws, most, judged.judged_examples),
        0.05,
        3 if right < most - 0.2 else 2,
        f"Only {_percent(right)} of the draws are what was asked for (of real examples the "
        f"judge reads {_percent(most)} right).",
        help.more,
        help.remedies,
    )
    if right >= most - 0.2:
        yield from _one_class(judged)


def _one_class(judged: Judged) -> Iterator[Finding]:
    """The class of which draws fall short the most surely."""
    each, real = judged.on_label_per_class or {}, judged.judge_per_class or {}
    drawn, seen = judged.draws_per_class or {}, judged.examples_per_class or {}
    classes = sorted(each.keys() & real.keys())
    gaps = {
        name: Gap.between(each[name], drawn.get(name), real[name], seen.get(name), of=len(classes))
        for name in classes
        if each[name] < real[name] - 0.2
    }
    if not gaps:
        return
    worst = max(gaps, key=lambda name: (gaps[name].exceeds(SURE), gaps[name].size))
    yield from _short(
        gaps[worst],
        0.2,
        3 if each[worst] < 0.5 * real[worst] else 2,
        f"Only {_percent(each[worst])} of the draws of '{worst}' are that (of real ones the "
        f"judge reads {_percent(real[worst])} right).",
        f"More examples of '{worst}' would help most.",
    )


def _knows(judged: Judged) -> bool:
    """Whether the judge's word counts: chance may explain what it does not know."""
    return not judged.ignorance.exceeds(SURE)


def _little_variety(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    """The first of what draws lack that is sure, or else that may be chance."""
    found = [*_unlike(evaluation, help)]
    if found:
        yield max(found, key=lambda finding: finding.severity)


def _unlike(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    judged = evaluation.samples
    found = judged or evaluation.components
    if found is None or (judged and not _knows(judged)):
        return
    what = "Draws of a class" if judged else "Draws"
    if found.recall is not None:
        mean = "Draw with --sample, not the mean. " if found.output == "mean" else ""
        z = "Give z more dimensions (--latent-dim). " if help.wider else ""
        yield from _short(
            Gap.below(found.recall, found.compared_examples, 0.3),
            0.0,
            2,
            f"{what} are alike: they reach {_percent(found.recall)} of the real examples.",
            f"{mean}{z}{help.more}",
            (*help.wider, *help.remedies),
        )
    if found.precision is not None:
        yield from _short(
            Gap.below(found.precision, found.compared_draws, 0.5),
            0.0,
            2,
            f"{what} are unlike real examples: {_percent(found.precision)} lie among them.",
            help.more,
            help.remedies,
        )
    if judged and judged.tstr is not None:
        both = judged.judged_examples
        yield from _short(
            Gap.between(judged.tstr, both, judged.judge_accuracy, both),
            0.1,
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
            (*help.remedies, *help.of("lower rate")),
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
    less = help.words("smaller", "patience")
    yield Finding(
        2 if lost > 0.5 else 1,
        f"It learned by heart: examples that it was not trained on are {known.gap:.1f} nats less "
        f"likely than those it was ({_percent(lost)} of all that was learned).",
        f"{_capital(_either([f'more examples (there are {known.examples:,})', *less]))}.",
        help.of("smaller", "patience"),
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
    seen: Remedy = "samples" if found.place.startswith("moment") else "marginals"
    remedies: tuple[Remedy, ...] = ("bounded", "own width")
    if seen == "samples":
        remedies = ("own width",)
    elif evaluation.settings.coding == "counts":
        remedies = ("overdispersed", "zero-inflated")
    ways = help.words(*remedies, *help.wider)
    advice = f" {_capital(_either(ways))}." if ways else ""
    yield Finding(
        2 if 0.8 < inside < 0.97 else 3,
        text,
        f"Plotted beside the real ones (cvae plot, {seen}) it can be seen.{advice}",
        (seen, *help.of(*remedies), *help.wider),
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
        yield Finding(3, latent.verdict, f"{_capital(help.to_use_z)}.", help.of(*_TO_USE_Z))


def _idle(evaluation: Evaluation, help: _Help, found: list[Finding]) -> list[Finding]:
    """Dimensions of z that carry nothing: a fact, as data may have no more to tell; advice only
    where something falls short."""
    latent = evaluation.latent
    if not found or latent is None or latent.state != "partly collapsed":
        return []
    fact = f"{latent.active_units} of {latent.latent_dim} dimensions of z carry information."
    if all(finding.severity == 1 for finding in found):
        return [Finding(1, fact, "")]
    return [Finding(1, fact, f"To use more: {help.to_use_z}.", help.of(*_TO_USE_Z))]


def _memorised(evaluation: Evaluation, help: _Help) -> Iterator[Finding]:
    copies = evaluation.memorising
    if copies and copies.memorised:
        yield Finding(
            3,
            f"{_percent(copies.share)} of the draws are copies of training data.",
            f"{_capital(_either(['more examples', *help.words('smaller'), 'fewer epochs']))}.",
            help.of("smaller", "patience"),
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
