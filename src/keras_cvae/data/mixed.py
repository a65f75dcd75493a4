"""Batches of which a fixed part is labelled."""

from typing import Any

import keras
import numpy as np

from keras_cvae import errors
from keras_cvae.data.batches import Batches
from keras_cvae.data.containers import Split

UNKNOWN = -1


class MixedBatches(keras.utils.PyDataset):
    """Batches of which a fixed part is labelled: `(x, y, weight)`, y -1 where it is unknown.

    An epoch passes over the unlabelled examples once, over the labelled ones as often as it takes.
    Weights make the weighted mean over batches that of all the data.

    Args:
        known: Labelled examples.
        unknown: Unlabelled ones.
        batch_size: Examples per batch.
        share: Part of it that is labelled; at least one example.
        seed: Of order and binarisation.
        binarize: As in `Batches`.
    """

    def __init__(
        self, known: Split, unknown: Split, batch_size, share=0.1, seed=0, binarize="none"
    ):
        super().__init__()
        batch_size = errors.whole("batch_size", batch_size)
        few = min(max(1, round(share * batch_size)), len(known), max(1, batch_size - 1))
        order: dict[str, Any] = {"shuffle": True, "seed": seed, "binarize": binarize}
        self.known = Batches(known, few, **order)
        self.unknown = Batches(Split(unknown.x), max(1, batch_size - few), **order)
        self.all_conditions = known.y
        self.part = len(known) / (len(known) + len(unknown))

    def __len__(self) -> int:
        return len(self.unknown)

    def __getitem__(self, index: int):
        whole = len(self.known.split) // self.known.batch_size  # a pass; the rest comes in the next
        rounds, place = divmod(index, whole)
        self.known.epoch = self.unknown.epoch * -(-len(self) // whole) + rounds
        (x, y), (others,) = self.known[place], self.unknown[index]
        n, m = len(x), len(others)
        weight = np.repeat([self.part / n, (1 - self.part) / m], [n, m]) * (n + m)
        y = np.concatenate([y, np.full(m, UNKNOWN)]).astype("int32")
        return np.concatenate([x, others]), y, weight.astype("float32")

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self.unknown.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Called by Keras: moves on to the next epoch."""
        self.unknown.on_epoch_end()
