# %% [markdown]
# # The article's notebook: a VAE cannot be told what to draw, a CVAE can
#
# The notebook of 2017 trained both on MNIST, with two latent numbers. Here both learn scikit-learn's small digits, in
# seconds; the same on MNIST is `cvae train mnist --preset vae-notebook` and `--preset notebook`, whose results are on the
# [theory](../theory.md#what-the-label-is-worth) page.

# %%
import keras_cvae  # before Keras, whose backend it chooses  # isort: skip

import keras
import numpy as np

from keras_cvae import MLP, ConditionalVAE
from keras_cvae.figures import of_models
from keras_cvae.figures.writing import save, save_tiles

data = keras_cvae.load_data("digits")
x, y = data.train.floats(), data.train.y
test_x, test_y = data.test.floats(), data.test.y

# %% [markdown]
# The only difference between the two models is `condition`: how many classes there are, or none. The encoder and the decoder
# are dense networks with one hidden layer.


# %%
def trained(condition):
    model = ConditionalVAE((8, 8, 1), condition, latent_dim=2, backbone=MLP((256,)), seed=0)
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(x, y if condition else None, batch_size=64, epochs=200, verbose=0)
    return model


vae, cvae = trained(None), trained(10)

# %% [markdown]
# **What is the label worth?** Both losses are bounds for the same pictures, which were not trained on. They are grey levels under a
# Bernoulli, so this is a cross-entropy and a KL, as in the notebook, and no likelihood.

# %%
without = vae.evaluate(test_x, verbose=0, return_dict=True)
with_label = cvae.evaluate(test_x, test_y, verbose=0, return_dict=True)
for name, found in (("VAE", without), ("CVAE", with_label)):
    print(
        f"{name:>4}: {found['loss']:.2f} = {found['reconstruction']:.2f} + {found['kl']:.2f} nats"
    )
print(f"the label is worth {without['loss'] - with_label['loss']:.2f} nats")

# %% [markdown]
# **The latent plane of the VAE**: each digit has a region of its own, and some of them overlap. Nobody told the model about digits;
# two numbers are all it has, and it spends them on which digit this is.

# %%
save(of_models.latent(vae, data), "plane-of-the-vae.png")

# %% [markdown]
# **The latent plane of the CVAE**: all digits lie in one cloud. The label says which digit it is, and z is free for how it is written.

# %%
save(of_models.latent(cvae, data), "plane-of-the-cvae.png")

# %% [markdown]
# **Reconstruction**: each picture, and below it what comes back. The VAE's two numbers first, then the CVAE's two and the label.

# %%
some = np.array([np.flatnonzero(test_y == digit)[0] for digit in range(10)])
shown = [test_x[some], vae.reconstruct(test_x[some]), cvae.reconstruct(test_x[some], test_y[some])]
save_tiles(np.concatenate(shown), "reconstructions.png", columns=10)

# %% [markdown]
# **Draw**: the VAE draws whatever comes.

# %%
save_tiles(vae.generate(n=10, seed=0), "anything.png", columns=10)

# %% [markdown]
# The CVAE draws a 2 when it is asked for one.

# %%
save_tiles(cvae.generate(2, n=10, seed=0), "twos.png", columns=10)

# %% [markdown]
# **One hand**: each row has one z, each column one digit.

# %%
z = np.array([[-1.5, 0.0], [1.5, 0.0], [0.0, -1.5], [0.0, 1.5]])
one_hand = cvae.decode(np.repeat(z, 10, axis=0), np.tile(np.arange(10), 4))
save_tiles(one_hand, "one-hand.png", columns=10)

# %% [markdown]
# **All twos**: the latent plane as the pictures that it decodes to, for y = 2.

# %%
axis = np.linspace(-2, 2, 8)
plane = np.array([[a, b] for b in axis[::-1] for a in axis])
save_tiles(cvae.decode(plane, 2), "all-twos.png", columns=8)

# %% [markdown]
# **From 5 to 6**, through mixtures of the two, at z = 0.

# %%
way = cvae.interpolate(condition=5, to_condition=6, steps=10)
save_tiles(way, "from-5-to-6.png", columns=10)
