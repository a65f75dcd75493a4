"""Any number of K tags at once."""

import numpy as np
from keras import ops

from keras_cvae.conditions.base import CONDITIONS
from keras_cvae.conditions.labelled import NAMES, Labelled, named
from keras_cvae.conditions.read import array, entries
from keras_cvae.errors import listed, nearest


@CONDITIONS.register("tags")
class Tags(Labelled):
    """Any number of K tags at once.

    Accepted as y: `(n, K)` arrays of 0 and 1 (or weights in between); a list or a column of lists
    of names, or of text, tags separated by `|`. One condition is a list or set of names, a name, or
    `(K,)`.

    Args:
        tags: How many tags, or their names.
        encoding: "multihot", or "embedding" for a learned vector per tag, summed.
        embedding_dim: Length of that vector.
    """

    def __init__(self, tags=10, encoding="multihot", embedding_dim=16, **kwargs):
        super().__init__(**kwargs)
        self.encode_labels(named(tags, "Tags"), encoding, "multihot", embedding_dim)
        self.shape = (len(self.labels),)

    def get_config(self):
        own = {"tags": self.labels, "encoding": self.encoding, "embedding_dim": self.embedding_dim}
        return super().get_config() | own

    def call(self, y):
        weights = ops.cast(y, self.compute_dtype)
        return weights @ self.table if self.encoding == "embedding" else weights

    def prepare(self, y):
        if y is None:
            raise ValueError(
                f"This model is conditioned on tags ({listed(self.names)}), but none were given."
            )
        rows = entries(y)
        if isinstance(rows, list | tuple) and all(isinstance(row, NAMES) for row in rows):
            names = all(isinstance(tag, str) for row in rows for tag in row)
            rows = self._multihot(rows) if names else rows
        y = array(rows)
        if y.ndim == 1 and y.dtype.kind in "US":
            split = ([tag.strip() for tag in row.split("|")] for row in y.astype(str).tolist())
            y = self._multihot([[tag for tag in row if tag] for row in split])
        if y.dtype.kind not in "iufb" or y.shape[1:] != self.shape:
            raise ValueError(
                f"The tags have the shape {y.shape} and hold {y.dtype} values. Expected "
                f"(n, {len(self.labels)}) with 0 and 1, or a list of names for each example."
            )
        if not (np.all(y >= 0) and np.all(y <= 1)):  # NaN is neither
            raise ValueError(
                f"Tags are 0 or 1, or in between. Received values from {y.min():g} to {y.max():g}."
            )
        return y.astype("float32")

    def prepare_any(self, y):
        if isinstance(y, str):
            y = [y]
        if isinstance(y, set | frozenset) or (
            isinstance(y, list | tuple) and all(isinstance(tag, str) for tag in y)
        ):
            return self._multihot([y]), True
        single = y is not None and np.shape(y) == self.shape
        return self.prepare(np.asarray(y)[None] if single else y), single

    def parse(self, text):
        """Read tags separated by `|` or commas ("red,round"); "" is none of them."""
        tags = [tag.strip() for tag in text.replace("|", ",").split(",") if tag.strip()]
        self._multihot([tags])
        return tags

    def words(self, y):
        return "+".join(self.names[k] for k in np.flatnonzero(np.asarray(y) > 0.5)) or "no tag"

    def example(self):
        return self.names[0]

    def summary(self):
        return f"any of {len(self.labels)} tags: {listed(self.names)}"

    def _multihot(self, rows) -> np.ndarray:
        y = np.zeros((len(rows), len(self.labels)), "float32")
        for weights, tags in zip(y, rows, strict=True):
            for tag in tags:
                if str(tag) not in self._index_of_name:
                    raise ValueError(
                        f"Unknown tag {tag!r}. This model knows {len(self.labels)}: "
                        f"{listed(self.names)}.{nearest(tag, self.names)}"
                    )
                weights[self._index_of_name[str(tag)]] = 1.0
        return y
