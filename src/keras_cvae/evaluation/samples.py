"""What draws of a model are worth: judged by a classifier, or compared in components of x."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from keras_cvae.conditions.spec import JointSpec
from keras_cvae.data.containers import Data, Split
from keras_cvae.evaluation.chance import Gap, share_error
from keras_cvae.evaluation.judge import Judge, epochs_for
from keras_cvae.evaluation.likeness import Likeness, likeness
from keras_cvae.evaluation.metrics import Metric, Metrics
from keras_cvae.evaluation.prepare import at_most, drawn, is_image
from keras_cvae.inference.importance import Progress
from keras_cvae.trees import take

COMPONENTS = 64  # principal components in which samples are compared where there are no classes
ENOUGH = 20  # examples of a class, and draws, of which a share means something
MOST = 60_000  # draws
QUICK = 2e7  # values that a judge sees in some seconds
COMPARED = slice(0, 10_000)  # of draws and of test examples


@dataclass(frozen=True, kw_only=True)
class Components(Likeness):
    """How like the data draws are, in principal components of x; where there are no classes.

    Args:
        output: What was drawn: the mean of p(x | z, y), or a sample of it.
        count: How many draws.
    """

    output: Literal["mean", "sample"]
    count: int


@dataclass(frozen=True, kw_only=True)
class Judged(Metrics):
    """What a classifier of real data says of draws, or of one that saw draws alone.

    Args:
        on_label_accuracy: Share of draws in which the judge sees the class that was asked for;
            None where the model has no such condition.
        tstr: Accuracy on test data of a classifier trained on draws; None without such a condition.
        judge_accuracy: Accuracy on test data of the judge, trained on real data.
        chance: Share of the commonest class in the test data: what a guess gets.
        on_label_per_class: `on_label_accuracy` of each class of which there are `ENOUGH` draws.
        judge_per_class: `judge_accuracy` of each class of which there are `ENOUGH` examples.
        judged_draws: Of how many draws `on_label_accuracy` is a share.
        judged_examples: Of how many test examples `judge_accuracy` and `tstr` are.
        draws_per_class: How many draws of each class `on_label_per_class` is of.
        examples_per_class: How many test examples of each `judge_per_class` is of.
        label: Name of the condition that is judged, of a model with several.
    """

    on_label_accuracy: Annotated[
        float | None,
        Metric(
            "on-label accuracy",
            unit="%",
            better=1,
            note="How often the judge sees the class that was asked for.",
            error="on_label_error",
        ),
    ] = None
    tstr: Annotated[
        float | None,
        Metric(
            "train on samples, test on real",
            unit="%",
            better=1,
            note="A classifier that saw only samples.",
            error="tstr_error",
        ),
    ] = None
    judge_accuracy: Annotated[
        float,
        Metric(
            "train on real, test on real",
            unit="%",
            note="The same classifier on real data: what the line above can reach.",
            error="judge_error",
        ),
    ]
    chance: float = 0.0
    on_label_per_class: dict[str, float] | None = None
    judge_per_class: dict[str, float] | None = None
    judged_draws: int | None = None
    judged_examples: int | None = None
    draws_per_class: dict[str, int] | None = None
    examples_per_class: dict[str, int] | None = None
    label: str | None = None

    @property
    def on_label_error(self) -> float | None:
        """Standard error of `on_label_accuracy`."""
        return share_error(self.on_label_accuracy, self.judged_draws)

    @property
    def tstr_error(self) -> float | None:
        """Standard error of `tstr`, of the test examples alone."""
        return share_error(self.tstr, self.judged_examples)

    @property
    def judge_error(self) -> float | None:
        """Standard error of `judge_accuracy`, of the test examples alone."""
        return share_error(self.judge_accuracy, self.judged_examples)

    @property
    def ignorance(self) -> Gap:
        """By how much the judge misses being right about half of what a guess gets wrong."""
        bar = self.chance + 0.5 * (1.0 - self.chance)
        return Gap.below(self.judge_accuracy, self.judged_examples, bar)


@dataclass(frozen=True, kw_only=True)
class Samples(Components, Judged):
    """What draws are worth where there are classes; `Likeness` is in the judge's features."""


class Draws(NamedTuple):
    """Draws of a model for conditions of training examples.

    Args:
        x: `(n, *x_shape)`, images as uint8.
        rows: The training examples whose conditions were asked for, `(n,)`.
        conditional: Whether conditions were asked for.
        output: "mean" or "sample".
    """

    x: np.ndarray
    rows: np.ndarray
    conditional: bool
    output: Literal["mean", "sample"]


def draw(
    model: Any,
    train: Split,
    conditional: bool,
    seed: int,
    most: int = MOST,
    progress: Progress | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
) -> Draws:
    """As many draws as there are training examples, but at most `most`, for their conditions."""
    output: Literal["mean", "sample"] = "mean" if is_image(model) else "sample"
    count = min(len(train), most)
    rows = np.random.default_rng(seed).permutation(len(train))[:count]
    condition = take(train.y, rows) if conditional else None
    x = drawn(model, condition, count, seed, output, temperature, guidance, progress)
    return Draws(x, rows, conditional, output)


class Labels(NamedTuple):
    """Classes of training and test examples, -1 where unknown, `(n,)` each.

    Args:
        name: Of the condition that they are, None if there is but one.
        names: Of the classes.
        train: Of the training examples.
        test: Of the test examples.
        asked: Whether the model was conditioned on them.
    """

    name: str | None
    names: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray
    asked: bool


