"""Any two Keras models as encoder and decoder; wrong shapes are refused with the expected ones."""

import keras_cvae  # before Keras, whose backend it chooses  # isort: skip

import keras
from keras import layers

x, y = keras.Input((8, 8, 1)), keras.Input((10,))
h = layers.Concatenate()([layers.Flatten()(x), y])
h = layers.Dense(256, activation="gelu")(h)
encoder = keras.Model([x, y], [layers.Dense(8)(h), layers.Dense(8)(h)])  # mean, log-variance

z, y = keras.Input((8,)), keras.Input((10,))
h = layers.Dense(256, activation="gelu")(layers.Concatenate()([z, y]))
decoder = keras.Model([z, y], layers.Reshape((8, 8, 1))(layers.Dense(64)(h)))  # logits

data = keras_cvae.load_data("digits")
model = keras_cvae.ConditionalVAE((8, 8, 1), 10, latent_dim=8, encoder=encoder, decoder=decoder)
model.compile(keras.optimizers.Adam(2e-3))
model.fit(data.train.floats(), data.train.y, epochs=10, verbose=2)
print(model.generate(7, n=4, seed=1).shape)
