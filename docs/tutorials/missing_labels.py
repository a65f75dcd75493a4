# %% [markdown]
# # A third of my labels are missing
#
# An optional condition learns from all pictures, draws with and without a label, and reads the labels that are missing.

# %%
import numpy as np

import keras_cvae
from keras_cvae import MLP, Categorical, ConditionalVAE, Optional
from keras_cvae.figures.writing import save_tiles

data = keras_cvae.load_data("digits")
x, y = data.train.floats(), data.train.y
missing = np.random.default_rng(0).random(len(y)) < 1 / 3
labels = [None if gone else int(label) for label, gone in zip(y, missing, strict=True)]
print(labels[:12])

# %% [markdown]
# `None` (or NaN) means unknown. `dropout` forgets some of the known ones in training too, so that there are enough draws without a label
# to learn from, also where few are missing.

# %%
model = ConditionalVAE(
    (8, 8, 1), Optional(Categorical(10), dropout=0.1), 8, backbone=MLP((128,)), seed=0
)
model.compile("adam")
model.fit(x, labels, batch_size=64, epochs=60, verbose=0)

# %% [markdown]
# Read the missing labels by Bayes' rule, p(y | x) from p(x | y). Where the model is sure, it is right more often.

# %%
p = model.classify(x[missing], num_samples=50)
right, sure = p.argmax(axis=1) == y[missing], p.max(axis=1) > 0.99
print(f"{right.mean():.1%} of {len(right)} missing labels are read right")
print(f"{right[sure].mean():.1%} of the {sure.mean():.0%} that it is 99 % sure of")

# %% [markdown]
# Draw without a label, then twos.

# %%
drawn = [*model.generate(None, n=10, seed=0), *model.generate(2, n=10, seed=0)]
save_tiles(drawn, "any-and-two.png", columns=10)
