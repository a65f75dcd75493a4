"""What a model may be conditioned on: a spec that checks what is said, a layer that encodes it.

Importing this package imports no Keras: a server or a table that only checks what is said needs
`keras_cvae.conditions.spec` alone. The layers are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_cvae.conditions.arrays import Encoded, Image, Signal
    from keras_cvae.conditions.base import CONDITIONS, ConditionEncoder, Unconditional
    from keras_cvae.conditions.candidates import enumerated
    from keras_cvae.conditions.columns import KnownColumns
    from keras_cvae.conditions.composed import Joint, Optional, get
    from keras_cvae.conditions.known import KnownPart
    from keras_cvae.conditions.labels import Categorical, Tags
    from keras_cvae.conditions.memory import Memory
    from keras_cvae.conditions.numbers import Continuous, Exposure, Periodic

_MODULES = {
    "arrays": ("Encoded", "Image", "Signal"),
    "base": ("CONDITIONS", "ConditionEncoder", "Unconditional"),
    "columns": ("KnownColumns",),
    "composed": ("Joint", "Optional", "get"),
    "candidates": ("enumerated",),
    "known": ("KnownPart",),
    "labels": ("Categorical", "Tags"),
    "memory": ("Memory",),
    "numbers": ("Continuous", "Exposure", "Periodic"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CONDITIONS",
    "Categorical",
    "ConditionEncoder",
    "Continuous",
    "Encoded",
    "Exposure",
    "Image",
    "Joint",
    "KnownColumns",
    "KnownPart",
    "Memory",
    "Optional",
    "Periodic",
    "Signal",
    "Tags",
    "Unconditional",
    "enumerated",
    "get",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
