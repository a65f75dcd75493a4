"""Several conditions at once, each with a name."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae.conditions.base import CONDITIONS, Condition, get
from keras_cvae.conditions.optional import Optional, check_rate
from keras_cvae.errors import listed, nearest
from keras_cvae.trees import count, repeat


@CONDITIONS.register("joint")
class Joint(Condition):
    """Named conditions; their features side by side.

    Accepted as y: a mapping from names to what each part takes, of equal lengths; a pandas
    DataFrame (other columns than the parts' are ignored) or a structured array; a list of mappings,
    one for each example. One condition is a mapping of single ones. An `Optional` part may be left
    out of a mapping, which is for nobody known then.

    Args:
        parts: Name to condition, or what stands for one:
            `{"class": ["cat", "dog"], "age": Optional("continuous"), "hour": Periodic(24)}`.
        dropout: Share of examples of which each training step forgets all parts at once, for
            guidance and for draws without any condition; each part becomes `Optional` for it.
    """

    def __init__(self, parts: Mapping[str, Any], dropout: float = 0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.dropout = check_rate(dropout)
        if not parts or not all(isinstance(name, str) and name for name in parts):
            raise ValueError(f"Joint: received {parts!r}, expected conditions by name.")
        found: dict[str, Condition] = {name: get(part) for name, part in parts.items()}
        if none := [name for name, part in found.items() if not part.width]:
            raise ValueError(f"Joint: the part {none[0]!r} is no condition. Leave it out.")
        if part_of_x := [name for name, part in found.items() if part.knows_part]:
            raise ValueError(
                f"Joint: the part {part_of_x[0]!r} is a part of x itself, which stands alone as a "
                "condition."
            )
        if dropout:
            found = {n: p if isinstance(p, Optional) else Optional(p) for n, p in found.items()}
        self.parts = found  # once: Keras keeps weights in the order in which it first saw them
        self.width = sum(part.width for part in self.parts.values())
        self.has_encoder = any(part.has_encoder for part in self.parts.values())
        self.forgettable = all(part.forgettable for part in self.parts.values())
        if self.forgettable:
            self.seen = self.add_weight((), "zeros", name="seen", trainable=False, dtype="float32")

    def get_config(self):
        parts = {n: keras.saving.serialize_keras_object(part) for n, part in self.parts.items()}
        return super().get_config() | {"parts": parts, "dropout": self.dropout}

    @classmethod
    def from_config(cls, config):
        parts = config["parts"]
        parts = {n: keras.saving.deserialize_keras_object(part) for n, part in parts.items()}
        return cls(**config | {"parts": parts})

    # Inside the step.

    def call(self, y):
        features = [part.features(y[name]) for name, part in self.parts.items()]
        features = [ops.cast(part, self.compute_dtype) for part in features]
        return ops.concatenate(features, axis=-1)

    def symbolic(self):
        return {name: part.symbolic() for name, part in self.parts.items()}

    def compute_output_shape(self, input_shape):
        return (next(iter(input_shape.values()))[0], self.width)

    def drop(self, y, uniform: Callable[[Any], Any]):
        y = {name: part.drop(y[name], uniform) for name, part in self.parts.items()}
        if not self.forgettable:
            return y
        if self.dropout:
            first = keras.tree.flatten(y)[0]
            which = uniform(ops.shape(first)[:1]) < self.dropout
            y = {name: part.forget(y[name], which) for name, part in self._optional()}
        known = [part.is_known(y[name]) for name, part in self._optional()]
        nothing = ops.logical_not(ops.any(ops.stack(known), axis=0))
        self.seen.assign(ops.maximum(self.seen, ops.cast(ops.any(nothing), "float32")))
        if self.dropout:  # what is forgotten with the rest is missing by itself, too
            for (_, part), one in zip(self._optional(), known, strict=True):
                lost = ops.cast(ops.any(ops.logical_not(one)), "float32")
                part.seen.assign(ops.maximum(part.seen, lost))
        return y

    def _optional(self) -> Iterable[tuple[str, Optional]]:
        return ((n, part) for n, part in self.parts.items() if isinstance(part, Optional))

    # On the user's side.

    def prepare(self, y):
        canonical = {}
        for name, value in self._by_name(y).items():
            with self._about(name):
                canonical[name] = self.parts[name].prepare(value)
        counts = {name: count(part) for name, part in canonical.items()}
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{name} has {n}" for name, n in counts.items())
            raise ValueError(f"The conditions differ in length: {words}. Expected as many of each.")
        return self._filled(canonical, next(iter(counts.values()), 0))

    def prepare_any(self, y, names: Iterable[str] | None = None):
        """As in `Condition`; with `names`, of these parts only."""
        if y is None:
            return self.unknown(), True
        if not isinstance(y, Mapping):
            return self.prepare(y), False
        canonical: dict[str, Any] = {}
        single: dict[str, bool] = {}
        for name, value in self._by_name(y, names).items():
            with self._about(name):
                canonical[name], single[name] = self.parts[name].prepare_any(value)
        n = max((count(part) for name, part in canonical.items() if not single[name]), default=1)
        for name, part in canonical.items():
            canonical[name] = part = repeat(part, n) if single[name] else part
            if count(part) != n:
                raise ValueError(
                    f"The conditions differ in length: {name} has {count(part)}, another {n}. "
                    "Expected as many of each, or one."
                )
        return self._filled(canonical, n, names), all(single.values())

    def _by_name(self, y: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
        """What was given for each part, of a mapping, rows, a frame or a structured array."""
        parts = {name: self.parts[name] for name in names or self.parts}
        words = f"This model is conditioned on {listed(self.parts)}"
        if isinstance(y, list | tuple) and y and all(isinstance(row, Mapping) for row in y):
            keys = dict.fromkeys(key for row in y for key in row)
            y = {key: [row.get(key) for row in y] for key in keys}
        given: Any
        if isinstance(y, Mapping):
            if unknown := [name for name in y if name not in parts]:
                hint = nearest(unknown[0], parts)
                raise ValueError(f"Unknown condition {unknown[0]!r}. {words}.{hint}")
            required = [n for n, part in parts.items() if not isinstance(part, Optional)]
            left_out, given = [name for name in required if name not in y], y
        else:
            given = getattr(y, "columns", None)
            if given is None:
                given = getattr(getattr(y, "dtype", None), "names", None)
            if given is None:
                came = "none" if y is None else f"{type(y).__name__}: {str(y)[:60]}"
                raise ValueError(
                    f"{words}. Expected a mapping from these names to values, or a table with "
                    f"these columns. Received {came}."
                )
            left_out = [name for name in parts if name not in list(given)]
        if left_out:
            hint = nearest(left_out[0], [name for name in given if name not in parts])
            raise ValueError(f"{words}. Not given: {listed(left_out)}.{hint}")
        found = {name: y[name] for name in parts if name in list(given)}
        return {  # None as a whole is as good as left out
            name: value
            for name, value in found.items()
            if value is not None or not isinstance(parts[name], Optional)
        }

    @staticmethod
    @contextlib.contextmanager
    def _about(name: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"Condition '{name}': {error}") from None

    def _filled(self, canonical: dict, n: int, names: Iterable[str] | None = None) -> dict:
        return {
            name: canonical[name] if name in canonical else self.parts[name].unknown(n)
            for name in names or self.parts
        }

    def unknown(self, n=1):
        canonical = {}
        for name, part in self.parts.items():
            with self._about(name):
                canonical[name] = part.unknown(n)
        return canonical

    def parse(self, text):
        """Read `age=30,class=cat`; "?" or leaving it out is unknown."""
        known = "|".join(re.escape(n) for n in sorted(self.parts, key=len, reverse=True))
        first, *rest = re.split(rf"(?:^|,)\s*({known})\s*=", text)
        wrong = re.search(r"(?:^|,)\s*([^,=]+)=", ",".join([first, *rest[1::2]]))
        if wrong:
            self._by_name({wrong[1].strip(): ""})
        if first.strip() or not rest:
            example = ",".join(f"{name}=..." for name in list(self.parts)[:2])
            raise ValueError(
                f"Cannot read '{text}' as conditions. Expected, for example, {example}."
            )
        given = dict(zip(rest[::2], rest[1::2], strict=True))
        if len(given) < len(rest[::2]):
            raise ValueError(f"'{text}' names a condition twice.")
        y = {}
        for name, value in given.items():
            with self._about(name):
                y[name] = self.parts[name].parse(value.strip())
        self._by_name(y)
        return y

    def between(self, first, last, weights):
        canonical = {}
        for name, part in self.parts.items():
            with self._about(name):
                canonical[name] = part.between(first[name], last[name], weights)
        return canonical

    def words(self, y):
        said = {name: part.words(y[name]) for name, part in self.parts.items()}
        return ", ".join(f"{name}={words}" for name, words in said.items() if words)

    def example(self):
        shown = {name: part.example() for name, part in self.parts.items()}
        return ",".join(f"{name}={text}" for name, text in shown.items() if text)

    def summary(self):
        return "; ".join(f"{name}: {part.summary()}" for name, part in self.parts.items())

    def settle(self, y, again=True):
        for name, value in y.items():
            self.parts[name].settle(value, again)

    def see(self, y):
        for name, part in self.parts.items():
            part.see(None if y is None else y[name])

    def check_trained(self, y):
        for name, value in y.items():
            with self._about(name):
                self.parts[name].check_trained(value)
        if not self.forgettable or float(self.seen):
            return
        missing = [part.lost(y[name]) for name, part in self._optional()]
        if np.all(missing, axis=0).any():
            raise ValueError(
                "All conditions are missing, but in training there always was one. Give one of "
                f"{listed(self.parts)}, or train with Joint(parts, dropout=0.1)."
            )