def labels(model: Any, data: Data, test: Split) -> Labels | None:
    """The classes that samples are judged by: the data's, or the first named ones."""
    if data.class_names:
        asked = model.condition.spec.classes is not None
        return Labels(None, data.class_names, data.train.y, test.y, asked)
    spec = model.condition.spec
    for name, part in (spec.parts if isinstance(spec, JointSpec) else {}).items():
        classes = part.classes
        if classes:
            both = [part.prepare(split.y[name]) for split in (data.train, test)]
            if all(known.ndim == 1 and (known >= 0).any() for known in both):
                return Labels(name, classes.names, both[0], both[1], asked=True)
    return None


def judge_of(
    train: Split,
    classes: Labels,
    seed: int,
    progress: Progress | None,
    judges: Path | None = None,
    quick: bool = False,
) -> Judge | None:
    """A classifier that learned from real data.

    Args:
        train: These; of pictures in files as many as fit into memory, evenly spread.
        classes: Of them.
        seed: Of the judge.
        progress: Wraps its epochs.
        judges: A folder where judges are kept, as in `Judge.fit_once`.
        quick: Whether to return None where learning takes long and no judge is kept yet.
    """
    known = np.flatnonzero(classes.train >= 0)
    most = at_most(train.x, len(known), 1)
    known = known[np.arange(most) * len(known) // most]
    judge = Judge(train.x.shape[1:], len(classes.names), seed=seed)
    learned, names = train.x[known], classes.train[known]
    there = judges is not None and judge.kept(learned, names, judges).is_file()
    if quick and not there and _takes_long(learned):
        return None
    return judge.fit_once(learned, names, judges, progress)


def judged(
    judge: Judge,
    draws: Draws,
    train: Split,
    test: Split,
    classes: Labels,
    seed: int,
    progress: Progress | None,
    lap: Callable[[str], None],
    limited: bool = False,
) -> Samples:
    """Judge draws by a classifier of real data.

    Args:
        judge: From `judge_of`.
        draws: From `draw`.
        train: What they were drawn for.
        test: What they are compared with.
        classes: Of both.
        seed: Of a classifier that learns from the draws.
        progress: Wraps its epochs.
        lap: Called with the name of each part that is done.
        limited: Whether to leave out what a second training of a classifier says.
    """
    tested, x = np.flatnonzero(classes.test >= 0), draws.x
    shown = test.take(tested).x
    true, seen = classes.test[tested], judge.predict(shown)
    real = judge.features(test.x[COMPARED])
    own = judge.features(train.x[draws.rows[: len(real)]])
    like = likeness(real, judge.features(x[COMPARED]), own, progress)
    lap("judge")
    on_label = tstr = each = count = drawn_of = None
    if classes.asked and draws.conditional:
        asked = classes.train[draws.rows]
        said = np.flatnonzero(asked[COMPARED] >= 0)
        drawn = judge.predict(x[said])
        on_label, each = _share(drawn, asked[said]), _per_class(drawn, asked[said], classes.names)
        count, drawn_of = len(said), _counts(asked[said], classes.names)
        if not limited:
            student = Judge(judge.x_shape, len(classes.names), seed=seed)
            student.fit(x[asked >= 0], asked[asked >= 0], progress)
            tstr = student.accuracy(shown, true)
            lap("tstr")
    return Samples(
        on_label_accuracy=on_label,
        tstr=tstr,
        judge_accuracy=_share(seen, true),
        chance=float(np.bincount(true).max() / len(true)),
        on_label_per_class=each,
        judge_per_class=_per_class(seen, true, classes.names),
        judged_draws=count,
        judged_examples=len(true),
        draws_per_class=drawn_of,
        examples_per_class=_counts(true, classes.names),
        label=classes.name,
        output=draws.output,
        count=len(x),
        **vars(like),
    )


def _share(seen: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean(seen == true))


def _per_class(seen: np.ndarray, true: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    right = np.bincount(true[seen == true], minlength=len(names))
    number = dict(zip(map(str, names), right.tolist(), strict=True))
    return {name: number[name] / n for name, n in _counts(true, names).items()}


def _counts(true: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """How many there are of each class of which there are `ENOUGH`."""
    counts = np.bincount(true, minlength=len(names)).tolist()
    return {str(name): n for name, n in zip(names, counts, strict=True) if n >= ENOUGH}


def _takes_long(x: np.ndarray) -> bool:
    """Whether a judge of x learns for more than some seconds."""
    return epochs_for(len(x)) * x.size > QUICK


def by_components(
    draws: Draws, train: Split, test: Split, seed: int, progress: Progress | None = None
) -> Components:
    """Compare draws with test data in principal components of x.

    Components are those of training data; values of vectors are divided by their deviations.
    """
    from sklearn.decomposition import PCA

    seen, real = Split(draws.x).floats(COMPARED), test.floats(COMPARED)
    own = train.floats(draws.rows[: max(len(real), 4000)])
    flat = [part.reshape(len(part), -1).astype("float64") for part in (own, seen, real)]
    if seen.ndim == 2:
        spread = flat[0].std(axis=0)
        flat = [part / np.where(spread > 0, spread, 1.0) for part in flat]
    size = min(COMPONENTS, *flat[0].shape)
    axes = PCA(size, svd_solver="randomized", random_state=seed).fit(flat[0][:4000])
    own, seen, real = (axes.transform(part) for part in flat)
    like = likeness(real, seen, own[: len(real)], progress)
    return Components(output=draws.output, count=len(draws.x), **vars(like))
