"""What devices that share a batch tell each other: one array a step, where rows are apart."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from keras_cvae import (
    MLP,
    ConditionalVAE,
    Conv,
    Gaussian,
    SemiSupervisedCVAE,
    TopDown,
)
from keras_cvae.devices import Rows
from keras_cvae.probability.likelihoods import Columns

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="of JAX alone")


def own(hidden):
    """A model whose encoder is a network of one's own."""
    x, features = keras.Input((4,)), keras.Input((3,))
    h = hidden(layers.Concatenate()([x, features]))
    outputs = [layers.Dense(2)(h), layers.Dense(2)(h)]
    encoder = keras.Model([x, features], outputs)
    return ConditionalVAE((4,), 3, 2, encoder=encoder, backbone=MLP((4,)))


APART = {
    "dense": lambda: ConditionalVAE((4,), 3, 2, backbone=MLP((4,))),
    "conv": lambda: ConditionalVAE((4, 4, 1), 3, 2, backbone=Conv((2,), units=4)),
    "topdown": lambda: ConditionalVAE((4,), 3, [1, 1], backbone=TopDown(4)),
    "best variance": lambda: ConditionalVAE((4,), 3, 2, likelihood=Gaussian("optimal")),
    "own, dense": lambda: own(layers.Dense(3)),
}
TOGETHER = {
    "own, batch norm": lambda: own(layers.BatchNormalization()),
    "own, dropout": lambda: own(layers.Dropout(0.5)),
    "own, all rows": lambda: own(lambda h: h - keras.ops.mean(h, axis=0)),
    "own, a layer": lambda: own(layers.Lambda(lambda h: h)),
    "some labels": lambda: SemiSupervisedCVAE((4,), 3, 2, backbone=MLP((4,))),
    "columns": lambda: ConditionalVAE((2,), latent_dim=0, likelihood=Columns([[0.5, 0.5]] * 2)),
}


@pytest.mark.parametrize("name", [*APART, *TOGETHER])
def test_where_rows_may_meet_the_batch_stays_whole(name):
    assert (APART | TOGETHER)[name]()._rows_apart() == (name in APART)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_sends_one_array_of_gradients_and_sums(weighted):
    """One of extremes where it looks at the data, and the total of weights where there are any."""
    import jax

    model = ConditionalVAE((4,), 3, 2, backbone=MLP((4,)), seed=0)
    model.compile("adam")
    model.divided = Rows(jax.sharding.Mesh(np.array(jax.devices()[:1]), ("rows",)), "rows")
    batch = (np.ones((6, 4), "float32"), np.arange(6) % 3, *[np.ones(6, "float32")] * weighted)
    state = model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )
    sent = re.findall(
        r"\b(psum|all_gather)\w*\[", str(jax.make_jaxpr(model.train_step)(state, batch))
    )
    model.divided = None
    assert sorted(sent) == ["all_gather"] + ["psum"] * (1 + weighted)
