import numpy as np
import pytest
from keras import ops

from keras_cvae import ConditionalNormal, Optional
from keras_cvae.networks.topdown import TopDown
from numerics import numpy


@pytest.fixture(scope="module")
def model(small):
    """A model of two groups, whose conditions may be missing; what is drawn leaves it as it is."""
    y = np.arange(40) % 3
    x = (np.random.default_rng(0).random((40, 6)) < 0.2 + 0.3 * y[:, None]).astype("float32")
    model = small(
        condition=Optional(3, dropout=0.5),
        latent_dim=[2, 1],
        prior=ConditionalNormal((4,), "tanh"),
    )
    model.fit(x, y, epochs=3, verbose=0)
    return model


@pytest.mark.further
def test_one_is_the_model_and_zero_is_without_the_condition(model):
    plain = model.generate(1, 4, seed=0)
    np.testing.assert_allclose(model.generate(1, 4, seed=0, guidance=1.0), plain)
    without = model.generate(None, 2, temperature=0.0)
    np.testing.assert_allclose(
        model.generate(1, 2, temperature=0.0, guidance=0.0), without, atol=1e-6
    )


@pytest.mark.further
@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_means_and_logits_are_extrapolated(model, weight):
    """Against the formula, written out for one example and two groups."""
    prior = model.prior.prior
    given, free = (model.condition.features(np.array([k], "int32")) for k in (1, -1))

    def towards(a, b):
        return a + weight * (b - a)

    groups = []
    for g in range(2):
        means = []
        for features in (free, given):
            state = prior.begin(features)
            for h, z in enumerate(groups):
                state = prior.descend(h, state, ops.convert_to_tensor(z))
            means.append(numpy(prior.conditional(g, state).mean))
        groups.append(towards(*means))
    z = ops.convert_to_tensor(np.concatenate(groups, axis=-1))
    logits = towards(*(numpy(model.decoder.parameters(z, f)) for f in (free, given)))
    found = model.generate(1, temperature=0.0, guidance=weight)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.further
def test_samples_are_guided_too(model):
    drawn = model.generate([0, 2], 3, seed=0, guidance=2.0, output="sample", batch_size=4)
    assert drawn.shape == (6, 6)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    again = model.generate([0, 2], 3, seed=0, guidance=2.0, output="sample")
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.further
def test_a_top_down_network_is_guided(small, data):
    x, y = data
    model = small(
        condition=Optional(3, dropout=0.5), latent_dim=[2, 2], backbone=TopDown(8), prior=None
    )
    model.fit(x, y, epochs=1, verbose=0)
    without = model.generate(None, 2, temperature=0.0)
    zero, two = (model.generate(1, 2, temperature=0.0, guidance=w) for w in (0.0, 2.0))
    np.testing.assert_allclose(zero, without, atol=1e-6)
    assert np.abs(two - zero).max() > 1e-4


@pytest.mark.further
@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_bad_weights_are_refused(model, weight):
    with pytest.raises(ValueError, match="guidance: received"):
        model.generate(1, guidance=weight)


def test_nothing_to_guide_away_from(small):
    with pytest.raises(ValueError, match="no condition that could be left out"):
        small(condition=None).generate(n=2, guidance=2.0)


@pytest.mark.further
def test_a_prior_without_a_condition_is_guided_where_the_decoder_has_one(small, data):
    model = small(condition=Optional(3, dropout=0.5), latent_dim=2, prior="standard")
    model.fit(*data, epochs=1, verbose=0)
    plain, guided = (model.generate(1, 4, seed=0, guidance=w) for w in (1.0, 3.0))
    assert guided.shape == plain.shape
    assert np.isfinite(guided).all()
    assert not np.allclose(guided, plain)
