"""Ten lines: train on labelled pictures, draw a 2, rewrite a digit, save, load."""

import keras_cvae
from keras_cvae import ConditionalVAE

data = keras_cvae.load_data("digits")
x, y = data.train.floats(), data.train.y

model = ConditionalVAE(x_shape=(8, 8, 1), condition=10, latent_dim=8, likelihood="gaussian")
model.compile("adam")
model.fit(x, y, batch_size=64, epochs=30, validation_split=0.1, verbose=2)

twos = model.generate(2, n=16, seed=0)  # (16, 8, 8, 1)
sevens = model.restyle(x[:5], y[:5], to=7)  # the same handwriting, as sevens
between = model.generate({3: 0.5, 8: 0.5}, n=4)  # half a 3, half an 8

model.save("digits.keras")
print(keras_cvae.load("digits.keras").generate(2, n=3).shape, twos.shape, between.shape)
