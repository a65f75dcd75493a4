"""The columns likelihood: probabilities that sum to one with any part known, by enumeration."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvae.probability.likelihoods.columns import IMPOSSIBLE, Columns, drawn
from numerics import answer, compiled, log_prob

SHARES = [
    [[0.2, 0.5, 0.3]],
    [[0.4, 0.6]],
    [[0.5, 0.5, 0.0], [0.0, 0.3, 0.7]],  # given the column before
    [[0.1, 0.2, 0.3, 0.4]],
]
ALL = np.array(list(itertools.product(range(3), range(2), range(3), range(4))), "float32")


def _net(context=0, **options):
    options = {"hidden": 8, "layers": 1, "frequencies": 1, "seed": 0} | options
    net = Columns(
        SHARES, [None, None, 1, None], [0, 1, 1, 2], [True, False, False, True], context, **options
    )
    rng = np.random.default_rng(0)
    for weight in net.trainable_variables:  # far from where training starts
        weight.assign(weight + rng.normal(size=weight.shape).astype("float32"))
    return net


@functools.cache
def _given(net):
    def log_p(x, values, known, parameters):
        return net.distribution(parameters).given(values, ops.cast(known, "bool")).log_prob(x)

    return log_p


def _log_prob(net, x, values=None, known=None, parameters=None):
    parameters = np.zeros((len(x), net.context), "float32") if parameters is None else parameters
    if known is None:
        return log_prob(net, x, parameters)
    return compiled(_given(net), x, values, known, parameters)


@functools.cache
def _scored(net):
    def scored(x):
        return net.distribution(ops.zeros((len(x), 0)), training=True).log_prob(x)

    return scored


def _training(net, x):
    """What a step scores of x."""
    return compiled(_scored(net), x)


@pytest.fixture(scope="module")
def net():
    return _net()


@pytest.mark.further
@pytest.mark.parametrize("known", list(itertools.product([False, True], repeat=3)))
def test_probabilities_sum_to_one_whatever_is_known(net, known):
    known = np.array([known[0], known[1], known[1], known[2]])  # of one table's column: both
    row = np.array([2, 1, 2, 0], "float32")
    possible = (ALL[:, known] == row[known]).all(axis=1)
    log_p = _log_prob(net, ALL, np.broadcast_to(row, ALL.shape), known[None])
    assert np.exp(log_p[possible]).sum() == pytest.approx(1.0, abs=1e-5)


def test_what_cannot_be_has_no_probability(net):
    log_p = _log_prob(net, ALL)
    never = (ALL[:, 1] == 0) & (ALL[:, 2] == 2) | (ALL[:, 1] == 1) & (ALL[:, 2] == 0)
    assert (log_p[never] < 0.5 * IMPOSSIBLE).all()
    assert (log_p[~never] > -100).all()


@pytest.mark.further
def test_an_untrained_network_has_the_shares_and_no_dependence():
    net = Columns(SHARES, [None, None, 1, None], seed=0)
    net.head.assign(np.zeros(net.head.shape))
    p = [np.asarray(share) for share in SHARES]
    a, b, c, d = ALL.astype(int).T
    with np.errstate(divide="ignore"):
        expected = np.log(p[0][0, a] * p[1][0, b] * p[2][b, c] * p[3][0, d])
    possible = np.isfinite(expected)
    np.testing.assert_allclose(_log_prob(net, ALL)[possible], expected[possible], rtol=1e-4)


def test_the_chain_rule_is_what_one_pass_for_each_column_gives(net):
    def scores(x, seen):
        embedded = net.embed(x, ops.cast(seen, "bool"))
        return net.scores(x, net.hidden_units(embedded, ops.zeros((len(ALL), 0))))

    total = np.zeros(len(ALL))
    for i in range(4):
        total += compiled(scores, ALL, np.broadcast_to(np.arange(4) < i, ALL.shape))[:, i]
    possible = total > 0.5 * IMPOSSIBLE
    np.testing.assert_allclose(_log_prob(net, ALL)[possible], total[possible], rtol=1e-4)


def test_cells_that_are_not_observed_are_neither_seen_nor_scored(net):
    gap = ALL.copy()
    gap[:, 0] = -1
    both = np.unique(gap, axis=0)
    assert np.exp(_log_prob(net, both)).sum() == pytest.approx(1.0, abs=1e-5)
    assert _log_prob(net, np.full((1, 4), -1.0, "float32")) == 0.0


def test_draws_have_the_probabilities(net):
    n = 20_000
    x = answer(net, "sample", np.zeros((n, 0)), np.random.default_rng(0).random((n, 4), "float32"))
    rows = {tuple(row): i for i, row in enumerate(ALL)}
    found = np.bincount([rows[tuple(row)] for row in x], minlength=len(ALL)) / n
    expected = np.exp(_log_prob(net, ALL))
    assert np.abs(found - expected).sum() / 2 < 0.03
    assert (found[expected < 1e-30] == 0).all()


@pytest.mark.further
def test_draws_keep_what_is_known(net):
    n = 4_000
    values = np.tile(np.array([-1, 1, 2, -1], "float32"), (n, 1))
    known = values >= 0

    def answers(uniforms):
        p = net.distribution(ops.zeros((n, 0))).given(values, known)
        return p.sample(uniforms), p.mean()

    x, likely = compiled(answers, np.random.default_rng(1).random((n, 4), "float32"))
    assert (x[:, 1:3] == [1, 2]).all()
    rest = ALL[(ALL[:, 1] == 1) & (ALL[:, 2] == 2)]
    expected = np.exp(_log_prob(net, rest, np.broadcast_to(values[0], rest.shape), known[:1]))
    found = [(x == row).all(axis=1).mean() for row in rest]
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert (likely == likely[0]).all()
    assert (likely[:, 1:3] == [1, 2]).all()


def test_a_walk_in_another_order_is_a_distribution_as_well(net):
    order = np.array([3, 1, 2, 0], "int32")
    nothing = np.zeros(ALL.shape, bool)

    def log_p(steps):
        def walked(x):
            walk = net.walk(ops.zeros((len(ALL), 0)), x, nothing, order=order, steps=steps)
            return walk.log_p

        return compiled(walked, ALL)

    assert np.exp(log_p(None)).sum() == pytest.approx(1.0, abs=1e-5)
    p = {level: np.exp(log_p) for level, log_p in zip(ALL[:, 3], log_p(1), strict=True)}
    assert sum(p.values()) == pytest.approx(1.0, abs=1e-5)


def test_draws_are_restricted_to_what_is_wanted(net):
    """A restricted walk is a distribution; its weights give the probability of what is wanted."""
    share = [np.ones_like(s) for s in net.shares]
    share[0] = np.array([[0.0, 1.0, 0.5]])  # of level 2, half of the values
    share[3] = np.array([[1.0, 0.0, 1.0, 0.0]])
    half = np.where(ALL[:, 0] == 2, 0.5, ALL[:, 0] == 1) * np.isin(ALL[:, 3], [0, 2])
    how = {"order": np.array([0, 3, 1, 2], "int32"), "wanted": net.table(share)}
    nothing = np.zeros(ALL.shape, bool)

    def walked(x):
        walk = net.walk(ops.zeros((len(ALL), 0)), x, nothing, **how)
        return walk.log_p, walk.log_share

    log_p, log_share = (part.astype(float) for part in compiled(walked, ALL))
    q = half * np.exp(np.where(half > 0, log_p - log_share, 0.0))
    assert q.sum() == pytest.approx(1.0, abs=1e-5)
    joint = np.exp(_log_prob(net, ALL))
    possible = (half > 0) & (joint > 0)
    weight = joint[possible] / np.exp(log_p - log_share)[possible]
    assert np.sum(q[possible] * weight) == pytest.approx(np.sum(joint * half), rel=1e-4)

    def draws(uniforms):
        return net.walk(
            ops.zeros((500, 0)),
            ops.full((500, 4), -1.0),
            ops.zeros((500, 4), "bool"),
            lambda i, law: drawn(law, ops.take(uniforms, i, axis=1)),
            **how,
        ).x

    x = compiled(draws, np.random.default_rng(2).random((500, 4), "float32"))
    assert set(x[:, 0]) == {1, 2}
    assert set(x[:, 3]) == {0, 2}


@pytest.mark.further
def test_training_scores_a_random_part_that_stands_for_all():
    """At the shares, where what is seen changes nothing, its mean over many steps is log p."""
    net = Columns([SHARES[0], SHARES[1], SHARES[3]], seed=0, dropout=0.0)
    net.head.assign(np.zeros(net.head.shape))
    x = np.repeat(np.array([[2, 1, 0]], "float32"), 6_000, axis=0)
    values, known = np.array([[0, 1, 0]], "float32"), np.array([[False, True, True]])

    def scored(x):
        p = net.distribution(ops.zeros((6_000, 0)), training=True)
        return p.log_prob(x), p.given(values, known).log_prob(x)

    part, given = compiled(scored, x)
    assert len(np.unique(np.round(part, 4))) > 3
    assert part.mean() == pytest.approx(_log_prob(net, x)[0], rel=0.1)
    np.testing.assert_allclose(given, np.log(0.3), rtol=1e-4)


@pytest.mark.further
@pytest.mark.parametrize("blocks", [1, 2])
def test_columns_of_one_step_do_not_see_each_other(blocks):
    """They are still a distribution, with any part known, and draws have its probabilities."""
    net = _net(blocks=blocks)
    p = np.exp(_log_prob(net, ALL))
    assert p.sum() == pytest.approx(1.0, abs=1e-5)
    table = p.reshape(3, 2, 3, 4)
    first, second = table.sum((1, 2, 3)), table.sum((0, 2, 3))
    np.testing.assert_allclose(table.sum((2, 3)), np.outer(first, second), atol=1e-5)
    independent = np.allclose(table.sum((1, 2)), np.outer(first, table.sum((0, 1, 2))), atol=1e-5)
    assert independent == (blocks == 1)
    known = np.array([False, False, False, True])
    rest = ALL[ALL[:, 3] == 2]
    log_p = _log_prob(net, rest, np.broadcast_to(rest[0], rest.shape), known[None])
    assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-5)

    uniforms = np.random.default_rng(0).random((10_000, 4), "float32")
    x = answer(net, "sample", np.zeros((10_000, 0)), uniforms)
    found = np.array([(x == row).all(axis=1).mean() for row in ALL])
    assert np.abs(found - p).sum() / 2 < 0.04


@pytest.mark.further
@pytest.mark.parametrize("blocks", [None, 2])
def test_every_column_counts_once_in_training(blocks):
    """The weights of what is scored add up to one for each column, in the mean over many steps."""
    net = Columns(SHARES, [None, None, 1, None], [0, 1, 1, 2], blocks=blocks, hidden=4, seed=0)
    net.head.assign(np.zeros(net.head.shape))
    for gap in (None, 0, 3):
        x = np.tile(np.array([[1, 1, 2, 3]], "float32"), (20_000, 1))
        if gap is not None:
            x[:, gap] = -1
        part = _training(net, x)
        error = part.std() / np.sqrt(len(x))
        assert part.mean() == pytest.approx(_log_prob(net, x[:1])[0], abs=4 * error), gap


def test_a_context_reaches_the_logits():
    net = _net(context=3)
    parameters = np.random.default_rng(0).normal(size=(2, len(ALL), 3)).astype("float32")
    log_p = _log_prob(net, ALL, parameters=parameters)
    assert log_p.shape == (2, len(ALL))
    assert not np.allclose(log_p[0], log_p[1])
    same = np.broadcast_to(parameters[:, :1], parameters.shape)
    total = np.exp(_log_prob(net, ALL, parameters=np.ascontiguousarray(same))).sum(axis=1)
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_a_configuration_makes_the_same_network(net):
    again = Columns.from_config(net.get_config())
    for mine, other in zip(again.trainable_variables, net.trainable_variables, strict=True):
        mine.assign(other)
    np.testing.assert_allclose(_log_prob(again, ALL), _log_prob(net, ALL))
    assert keras.saving.get_registered_name(Columns) == "keras_cvae>Columns"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shares": SHARES}, r"Column 2 has shares \(2, 3\) and the parent None"),
        ({"shares": SHARES[:2], "parents": [1, None]}, r"Column 0 .* the parent 1"),
        ({"shares": [[[0.5, 0.6]]]}, "expected shares that sum to 1"),
        ({"shares": SHARES[:2], "groups": [0]}, "groups: received 1, expected one for each of 2"),
        ({"shares": SHARES[:1], "dropout": -1}, "dropout: received -1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Columns(**arguments)


def test_data_that_do_not_fit_are_refused(net):
    assert net.parameter_shape((4,)) == (0,)
    with pytest.raises(ValueError, match=r"levels of 4 columns, \(4,\). Received .* \(5,\)"):
        net.parameter_shape((5,))
    with pytest.raises(ValueError, match=r"levels 0 to 1 in column 1, .* Received 2 in row 1"):
        net.check(np.array([[0, 1, 0, 0], [0, 2, 0, 0]]))
    net.check(np.array([[-1, 1, 0, 0]]))
