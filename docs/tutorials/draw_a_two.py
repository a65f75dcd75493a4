# %% [markdown]
# # Draw a 2, rewrite a digit, save and load

# %%
import keras_cvae
from keras_cvae import ConditionalVAE
from keras_cvae.figures.writing import save_tiles

data = keras_cvae.load_data("digits")
x, y = data.train.floats(), data.train.y

model = ConditionalVAE(
    (8, 8, 1), condition=10, latent_dim=8, likelihood="gaussian", prior="conditional", seed=0
)
model.compile("adam")
history = model.fit(x, y, batch_size=64, epochs=40, validation_split=0.1, verbose=0)
losses = history.history["val_loss"]
print(f"validation loss: {losses[0]:.1f} nats at first, {losses[-1]:.1f} at last")

# %% [markdown]
# Grey levels are a density here, and a density may be above 1: [why a loss is negative](../howto/negative-loss.md). Draw:

# %%
twos = model.generate(2, n=10, seed=0)  # (10, 8, 8, 1)
save_tiles(twos, "twos.png", columns=10)

# %% [markdown]
# The first five training pictures, and below them the same handwriting, as sevens.

# %%
sevens = model.restyle(x[:5], y[:5], to=7)
save_tiles([*x[:5], *sevens], "as-sevens.png", columns=5)

# %% [markdown]
# A file holds the model, its optimizer and what it knows of its classes.

# %%
model.save("digits.keras")
again = keras_cvae.load("digits.keras")
print("the same pictures:", (again.generate(2, n=10, seed=0) == twos).all())
