# %% [markdown]
# # Which of these are outliers, and how sure is that?
#
# `score` is log p(x | y); with the scores of normal examples as a reference it is a p-value: the share of normal examples that are
# as unlikely.

# %%
import numpy as np

import keras_cvae
from keras_cvae import MLP, ConditionalVAE
from keras_cvae.figures.writing import save_tiles

data = keras_cvae.load_data("digits", validation=0.3)
x, y = data.train.floats(), data.train.y
model = ConditionalVAE(
    (8, 8, 1), 10, latent_dim=8, likelihood="gaussian", backbone=MLP((128,)), seed=0
)
model.compile("adam")
model.fit(x, y, batch_size=64, epochs=30, verbose=0)

# %% [markdown]
# The reference was not trained on: what a model has seen it finds too likely. The more there are, the surer a p-value is.

# %%
normal = data.validation
reference = model.score(normal.floats(), normal.y, num_samples=50)

# %% [markdown]
# Four groups that were not trained on either. Of normal pictures, about 5 % are called outliers at a level of 0.05, as it should be:
# with 431 in the reference and 359 here, give or take 1.6.

# %%
test, labels = data.test.floats(), data.test.y
noise = np.random.default_rng(0).random(test.shape)
found = {}
for name, pictures, claimed in (
    ("normal", test, labels),
    ("noise", noise, labels),
    ("upside down", test[:, ::-1], labels),
    ("wrong label", test, (labels + 1) % 10),
):
    found[name] = model.score(pictures, claimed, num_samples=50, reference=reference)
    print(f"{name:>12}: {(found[name] < 0.05).mean():4.0%} of {len(pictures)} have p < 0.05")

# %% [markdown]
# Some digits stand on their head as well as on their feet. How many of each are called outliers, upside down:

# %%
for digit in range(10):
    print(digit, f"{(found['upside down'][labels == digit] < 0.05).mean():4.0%}")

# %% [markdown]
# The normal pictures that it finds least likely, with their labels: odd ones rather than wrong ones.

# %%
oddest = np.argsort(model.score(test, labels, num_samples=50))[:10]
print(labels[oddest])
save_tiles(test[oddest], "oddest.png", columns=10)
