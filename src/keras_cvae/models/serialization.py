"""How networks are built and built again: configurations, precision, initial weights."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import keras


@contextlib.contextmanager
def precision(name: str | None) -> Iterator[None]:
    """Build networks in this dtype policy, like `mixed_bfloat16`; None leaves it as it is."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def seeded(seed: int | None, what: str = "") -> Iterator[None]:
    """Build networks whose initial weights are a function of the seed; None draws them anew.

    Keras' initializers take their seeds from Python's random numbers, which go on afterwards as if
    nothing had been drawn.

    Args:
        seed: The seed.
        what: What is built, where one model builds several things.
    """
    if seed is None:
        yield
        return
    before = random.getstate()
    random.seed(f"{seed} {what}" if what else seed)
    try:
        yield
    finally:
        random.setstate(before)


def rebuilt(cls: type, config: dict[str, Any]) -> Any:
    """An object from its configuration, in the precision that it was built in."""
    arguments = dict(config)
    with precision(arguments.pop("precision", None)):
        return cls(**{name: deserialize(value) for name, value in arguments.items()})


def serialize(value: Any) -> Any:
    """Serialise a part; numbers, strings, None and shapes stay as they are."""
    return keras.saving.serialize_keras_object(value)


def deserialize(value: Any) -> Any:
    """Undo `serialize`."""
    return keras.saving.deserialize_keras_object(value)
