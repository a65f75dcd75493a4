# %% [markdown]
# # My own networks and my own likelihood, in thirty lines
#
# Three sensors read what depends on a temperature. Their errors have heavier tails than a Gaussian: they are Laplace distributed,
# and that is no likelihood of the package.

# %%
import keras_cvae  # before Keras, whose backend it chooses  # isort: skip

import keras
import numpy as np
from keras import layers, ops

from keras_cvae.probability.distributions import Independent
from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood

rng = np.random.default_rng(0)
temperature = rng.uniform(-1, 1, 6000)
true_mean = np.stack([temperature, temperature**2, np.sin(3 * temperature)], axis=1)
x = true_mean + rng.laplace(scale=0.1, size=(6000, 3))

# %% [markdown]
# **A likelihood** makes a distribution of the decoder's output: log p of each value, its mean, and a draw as a function of a number
# from U(0, 1). Nothing else has to know of it.


# %%
class LaplaceValues(Independent):
    def __init__(self, center, log_scale):
        self.center, self.log_scale = center, log_scale

    def log_density(self, x):
        return -ops.abs(x - self.center) * ops.exp(-self.log_scale) - self.log_scale - np.log(2.0)

    def mean(self):
        return self.center

    def sample(self, uniforms):
        u = uniforms - 0.5
        return self.center - ops.exp(self.log_scale) * ops.sign(u) * ops.log1p(-2 * ops.abs(u))


@LIKELIHOODS.register("laplace")
class Laplace(Likelihood):
    parameters_per_value = 2

    def distribution(self, parameters, training=False):
        return LaplaceValues(*ops.split(parameters, 2, axis=-1))


# %% [markdown]
# **Networks** are two Keras models: the encoder takes x and the condition's features and gives mean and log-variance, the decoder
# takes z and the features and gives the likelihood's parameters. Wrong shapes are refused, with those that are expected.


# %%
def networks(parameters):
    x, y, z = keras.Input((3,)), keras.Input((1,)), keras.Input((2,))
    h = layers.Dense(64, "gelu")(layers.Concatenate()([x, y]))
    encoder = keras.Model([x, y], [layers.Dense(2)(h), layers.Dense(2)(h)])
    h = layers.Dense(64, "gelu")(layers.Dense(64, "gelu")(layers.Concatenate()([z, y])))
    return {"encoder": encoder, "decoder": keras.Model([z, y], layers.Dense(parameters)(h))}


def trained(likelihood, parameters):
    keras.utils.set_random_seed(0)
    model = keras_cvae.ConditionalVAE(
        (3,), keras_cvae.Continuous(), 2, likelihood=likelihood, **networks(parameters), seed=0
    )
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(x[:5000], temperature[:5000], batch_size=100, epochs=30, verbose=0)
    return model


laplace = trained("laplace", 6)
gaussian = trained(keras_cvae.Gaussian("predicted"), 6)

# %% [markdown]
# log p of readings that were not seen, beside the truth, which is known here.

# %%
test, at = x[5000:], temperature[5000:]
truth = (-np.abs(test - true_mean[5000:]) / 0.1 - np.log(0.2)).sum(axis=1).mean()
for name, model in (("Laplace", laplace), ("Gaussian", gaussian)):
    print(f"{name:>8}: {model.log_prob(test, at, num_samples=100).mean:.2f} nats")
print(f"   truth: {truth:.2f} nats")

# %% [markdown]
# A file that names your classes is loaded once you say that you trust it.

# %%
laplace.save("sensors.keras")
again = keras_cvae.load("sensors.keras", trusted=True)
print("drawn at 0.5:", again.generate(0.5, n=1000, output="sample", seed=0).mean(axis=0).round(2))
print("   the truth:", np.round([0.5, 0.25, np.sin(1.5)], 2))
