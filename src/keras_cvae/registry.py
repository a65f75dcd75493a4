"""Names for parts: one registration makes a class known to Keras' saving and to strings."""

from collections.abc import Callable
from typing import Any

import keras

from keras_cvae.errors import nearest


class Registry:
    """The variants of one part, by name.

    Args:
        part: What the variants are, for messages: "likelihood".
    """

    def __init__(self, part: str):
        self.part = part
        self.classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Class decorator: serialisable by Keras, and found by `get(name)`."""

        def decorate(cls: type) -> type:
            self.classes[name] = cls
            return keras.saving.register_keras_serializable(package="keras_cvae")(cls)

        return decorate

    def get(self, identifier: Any) -> Any:
        """Turn a name or a class into an instance with its defaults; hand an instance through.

        Raises:
            ValueError: An unknown name, or an object that is no variant of this part.
        """
        if isinstance(identifier, tuple(self.classes.values())):
            return identifier
        found = self.classes.get(identifier) if isinstance(identifier, str) else identifier
        if isinstance(found, type) and issubclass(found, tuple(self.classes.values())):
            try:
                return found()
            except TypeError:
                raise ValueError(
                    f"The {self.part} {identifier!r} needs arguments. Expected an instance, "
                    f"{found.__name__}(...)."
                ) from None
        hint = nearest(identifier, self.classes) if isinstance(identifier, str) else ""
        raise ValueError(
            f"Unknown {self.part}: received {identifier!r}, expected one of "
            f"{', '.join(map(repr, self.classes))} or an instance.{hint}"
        )
