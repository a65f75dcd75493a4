"""My own folder of pictures, one sub-folder for each class.

The folder is made here from small digits; with yours, start at `load_data`. In a shell: `cvae train FOLDER`.
"""

# %%
from pathlib import Path

import keras_cvae
from keras_cvae import MLP, ConditionalVAE
from keras_cvae.figures.writing import save_image, save_tiles

digits = keras_cvae.load_data("digits").train
for name, label in (("circle", 0), ("stroke", 1)):
    folder = Path("pictures") / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(digits.floats()[digits.y == label][:100]):
        save_image(picture, folder / f"{i}.png")

# %%
data = keras_cvae.load_data("pictures", image_size=16)
print(data.class_names, len(data.train.x), "pictures of", data.x_shape)
model = ConditionalVAE(
    data.x_shape, list(data.class_names), latent_dim=4, backbone=MLP((64,)), seed=0
)
model.compile("adam")
names = [data.class_names[i] for i in data.train.y]  # or their positions, as they are
model.fit(data.train.floats(), names, batch_size=32, epochs=20, verbose=0)
save_tiles(model.generate(["circle", "stroke"], n=8, seed=0), "draws.png", columns=8)
