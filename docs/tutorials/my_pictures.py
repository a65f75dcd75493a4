# %% [markdown]
# # My own folder of pictures, one sub-folder for each class
#
# In a shell that is `cvae train FOLDER`. The folder is made here from small digits; with yours, start at `load_data`.

# %%
import keras_cvae  # before Keras, whose backend it chooses  # isort: skip

from pathlib import Path

import keras

from keras_cvae import MLP, ConditionalVAE
from keras_cvae.figures.writing import save_image, save_tiles

digits = keras_cvae.load_data("digits").train
for name, label in (("circle", 0), ("stroke", 1)):
    folder = Path("pictures") / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(digits.floats()[digits.y == label][:100]):
        save_image(picture, folder / f"{i}.png")

# %% [markdown]
# Names of sub-folders are the classes. Pictures of any size and format are brought to `image_size`.

# %%
data = keras_cvae.load_data("pictures", image_size=16)
print(data.class_names, len(data.train.x), "pictures of", data.x_shape, "to learn from")
model = ConditionalVAE(
    data.x_shape, list(data.class_names), latent_dim=4, backbone=MLP((128,)), seed=0
)
model.compile(keras.optimizers.Adam(2e-3))
names = [data.class_names[i] for i in data.train.y]
model.fit(data.train.floats(), names, batch_size=32, epochs=200, verbose=0)

# %%
save_tiles(model.generate(["circle", "stroke"], n=8, seed=0), "draws.png", columns=8)
