"""Configurations of parts, and the precision that they are rebuilt in."""

import contextlib
from typing import Any

import keras


@contextlib.contextmanager
def precision(name: str | None):
    """Build networks in this dtype policy, like `mixed_bfloat16`; None leaves it as it is."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def rebuilt(cls: type, config: dict) -> Any:
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
