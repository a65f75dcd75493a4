"""Steps between x and z: what they give does not depend on how they are cut and compiled."""

import numpy as np
import pytest

from keras_cvae.inference import steps


@pytest.mark.further
@pytest.mark.parametrize("condition", [None, 3])
def test_drawing_is_prior_then_decoder(condition, small):
    model = small(condition=condition, prior="conditional", latent_dim=[1, 1], compiled=False)
    for weight in model.prior.trainable_variables:
        weight.assign(np.random.default_rng(0).normal(scale=0.2, size=weight.shape))
    asked, n = (None, 46) if condition is None else ([0, 2], 23)
    expected = model.decode(
        model.sample_prior(asked, n, seed=7), None if asked is None else np.repeat(asked, n)
    )
    for batch_size in (None, 4, 7):
        x = model.generate(asked, n, seed=7, batch_size=batch_size)
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


def test_samples_do_not_depend_on_the_batches(small):
    model = small(compiled=False)
    one, other = (model.generate(1, 50, seed=3, output="sample", batch_size=b) for b in (64, 8))
    assert np.mean(one == other) > 0.99  # rounding may turn a coin


def test_any_number_of_rows_uses_few_sizes():
    """Each size is compiled; the rows that fill the last batch are computed in vain."""
    sizes = set()
    for n in [*range(1, 70), *range(70, 40 * 1024, 7)]:
        size = steps.batch_size(n, 1024)
        sizes.add(size)
        assert size <= 1024
        assert -n % size <= max(n / 8, steps.EXAMPLES)
    assert sizes == {2**k for k in range(11)}
    assert {steps.batch_size(n, 100) for n in range(1, 1000)} == {1, 2, 4, 8, 16, 32, 64, 100}


def test_batches_are_no_larger_than_asked(small):
    """The last one is filled up with other rows; these are not given back."""
    model, seen = small(condition=None, compiled=False), []

    def count(model, inputs):
        seen.append(inputs["z"].shape[0])
        return inputs["z"][:, 0]

    z = np.arange(20, dtype="float32").reshape(10, 2)
    found = steps.Snapshot(model).whole(count, {"z": z}, 4)
    np.testing.assert_array_equal(found, z[:, 0])
    assert set(seen) == {4}
