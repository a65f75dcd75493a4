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
        binarize: "dynamic" draws x ~ Bernoulli(x) anew in each epoch; "none" leaves x alone.
        weights: How much each labelled and each unlabelled example counts, `(n,)` and `(m,)`.
        epoch: Where to start, counted from 0.
    """

    def __init__(
        self,
        known: Split,
        unknown: Split,
        batch_size: int,
        share: float = 0.1,
        *,
        seed: int = 0,
        binarize: Any = "none",
        weights: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
        epoch: int = 0,
    ):
        super().__init__()
        batch_size = errors.whole("batch_size", batch_size)
        few = min(max(1, round(share * batch_size)), len(known), max(1, batch_size - 1))
        order: dict[str, Any] = {
            "shuffle": True,
            "seed": seed,
            "binarize": binarize,
            "epoch": epoch,
        }
        labels = np.full(len(unknown), UNKNOWN, "int32")
        self.known, self.unknown = (
            Batches(Split(x, {"y": y, "weight": np.ones(len(x)) if w is None else w}), n, **order)
            for x, y, w, n in (
                (known.x, known.y, weights[0], few),
                (unknown.x, labels, weights[1], max(1, batch_size - few)),
            )
        )
        self.all_conditions = known.y
        self.part = len(known) / (len(known) + len(unknown))

    def __len__(self) -> int:
        return len(self.unknown)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns `(x, y, weight)`, the labelled examples first."""
        whole = len(self.known.split) // self.known.batch_size  # a pass; the rest comes in the next
        rounds, place = divmod(index, whole)
        self.known.epoch = self.unknown.epoch * -(-len(self) // whole) + rounds
        (x, few), (others, rest) = self.known[place], self.unknown[index]
        n, m = len(x), len(others)
        weight = np.repeat([self.part / n, (1 - self.part) / m], [n, m]) * (n + m)
        weight = weight * np.concatenate([few["weight"], rest["weight"]])
        y = np.concatenate([few["y"], rest["y"]]).astype("int32")
        return np.concatenate([x, others]), y, weight.astype("float32")

    def next_epoch(self) -> None:
        """Move on to the order of the next epoch."""
        self.unknown.next_epoch()
