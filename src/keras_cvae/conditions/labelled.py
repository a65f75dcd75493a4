"""Labels by name: what classes and tags share."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_cvae.conditions.base import Condition

NAMES = list | tuple | set | frozenset  # the tags of one example


def named(classes: Any, what: str) -> list:
    """The labels of so many classes, or of these.

    Raises:
        ValueError: None, or the same one twice.
    """
    labels: list = []
    if isinstance(classes, int | np.integer) and not isinstance(classes, bool):
        labels = list(range(classes))
    elif np.iterable(classes) and not isinstance(classes, str | Mapping | set | frozenset):
        labels = [one.item() if isinstance(one, np.generic) else one for one in classes]
    labels = [int(one) if isinstance(one, float) and one.is_integer() else one for one in labels]
    different = len(set(map(str, labels))) == len(labels)
    if not labels or not different or not all(isinstance(one, str | int) for one in labels):
        raise ValueError(
            f"{what}: received {classes!r}, expected a positive number or a list of different "
            "names or whole numbers."
        )
    return labels


class Labelled(Condition):
    """Base of conditions on K labels, each with a place of its own or a learned vector."""

    def encode_labels(self, labels: list, encoding: str, plain: str, embedding_dim: int) -> None:
        """Set the width, and create the vectors if the encoding is not the plain one.

        Raises:
            ValueError: An unknown encoding.
        """
        if encoding not in (plain, "embedding"):
            raise ValueError(
                f"{type(self).__name__} encoding: received {encoding!r}, expected {plain!r} or "
                "'embedding'."
            )
        self.labels, self.encoding, self.embedding_dim = labels, encoding, int(embedding_dim)
        self.width = len(labels) if encoding == plain else self.embedding_dim
        if encoding == "embedding":
            self.table = self.add_weight(
                shape=(len(labels), self.embedding_dim),
                initializer=keras.initializers.RandomNormal(stddev=1.0),
                name="table",
            )
        self._index_of_name = {str(label): i for i, label in enumerate(labels)}

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names, in order."""
        return tuple(self._index_of_name)
