"""Classes and tags: a place for each, or a learned vector."""

from typing import Any

import keras
from keras import ops

from keras_cvae.conditions.base import CONDITIONS, ConditionEncoder
from keras_cvae.conditions.spec import CategoricalSpec, TagsSpec
from keras_cvae.tensors import Tensor

MANY = 10_000  # classes above which a vector each is learned unless one-hot is asked for


class Labelled(ConditionEncoder):
    """Base of conditions on K labels, each with a feature of its own or a learned vector."""

    spec: CategoricalSpec | TagsSpec

    def encode_labels(self, encoding: str, plain: str, embedding_dim: int) -> None:
        """Set the width, and create the vectors if the encoding is not the plain one.

        Raises:
            ValueError: An unknown encoding.
        """
        if encoding not in (plain, "embedding"):
            raise ValueError(
                f"{type(self).__name__} encoding: received {encoding!r}, expected {plain!r} or "
                "'embedding'."
            )
        count = len(self.spec.labels)
        self.encoding, self.embedding_dim = encoding, int(embedding_dim)
        self.width = count if encoding == plain else self.embedding_dim
        if encoding == "embedding":
            self.table = self.add_weight(
                shape=(count, self.embedding_dim),
                initializer=keras.initializers.RandomNormal(stddev=1.0),
                name="table",
            )

    def weighted(self, weights: Tensor) -> Tensor:
        """Features of weights `(batch, K)`: these, or the vectors' sum."""
        weights = ops.cast(weights, self.compute_dtype)
        return weights @ self.table if self.encoding == "embedding" else weights


@CONDITIONS.register("categorical")
class Categorical(Labelled):
    """One of K classes, or a mixture of them.

    Class numbers or names `(n,)`, or mixtures `(n, K)` whose rows are weights that sum to one
    ("half a 3, half an 8"). One condition is a number, a name, or a mapping from classes to
    weights. Asking for a class that training never had warns.

    Args:
        classes: How many classes, or their names. With names, numbers are positions in that list,
            unless all names are numbers themselves (`[3, 5, 7]`): then they are labels.
        encoding: "onehot", or "embedding" for a learned vector per class, which is the default
            for more than 10,000 classes.
        embedding_dim: Length of that vector.

    Examples:
        >>> Categorical(["cat", "dog"]).spec.prepare(["dog", "cat", "dog"])
        array([1, 0, 1], dtype=int32)
        >>> Categorical(3).spec.prepare_any({0: 0.5, 2: 0.5})[0]
        array([[0.5, 0. , 0.5]], dtype=float32)
    """

    spec: CategoricalSpec

    def __init__(
        self,
        classes: Any = 10,
        encoding: str | None = None,
        embedding_dim: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = CategoricalSpec(classes)
        if encoding is None:
            encoding = "embedding" if self.num_classes > MANY else "onehot"
        self.encode_labels(encoding, "onehot", embedding_dim)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.spec.num_classes

    def get_config(self) -> dict[str, Any]:
        own = {
            "classes": self.spec.to_json()["labels"],
            "encoding": self.encoding,
            "embedding_dim": self.embedding_dim,
        }
        return super().get_config() | own

    def call(self, condition: Tensor) -> Tensor:
        if len(condition.shape) == 2 and condition.shape[-1] == 1:
            condition = ops.squeeze(condition, axis=-1)
        if len(condition.shape) == 2:
            return self.weighted(condition)
        condition = ops.cast(condition, "int32")
        if self.encoding == "embedding":
            return ops.take(ops.convert_to_tensor(self.table), condition, axis=0)
        return ops.one_hot(condition, self.num_classes, dtype=self.compute_dtype)


@CONDITIONS.register("tags")
class Tags(Labelled):
    """Any number of K tags at once.

    Arrays `(n, K)` of 0 and 1 (or weights in between); a list or a column of lists of names, or of
    text, tags separated by `|`. One condition is a list or set of names, a name, or `(K,)`.

    Args:
        tags: How many tags, or their names.
        encoding: "multihot", or "embedding" for a learned vector per tag, summed.
        embedding_dim: Length of that vector.

    Examples:
        >>> Tags(["sweet", "sour", "salty"]).spec.prepare([["sweet", "salty"], []])
        array([[1., 0., 1.],
               [0., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        tags: Any = 10,
        encoding: str = "multihot",
        embedding_dim: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = TagsSpec(tags)
        self.encode_labels(encoding, "multihot", embedding_dim)

    def get_config(self) -> dict[str, Any]:
        own = {
            "tags": self.spec.to_json()["labels"],
            "encoding": self.encoding,
            "embedding_dim": self.embedding_dim,
        }
        return super().get_config() | own

    def call(self, condition: Tensor) -> Tensor:
        return self.weighted(condition)
