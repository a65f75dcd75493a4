"""A few labels spread over features that were learned without labels; needs JAX.

pretrained  a CNN that tells two changes of one image from those of others (Chen et al. 2020)
graph       who is near whom, by these features
spread      labels along that graph (Zhou et al. 2004), as many of each class
Training    whole epochs in one compiled program: a GPU waits for nothing
"""

import time
from functools import partial

import jax
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

# isort: split
import keras
from keras import layers, ops


def body(shape, widths, depth=1):
    """A CNN from images to features: `depth` convolutions at each width, half the size each."""
    x = inputs = keras.Input(shape)
    for width in widths:
        for place in range(depth):
            x = layers.Conv2D(width, 3, 1 if place else 2, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Flatten()(x))


class Training:
    """Trains a model of bytes on arrays, the first of which is x: `loss(outputs, *others)`.

    The optimizer begins anew with every call, so that one compiled program serves many seeds.
    """

    def __init__(self, model, loss, epochs, steps, batch_size, rate):
        self.model, self.loss, self.epochs, self.steps = model, loss, epochs, steps
        self.batch_size, total = batch_size, epochs * steps
        rates = keras.optimizers.schedules.CosineDecay(
            0.0, total, warmup_target=rate, warmup_steps=max(1, total // 20)
        )
        self.optimizer = keras.optimizers.AdamW(rates, weight_decay=1e-4)
        self.optimizer.build(model.trainable_variables)
        self.epoch = over(self._step)

    def __call__(self, *arrays, seed=0):
        """Returns the last epoch's mean loss."""
        rng = np.random.default_rng(seed)
        data = [jax.device_put(each) for each in arrays]
        model, optimizer = self.model, self.optimizer
        parts = model.trainable_variables, model.non_trainable_variables, optimizer.variables
        state = tuple([variable.value for variable in part] for part in parts)
        for _ in range(self.epochs):
            order = rng.permutation(len(arrays[0]))[: self.steps * self.batch_size]
            state, losses = self.epoch(data, state, order.reshape(self.steps, self.batch_size))
        for part, values in zip(parts[:2], state[:2], strict=True):
            for variable, value in zip(part, values, strict=True):
                variable.assign(value)
        return float(np.mean(losses))

    def _step(self, data, state, places):
        weights, others, moments = state
        gradient = jax.value_and_grad(self._objective, has_aux=True)
        (loss, others), found = gradient(weights, others, [each[places] for each in data])
        weights, moments = self.optimizer.stateless_apply(moments, found, weights)
        return (weights, others, moments), loss

    def _objective(self, weights, others, batch):
        x = ops.cast(batch[0], "float32") / 255.0
        outputs, others = self.model.stateless_call(weights, others, x, training=True)
        return self.loss(outputs, *batch[1:]), others


def over(step):
    """An epoch of steps in one program; on CPUs XLA is slow at convolutions in a loop: a step."""
    if jax.default_backend() != "cpu":
        return jax.jit(lambda data, state, order: jax.lax.scan(partial(step, data), state, order))
    alone = jax.jit(step)

    def one_by_one(data, state, order):
        losses = []
        for places in order:
            state, loss = alone(data, state, places)
            losses.append(float(loss))
        return state, losses

    return one_by_one


class Inked(layers.Layer):
    """Half of the pictures thinner, half thicker, each by up to a pixel."""

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed, self.random = seed, keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        if not training:
            return x
        u = keras.random.uniform((ops.shape(x)[0], 1, 1, 1), -1.0, 1.0, seed=self.random)
        thick, thin = (sign * ops.max_pool(sign * x, 2, 1, padding="same") for sign in (1, -1))
        return x + ops.relu(u) * (thick - x) + ops.relu(-u) * (thin - x)

    def get_config(self):
        return super().get_config() | {"seed": self.seed}


class Twice(layers.Layer):
    """Each picture changed, and once more, below all others."""

    def __init__(self, change, **kwargs):
        super().__init__(**kwargs)
        self.change = change

    def call(self, x, training=False):
        return self.change(ops.concatenate([x, x]), training=training)


def nt_xent(z, temperature=0.2):
    """Minus log of how likely a change finds the other one of its picture among all; (2 n, d)."""
    z = z / ops.norm(z, axis=1, keepdims=True)
    n = z.shape[0] // 2
    logits = ops.matmul(z, ops.transpose(z)) / temperature - 1e9 * ops.eye(2 * n)
    other = ops.concatenate([ops.arange(n, 2 * n), ops.arange(n)])
    return ops.mean(ops.sparse_categorical_crossentropy(other, logits, from_logits=True))


def pretrained(x, change, widths, depth, epochs, batch_size, rate):
    """The body, trained on x without labels."""
    network = body(x.shape[1:], widths, depth)
    inputs = keras.Input(x.shape[1:])
    h = layers.Dense(128, "relu")(network(Twice(change)(inputs)))
    model = keras.Model(inputs, layers.Dense(64)(h))
    started = time.perf_counter()
    loss = Training(model, nt_xent, epochs, len(x) // batch_size, batch_size, rate)(x)
    print(f"features: loss {loss:.3f} ({time.perf_counter() - started:.0f} s)", flush=True)
    return network


def graph(features, neighbours=10):
    """D^-1/2 W D^-1/2: W is how near the nearest neighbours are, by the angle of features."""
    features = jax.numpy.asarray(features)
    features = features / ops.norm(features, axis=1, keepdims=True)

    @jax.jit
    def nearest(rows, features):
        cosines = jax.numpy.matmul(rows, features.T, precision="highest")
        return jax.lax.top_k(cosines, neighbours + 1)

    parts = [nearest(features[i : i + 1000], features) for i in range(0, len(features), 1000)]
    cosines, places = (np.concatenate(each) for each in zip(*parts, strict=True))
    apart = np.maximum(1 - cosines[:, 1:], 0)  # the nearest is oneself
    weights, places = np.exp(-apart / apart.mean()), places[:, 1:]
    starts = np.arange(0, places.size + 1, places.shape[1])
    near = sparse.csr_array((weights.ravel(), places.ravel(), starts), shape=[len(places)] * 2)
    near = near.maximum(near.T)
    scale = sparse.diags_array(1 / np.sqrt(near.sum(axis=1)))
    return (scale @ near @ scale).tocsr()


def spread(near, known, alpha=0.99):
    """p(y) of everyone `(n, 10)`: what arrives of each label, scaled to as many of each class."""
    start = np.eye(10)[known] * (known >= 0)[:, None]
    remains = sparse.eye_array(len(known)) - alpha * near
    p = np.stack([cg(remains, column, rtol=1e-4)[0] for column in start.T], axis=1)
    p = np.maximum(p, 1e-9 * p.max())
    for _ in range(20):
        p = p / p.sum(axis=0)
        p = p / p.sum(axis=1, keepdims=True)
    return p
