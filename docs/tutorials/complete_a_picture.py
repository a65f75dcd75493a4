# %% [markdown]
# # Complete a picture: one quarter is known, what may the rest be?
#
# The model `mnist-complete` comes trained, with any part known; nothing is trained here. One of your own takes
# `condition=KnownPart(x_shape)`, or `cvae train DATA --task complete`.

# %%
import numpy as np

import keras_cvae
from keras_cvae.figures.writing import save_tiles

digits = keras_cvae.load("mnist-dense").generate([2, 4, 7], seed=0, output="sample")
model = keras_cvae.load("mnist-complete")

# %% [markdown]
# Left the picture, then what is known of it, then eight completions. The known part is kept exactly.

# %%
known = model.holes(digits, "bottom-left")
completed = model.complete(digits, "bottom-left", n=8, seed=0)
rows = zip(digits, np.nan_to_num(known, nan=0.5), np.split(completed, 3), strict=True)
save_tiles(
    np.concatenate([np.stack([x, k, *c]) for x, k, c in rows]), "completions.png", columns=10
)

# %%
held = ~np.isnan(known[0])
print("the known part is kept:", np.array_equal(completed[0][held], digits[0][held]))
print(
    f"nats of the rest, given a quarter: {-model.log_prob(digits, known, num_samples=50).mean:.0f}"
)
