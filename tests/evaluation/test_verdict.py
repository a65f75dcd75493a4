"""What is said of models that are good, and of models that are built to be bad."""

import dataclasses

import keras
import numpy as np
import pytest
from scipy import stats

from keras_cvae import MLP, ConditionalVAE, Continuous, Gaussian
from keras_cvae.data.arrays import from_arrays
from keras_cvae.evaluation import bound
from keras_cvae.evaluation.baseline import Independent
from keras_cvae.evaluation.calibration import Calibration
from keras_cvae.evaluation.chance import Gap
from keras_cvae.evaluation.evaluate import evaluate
from keras_cvae.evaluation.verdict import findings, verdict
from keras_cvae.report.rows import ROWS

WHERE = np.arange(12) % 3


@pytest.fixture(scope="module")
def bits():
    """Twelve bits of three classes, each with four that are mostly on."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    pairs = np.repeat(rng.random((600, 6)), 2, axis=1)  # neighbours agree: there is more to learn
    return from_arrays((pairs < 0.1 + 0.8 * (y[:, None] == WHERE)).astype("uint8"), y)


def made(data, epochs, **arguments):
    keras.utils.set_random_seed(0)
    classes = data.class_names and len(data.class_names)
    model = ConditionalVAE((12,), **{"condition": classes, "latent_dim": 3} | arguments, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    if epochs:
        model.fit(data.train.floats(), data.train.y, epochs=epochs, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def good(bits):
    return evaluate(made(bits, 60, backbone=MLP((32,))), bits, samples=20)


def of_many(evaluation, n=3000, **changes):
    """The same shares, but of n draws and n examples, a third of them of each class."""
    judged = evaluation.samples
    classes = dict.fromkeys(judged.judge_per_class, n // 3)
    counts = {"judged_draws": n, "judged_examples": n, "compared_draws": n, "compared_examples": n}
    per_class = {"draws_per_class": classes, "examples_per_class": classes}
    changed = dataclasses.replace(judged, **counts, **per_class, **changes)
    return dataclasses.replace(evaluation, samples=changed)


def test_a_good_model_is_healthy(good):
    assert not [finding for finding in findings(good) if finding.severity > 1]
    assert good.conditional.nats < good.baseline.nats
    assert "nats above that of independent values" in verdict(
        dataclasses.replace(good, latent=None, classification=None)
    )


def test_one_that_learned_nothing_is_not_usable(bits):
    measured = evaluate(made(bits, 0, backbone=MLP((8,))), bits, samples=20)
    said = verdict(measured)
    assert said.startswith("Not usable: ")
    assert "of the draws are what was asked for" in said
    assert "below that of independent values" in said


def test_spread_that_is_wrong_is_not_usable():
    rng = np.random.default_rng(0)
    y = rng.normal(size=800)
    x = (y[:, None] + rng.normal(size=(800, 12))).astype("float32")
    data = from_arrays(x, y)
    model = made(data, 0, condition=Continuous(), likelihood=Gaussian("fixed", sigma=0.01))
    model.fit(data.train.x, data.train.y, epochs=2, verbose=0)
    said = verdict(evaluate(model, data, samples=10))
    assert said.startswith("Not usable: ")
    assert "Draws are too narrow" in said


@pytest.mark.parametrize(
    ("part", "changes", "severity", "words"),
    [
        ("memorising", {"share": 0.4, "memorised": True}, 3, "40 % of the draws are copies"),
        ("latent", bound.verdict(0, 3, 0.0), 3, "Collapsed: the latent is ignored"),
        ("samples", {"judge_accuracy": 0.33}, 2, "The judge of draws is itself right about 33 %"),
        ("samples", {"on_label_accuracy": 0.33}, 3, "Only 33 % of the draws"),
        ("samples", {"on_label_accuracy": 0.85}, 2, "Only 85 % of the draws"),
        ("samples", {"judge_accuracy": 0.65, "chance": 0.6}, 2, "(a guess about 60 %)"),
        ("samples", {"on_label_per_class": {"1": 0.1}}, 3, "Only 10 % of the draws of '1'"),
        ("samples", {"on_label_per_class": {"1": 0.6}}, 2, "Only 60 % of the draws of '1'"),
        ("samples", {"recall": 0.01}, 2, "Draws of a class are alike"),
        ("samples", {"precision": 0.2}, 2, "unlike real examples: 20 % lie among them"),
        ("generalization", {"gap": 9.0, "train": -1.0}, 2, "It learned by heart"),
        ("conditional", {"nats": 9.5}, 3, "below that of independent values"),
        ("samples", {"tstr": 0.5}, 2, "A classifier that learns from draws is right about 50 %"),
        ("classification", {"calibration_error": 0.3}, 1, "p(y | x) is off by 30 %"),
    ],
)
def test_the_worst_is_named_first(good, part, changes, severity, words):
    known = of_many(good)
    changed = dataclasses.replace(getattr(known, part), **changes)
    first = findings(dataclasses.replace(known, **{part: changed}))[0]
    assert first.severity == severity
    assert words in first.text
    assert first.advice


SHOPS = {  # 200 test examples, 41 of them of one class; draws of 1,800
    "judge_accuracy": 0.75,
    "chance": 0.405,
    "on_label_accuracy": 0.697,
    "judge_per_class": {"0": 0.6, "1": 0.878, "2": 0.7, "3": 0.8},
    "on_label_per_class": {"0": 0.6, "1": 0.638, "2": 0.7, "3": 0.8},
    "judged_draws": 1800,
    "judged_examples": 200,
    "draws_per_class": {"0": 180, "1": 369, "2": 729, "3": 522},
    "examples_per_class": {"0": 20, "1": 41, "2": 81, "3": 58},
    "tstr": 0.75,
    "compared_draws": 200,
    "compared_examples": 200,
    "precision": 0.8,
    "recall": 0.8,
}


@pytest.mark.parametrize(
    ("shares", "few", "enough", "words"),
    [
        ({"on_label_accuracy": 0.66}, 200, 2000, "Only 66 % of the draws are what was asked for"),
        ({"on_label_accuracy": 0.52}, 20, 200, "Only 52 % of the draws are what was asked for"),
        ({"tstr": 0.62}, 200, 2000, "A classifier that learns from draws is right about 62 %"),
        ({"precision": 0.42}, 200, 2000, "are unlike real examples: 42 %"),
        ({"recall": 0.22}, 200, 2000, "are alike: they reach 22 %"),
        ({"judge_accuracy": 0.62, "on_label_accuracy": 0.62}, 200, 2000, "The judge of draws is"),
    ],
)
def test_what_chance_explains_is_a_remark_at_most(good, shares, few, enough, words):
    def said(n):
        counts = dict.fromkeys(("judged_examples", "compared_draws", "compared_examples"), n)
        fine = {"on_label_per_class": SHOPS["judge_per_class"], "on_label_accuracy": 0.75}
        judged = dataclasses.replace(good.samples, **(SHOPS | fine | counts | shares))
        return findings(dataclasses.replace(good, samples=judged, latent=None))

    assert words in said(enough)[0].text
    assert said(enough)[0].severity > 1
    remarks = [one for one in said(few) if words in one.text]
    assert {one.severity for one in said(few)} <= {1}
    assert len(remarks) == 1
    assert f"That may be chance: it rests on {few} examples." in remarks[0].text
    assert not [one for one in said(10) if words in one.text and one.severity > 1]


def test_of_many_classes_the_worst_falls_short_only_beyond_the_chance_of_any(good):
    def said(**changes):
        judged = dataclasses.replace(good.samples, **(SHOPS | changes))
        return verdict(dataclasses.replace(good, samples=judged, latent=None, classification=None))

    shops = said()
    assert shops.startswith("Good, with a remark: Only 63.8 % of the draws of '1'")
    assert "it rests on 41 examples. More examples to measure it on would tell." in shops
    more = {"examples_per_class": SHOPS["examples_per_class"] | {"1": 80}}
    assert said(**more).startswith("Falls short: Only 63.8 % of the draws of '1'")
    alone = {
        "judge_per_class": {"1": 0.878}, "on_label_per_class": {"1": 0.638},
    }  # fmt: skip
    assert said(**alone).startswith("Falls short: ")  # 3.08 errors: enough for one, not for four
    unknown = dict.fromkeys(("draws_per_class", "examples_per_class"))
    assert said(**unknown).startswith("Falls short: ")  # measured before these were counted
    sure = SHOPS["on_label_per_class"] | {"1": 0.57, "2": 0.48}  # the larger gap is of fewer
    assert "of '2' are that" in said(
        on_label_per_class=sure, examples_per_class=SHOPS["examples_per_class"] | {"1": 20}
    )


def test_gaps_are_those_of_the_pooled_test_of_two_shares():
    gap = Gap.between(0.638, 369, 0.878, 41)
    both = np.array([[235.4, 369 - 235.4], [36, 5]])
    statistic = stats.chi2_contingency(both, correction=False).statistic  # z squared
    assert (gap.size / gap.error) ** 2 == pytest.approx(statistic, rel=0.01)
    assert gap.exceeds(3.0)
    assert not gap._replace(of=4).exceeds(3.0)
    edge = stats.norm.isf(stats.norm.sf(3.0) / 4)
    assert Gap(edge + 1e-6, 1.0, 9, of=4).exceeds(3.0)
    assert not Gap(edge - 1e-6, 1.0, 9, of=4).exceeds(3.0)
    assert Gap.between(1.0, 50, 1.0, 50).error == 0.0
    assert not Gap.between(1.0, 50, 1.0, 50).exceeds(0.0)


def test_shares_are_written_with_their_errors(good):
    judged = dataclasses.replace(good.samples, **SHOPS)

    def written(samples):
        shown = dataclasses.replace(good, samples=samples)
        return {row.name: row.written(shown) for row in ROWS if row.section == "samples"}

    now = written(judged)
    assert now["on_label_accuracy"] == "69.7 ± 1.1 %"
    assert now["judge_accuracy"] == now["tstr"] == "75.0 ± 3.1 %"
    assert now["precision"] == now["recall"] == "80.0 ± 2.8 %"
    old = dataclasses.replace(judged, judged_draws=None)
    assert written(old)["on_label_accuracy"] == "69.7 %"
    counted = good.samples
    assert counted.judged_draws == counted.count == sum(counted.draws_per_class.values())
    assert counted.judged_examples == good.settings.examples == counted.compared_examples
    assert sum(counted.examples_per_class.values()) == counted.judged_examples


def test_idle_dimensions_are_a_fact_and_a_fault_only_beside_another(good):
    idle = dataclasses.replace(good.latent, latent_dim=3, **bound.verdict(1, 3, 5.0))
    idle = dataclasses.replace(idle, active_units=1)
    healthy = of_many(dataclasses.replace(good, latent=idle, classification=None))
    fact = "1 of 3 dimensions"
    assert verdict(healthy).startswith("Healthy: ")
    assert fact in verdict(healthy)
    unsure = dataclasses.replace(good.classification, calibration_error=0.3)
    remarked = verdict(dataclasses.replace(healthy, classification=unsure))
    assert remarked.startswith("Good, with a remark: ")
    assert remarked.endswith(f"{fact} of z carry information.")
    short = verdict(of_many(healthy, on_label_accuracy=0.5))
    assert f"{fact} of z carry information. To use more: let beta grow slowly" in short
    assert "ollapsed" not in healthy.latent.verdict + short


def everything_wrong(good, coding, place=""):
    """An evaluation in which each rule but that of copies finds something, and then with copies."""
    bad = Calibration(
        draws=9, examples=9, least_p_value=0.0, coverage_50=0.5, coverage_90=0.6, place=place
    )
    wrong = dataclasses.replace(
        of_many(good, on_label_accuracy=0.3, recall=0.1, output="mean"),
        calibration=bad,
        settings=dataclasses.replace(good.settings, coding=coding),
        classification=dataclasses.replace(good.classification, calibration_error=0.3),
        conditional=dataclasses.replace(good.conditional, nats=9.5),
        latent=dataclasses.replace(good.latent, **bound.verdict(0, 3, 0.0)),
    )
    yield wrong
    yield dataclasses.replace(wrong, latent=None)
    yield dataclasses.replace(wrong, latent=good.latent, samples=of_many(good, tstr=0.2).samples)
    copies = dataclasses.replace(good.memorising, share=0.4, memorised=True)
    gap = dataclasses.replace(good.generalization, gap=99.0, standard_error=1.0)
    yield dataclasses.replace(wrong, memorising=copies, generalization=gap)


OPTIONS = {
    "patience": "--patience",
    "own width": "--variance",
    "bounded": "--likelihood bounded",
    "overdispersed": "--likelihood negative_binomial",
    "zero-inflated": "zero_inflated",
    "warm-up": "--warmup",
    "free bits": "--free-bits",
    "lower beta": "--beta",
    "wider": "--latent-dim",
}


@pytest.mark.parametrize(
    ("coding", "place"), [("counts", ""), ("density", ""), ("density", "moment 2")]
)
def test_advice_is_of_the_command_and_not_what_the_run_has(good, coding, place):
    named, severities = set(), set()
    for measured in everything_wrong(good, coding, place):
        for improving in (None, False, True):
            said = verdict(measured, improving)
            assert not any(
                word in said for word in ("ELBO", "Warmup", "latent_dim", "RUN", "objective=")
            )
            if improving is False:
                assert "--epochs" not in said
                assert "longer" not in said.replace("training longer brings nothing", "").replace(
                    "Validation no longer improved", ""
                )
            named |= {one for one, option in OPTIONS.items() if option in said}
            has = verdict(measured, improving, has=set(OPTIONS))
            assert not [option for option in OPTIONS.values() if option in has]
            found = findings(measured, improving, has=set(OPTIONS))
            assert not {one for each in found for one in each.remedies} & set(OPTIONS)
            severities |= {one.severity for one in found}
    assert severities >= {1, 3}
    every = set(OPTIONS) - {"own width", "bounded", "overdispersed", "zero-inflated"}
    assert every <= named
    assert ({"overdispersed", "zero-inflated"} <= named) == (coding == "counts")
    assert ("own width" in named) == (coding == "density")
    assert ("bounded" in named) == (coding == "density" and not place)


@pytest.mark.parametrize(
    ("found", "severity", "words"),
    [
        ((0.5, 0.60, 0, 0.6), 3, "Draws are too narrow for the truth: 60 %"),
        ((0.5, 0.85, 0, 0.6), 2, "Draws are too narrow for the truth: 85 %"),
        ((0.5, 0.99, 0, 1.0), 3, "Draws are too wide for the truth: 99 %"),
        ((0.5, 0.90, 4, 0.4), 2, "Draws of value 5 are too narrow for the truth: 40 %"),
        ((0.5, 0.90, 4, 0.9), 2, "Draws of value 5 are of another shape"),
    ],
)
def test_no_model_whose_calibration_fails_is_healthy(good, found, severity, words):
    inside = dict(
        zip(("coverage_50", "coverage_90", "worst", "worst_coverage_90"), found, strict=True)
    )
    bad = Calibration(draws=99, examples=99, least_p_value=1e-9, **inside)
    said = verdict(dataclasses.replace(good, calibration=bad))
    assert said.startswith({3: "Not usable: ", 2: "Falls short: "}[severity])
    assert words in said
    assert "--likelihood bounded" in said
    counts = dataclasses.replace(good.settings, coding="counts")
    said = verdict(dataclasses.replace(good, calibration=bad, settings=counts))
    assert ("negative_binomial" in said, "bounded" in said) == (True, False)
    signal = dataclasses.replace(good, calibration=dataclasses.replace(bad, place="moment 5"))
    assert "(cvae plot, samples) it can be seen. --variance predicted" in verdict(signal)
    fine = verdict(
        dataclasses.replace(good, calibration=dataclasses.replace(bad, least_p_value=0.2))
    )
    assert words not in fine


@pytest.mark.parametrize("by_heart", [False, True])
@pytest.mark.parametrize("improving", [None, False, True])
def test_no_advice_of_a_verdict_contradicts_another(good, by_heart, improving):
    samples = of_many(good, on_label_accuracy=0.3, recall=0.1).samples
    away = dataclasses.replace(good.generalization, standard_error=1.0, gap=3.1 * by_heart)
    unused = dataclasses.replace(good.latent, **bound.verdict(1, 3, 5.0))
    bad = Calibration(draws=9, examples=9, least_p_value=0.0, coverage_50=0.5, coverage_90=0.6)
    parts = {"samples": samples, "generalization": away, "latent": unused, "calibration": bad}
    measured = dataclasses.replace(good, **parts)
    said, asked = verdict(measured, improving), set()
    for finding in findings(measured, improving):
        asked.update(finding.remedies)
    assert ("smaller" in asked) == by_heart
    assert ("larger" in asked) == (not by_heart)
    assert (
        ("longer" in asked) == ("Train longer" in said) == (not by_heart and improving is not False)
    )
    assert ("if validation still improved" in said) == (improving is None and not by_heart)
    assert "more latent dimensions" not in said  # of which two are idle
    wide = verdict(dataclasses.replace(measured, latent=good.latent), improving)
    assert ("Give z more dimensions" in wide) == (good.latent.state == "healthy")


def test_what_was_not_judged_is_not_called_healthy_without_a_word(good):
    unseen = dataclasses.replace(good, samples=None, classification=None, latent=None)
    assert verdict(unseen).startswith("Healthy, as far as it was measured: ")


def test_a_model_that_knows_its_examples_by_heart_is_found(rng):
    x = rng.normal(size=(60, 12)).astype("float32")
    data = from_arrays(x, rng.normal(size=(60, 12)).astype("float32"))  # which tell nothing of x
    network = {"condition": Continuous(12), "backbone": MLP((128,))}
    model = made(data, 0, likelihood=Gaussian("learned"), **network)
    model.fit(data.train.x, data.train.y, epochs=150, batch_size=32, verbose=0)
    said = verdict(evaluate(model, data, samples=5))
    assert said.startswith(("Not usable: ", "Falls short: "))
    assert "It learned by heart" in said


def test_draws_of_a_model_without_a_condition_are_calibrated_too(rng):
    x = rng.exponential(size=(900, 12)).astype("float32")
    data = from_arrays(x, None)
    model = made(data, 0, likelihood=Gaussian("learned"), backbone=MLP((8,)))
    model.fit(data.train.x, epochs=5, batch_size=64, verbose=0)
    parts = []

    def progress(items, total, description):
        parts.append(description)
        return items

    measured = evaluate(model, data, samples=5, progress=progress)
    waits = {"the ELBO", "importance sampling", "draws", "distances", "copies", "calibration"}
    assert waits == set(parts)  # none of them is silent
    assert measured.calibration.least_p_value < 0.01  # no Gaussian is exponential
    assert "Draws" in verdict(measured)
    assert verdict(measured).startswith(("Not usable: ", "Falls short: "))


def test_baselines_are_those_of_scipy(rng):
    y, asked = np.arange(40) % 2, np.array([0, 1])
    counts = rng.negative_binomial(2, 0.2, (40, 3))
    found = Independent.of((counts, y), (counts[:2], asked), "counts")
    each = []
    for k in asked:
        mean, variance = counts[y == k].mean(0), counts[y == k].var(0)
        mean = (20 * mean + 0.5) / 21
        size = mean**2 / (variance - mean)
        each.append(stats.nbinom.logpmf(counts[k], size, size / (size + mean)).sum())
    assert found.nats == pytest.approx(-np.mean(each))
    line = rng.normal(size=40)
    x = 3.0 * line[:, None] + rng.normal(size=(40, 2))
    fit = stats.linregress(line, x[:, 0])
    own = Independent.of((x[:, :1], line), (x[:1, :1], line[:1]), "density")
    rest = x[:, 0] - fit.intercept - fit.slope * line
    assert own.nats == pytest.approx(-stats.norm.logpdf(rest[0], 0, rest.std()))
    levels = np.arange(8.0)[:, None]
    total = [Independent.of((levels, None), (levels[i : i + 1], None), 8).nats for i in range(8)]
    assert np.exp(-np.array(total)).sum() == pytest.approx(1.0)  # a distribution


def test_independent_values_are_scored_by_hand():
    x, y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]), np.array([0, 1, 1])
    found = Independent.of((x, y), (x[:1], y[:1]), "binary")
    assert found.nats == pytest.approx(-np.log(2 / 3) - np.log(2 / 3))
    values = np.array([[-1.0], [1.0]])
    found = Independent.of((values, None), (values, None), "density")
    assert found.nats == pytest.approx(0.5 * np.log(2 * np.pi) + 0.5)
    constant = np.full((3, 1), 0.1)  # whose mean in floating point is another number
    assert constant.var() > 0
    for condition in (None, np.array([0.0, 1.0, 3.0])):
        of = (constant, condition)
        assert Independent.of(of, of, "density") is None
