"""Drawing in one compiled step gives what prior and decoder give one after the other."""

import numpy as np
import pytest

from keras_cvae import CategoricalValues
from keras_cvae.inference import drawing


@pytest.mark.parametrize("condition", [None, 3])
def test_chunks_are_prior_then_decoder(condition, small, monkeypatch):
    model = small(condition=condition, prior="conditional", latent_dim=[1, 1], compiled=False)
    for weight in model.prior.trainable_variables:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    asked, n = (None, 46) if condition is None else ([0, 2], 23)
    expected = model.decode(
        model.sample_prior(asked, n, seed=7), None if asked is None else np.repeat(asked, n)
    )
    for batch_size, values in ((None, drawing.VALUES), (4, drawing.VALUES), (8, 2 * 8 * 6)):
        monkeypatch.setattr(drawing, "VALUES", values)
        x = model.generate(asked, n, seed=7, batch_size=batch_size)
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_calls_are_few_and_bounded(small, monkeypatch):
    model = small(condition=None, likelihood=CategoricalValues(2), compiled=False)
    sizes, original = [], drawing.Means.predict_on_batch

    def predict_on_batch(self, inputs):
        sizes.append(inputs["noise"].shape)
        return original(self, inputs)

    monkeypatch.setattr(drawing.Means, "predict_on_batch", predict_on_batch)
    assert model.generate(n=100, batch_size=8).shape == (100, 6)
    assert sizes == [(13, 8, 2)]
    monkeypatch.setattr(drawing, "VALUES", 5 * 8 * 12)
    sizes.clear()
    assert model.generate(n=100, batch_size=8).shape == (100, 6)
    assert sizes == 3 * [(5, 8, 2)]


def test_samples_do_not_depend_on_the_chunks(small):
    model = small(compiled=False)
    one, other = (model.generate(1, 50, seed=3, output="sample", batch_size=b) for b in (64, 8))
    assert np.mean(one == other) > 0.99  # rounding may turn a coin
