"""A classifier that never saw the generator."""

import contextlib
import hashlib
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_cvae.data.batches import Batches, NextEpoch
from keras_cvae.data.containers import Split, as_floats
from keras_cvae.data.images import ImageFiles
from keras_cvae.files import atomic
from keras_cvae.inference.importance import Progress
from keras_cvae.networks.conv import ConvEncoder
from keras_cvae.networks.mlp import DenseBody

VERSION = 1  # of all that decides the weights beside the data


def epochs_for(n: int) -> int:
    """How many epochs a judge of n examples is trained for."""
    return int(np.clip(math.ceil(200_000 / n), 4, 20))


class Judge:
    """A small classifier, trained on real data only, that says what a sample shows.

    Convolutions for images (99 % on MNIST within a minute on two cores) and signals, dense layers
    for vectors.
    Weights and order come from `seed` alone.

    Args:
        x_shape: Shape of one example.
        classes: How many classes there are.
        epochs: None chooses by the size of the data.
        batch_size: Examples per step.
        seed: Of weights, dropout and order.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        classes: int,
        *,
        epochs: int | None = None,
        batch_size: int = 128,
        seed: int = 0,
    ):
        self.x_shape, self.classes = tuple(x_shape), int(classes)
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        image, rank = len(self.x_shape) == 3, len(self.x_shape) - 1
        body = ConvEncoder((16, 48), 128, "relu", rank) if rank else DenseBody((256, 128), "relu")
        self.scaling = keras.layers.Normalization(axis=None if image else -1)
        self.scaling.build((None, *self.x_shape))
        inputs = keras.Input(self.x_shape)
        features = body([self.scaling(inputs)])
        dropped = keras.layers.Dropout(0.4, seed=seed)(features)
        self.network = keras.Model(inputs, keras.layers.Dense(classes)(dropped))
        self.body = keras.Model(inputs, features)
        rng = np.random.default_rng(seed)
        for weight in self.network.trainable_variables:
            if len(weight.shape) > 1:  # He et al. 2015
                fan_in = math.prod(weight.shape[:-1])
                weight.assign(rng.standard_normal(weight.shape) * math.sqrt(2.0 / fan_in))

    def fit(self, x: np.ndarray, y: np.ndarray, progress: Progress | None = None) -> "Judge":
        """Train on x `(n, *x_shape)`, uint8 0..255 or floats, and classes y `(n,)`."""
        batches = Batches(Split(x, y), self.batch_size, shuffle=True, seed=self.seed)
        if len(self.x_shape) < 3:
            self.scaling.adapt(as_floats(x))
        epochs = self.epochs or epochs_for(len(x))
        steps = epochs * len(batches)
        warm = min(200, steps // 4)
        rate = keras.optimizers.schedules.CosineDecay(
            1e-4, max(1, steps - warm), warmup_target=3e-3, warmup_steps=max(1, warm)
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.network.compile(keras.optimizers.Adam(rate), loss)
        watch = [] if progress is None else [_Progress(progress, epochs)]
        callbacks = [NextEpoch(batches), *watch]
        self.network.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
        return self

    def fit_once(
        self, x: Any, y: np.ndarray, folder: Path | None, progress: Progress | None = None
    ) -> "Judge":
        """`fit`, or what an earlier one of the same data left in a folder.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            folder: Where weights are kept, under a name made of everything that they depend on;
                None keeps nothing.
            progress: As in `fit`.
        """
        if folder is None:
            return self.fit(x, y, progress)
        path = self.kept(x, y, folder)
        if path.is_file() and self._read(path):
            return self
        self.fit(x, y, progress)
        with contextlib.suppress(OSError):  # where it cannot be kept, it is made again
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                np.savez(temporary, *self._weights())
        return self

    def kept(self, x: Any, y: np.ndarray, folder: Path) -> Path:
        """Where the weights of a judge of these data are kept, if there are any."""
        about = hashlib.sha256()
        settings = (VERSION, self.x_shape, self.classes, self.epochs, self.batch_size, self.seed)
        about.update(repr((*settings, keras.backend.backend())).encode())
        if isinstance(x, ImageFiles):
            about.update(x.fingerprint().encode())
        else:
            about.update(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes())
        about.update(np.asarray(y, "int64").tobytes())
        return folder / f"{about.hexdigest()[:32]}.npz"

    def _weights(self) -> list[np.ndarray]:
        return [np.array(one) for one in self.network.get_weights()]

    def _read(self, path: Path) -> bool:
        """Take weights from a file; False if it is damaged or another's."""
        try:
            with np.load(path) as kept:
                self.network.set_weights([kept[name] for name in kept.files])
            self.scaling.finalize_state()  # what it computes with is made of its weights
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return False
        return True

    def predict(self, x: Any) -> np.ndarray:
        """Classes `(n,)` of an array, or of pictures in files, which are read part by part."""
        return np.argmax(self._run(self.network, x), axis=1)

    def accuracy(self, x: Any, y: np.ndarray) -> float:
        """Share of x that is judged to be y."""
        return float(np.mean(self.predict(x) == y))

    def features(self, x: np.ndarray) -> np.ndarray:
        """The last hidden layer, `(n, 128)`."""
        return self._run(self.body, x)

    @staticmethod
    def _run(network: keras.Model, x: Any) -> np.ndarray:
        return network.predict(Batches(Split(x), 500), verbose=0)


class _Progress(keras.callbacks.Callback):
    def __init__(self, progress: Progress, epochs: int):
        super().__init__()
        self.bar = iter(progress(range(epochs + 1), total=epochs + 1, description="judge"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        next(self.bar)

    def on_train_end(self, logs: Any = None) -> None:
        list(self.bar)
