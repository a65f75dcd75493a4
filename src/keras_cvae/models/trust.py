"""What a saved model may name: checked before anything that the file describes is built.

Keras builds whatever class or function a configuration names, and calls it with the file's
arguments. So each name is compared with what models consist of: the classes of this package,
Keras' layers with their initializers, regularizers, constraints and precisions, optimizers,
activations.
"""

import importlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

LARGEST, DEEPEST = 2**24, 100  # bytes of a configuration, and how far it may nest
SIZE = 10**8  # of any dimension that a configuration asks for, unless the weights are larger

NUMBERS = ("seed", "shared_object_id")  # that are no sizes

ROOTS = ("keras_cvae>ConditionalVAE", "keras_cvae>SemiSupervisedCVAE")
VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__tuple__")
PACKAGES = (
    "layers",
    "models",
    "ops",
    "initializers",
    "regularizers",
    "constraints",
    "optimizers",
    "dtype_policies",
)
KINDS = (
    keras.Operation,  # layers, models, and operations between them
    keras.Initializer,
    keras.Regularizer,
    keras.constraints.Constraint,
    keras.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.DTypePolicy,
)
# They run code of the file's choosing, or read files that it names.
OWN = "; with classes of your own, in a file that you made, use load(path, trusted=True)"
REFUSED = (
    "Lambda",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "StringLookup",
    "IntegerLookup",
    "TextVectorization",
)


def check_file(path: Path) -> None:
    """Refuse a `.keras` file whose configuration names more than a model consists of.

    Raises:
        ValueError: Saying what it names, or which size is beyond reason.
    """
    with zipfile.ZipFile(path) as file:
        about = {member.filename: member.file_size for member in file.infolist()}
        if about.get("config.json", 0) > LARGEST:
            raise ValueError(
                f"its configuration has {about['config.json']} bytes, at most {LARGEST} are read"
            )
        config = json.loads(file.read("config.json"))
    if not isinstance(config, dict) or config.get("registered_name") not in ROOTS:
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"it holds a {name}, expected a ConditionalVAE")
    most = max(SIZE, about.get("model.weights.h5", 0))
    for key, value, depth in _walk(config):
        if depth > DEEPEST:
            raise ValueError(f"its configuration nests more than {DEEPEST} deep")
        if isinstance(value, dict) and "class_name" in value:
            _check_object(value)
        elif isinstance(value, int) and abs(value) > most and key not in NUMBERS:
            raise ValueError(f"its configuration asks for {key} = {value}, beyond {most}")


def _walk(config: Any) -> Iterator[tuple[str, Any, int]]:
    """Every value within the configuration, with the nearest name above it and its depth."""
    waiting: list[tuple[str, Any, int]] = [("", config, 0)]
    while waiting:
        key, value, depth = waiting.pop()
        yield key, value, depth
        if isinstance(value, dict):
            waiting += [(str(name), part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(key, part, depth + 1) for part in value]


def _check_object(config: dict[str, Any]) -> None:
    """Refuse the configuration of an object that no model consists of.

    Raises:
        ValueError: Naming it.
    """
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    if name in VALUES:
        return
    if name == "function":
        named = config.get("config")
        plain = registered in (None, "function", named) and isinstance(named, str)
        own = plain and keras.saving.get_registered_object(named)
        known = module in ("builtins", "keras.activations") and hasattr(
            keras.activations, str(named)
        )
        if plain and known and not own:
            return
        raise ValueError(f"it names the function {module}.{named}, expected an activation{OWN}")
    found = keras.saving.get_registered_object(registered) if registered else None
    if found is None and isinstance(name, str) and isinstance(module, str):
        found = _of_keras(module, name)
    elif found is not None and not found.__module__.startswith("keras_cvae."):
        found = None
    if found is None:
        raise ValueError(
            f"it names {module}.{name} ({registered}), which is no part of a model{OWN}"
        )


def _of_keras(module: str, name: str) -> type | None:
    """A class of Keras' that models consist of, or None."""
    if module.startswith("keras.src.backend.torch.optimizers."):
        module = "keras.optimizers"  # PyTorch's own of each, whichever backend loads it
    top, _, rest = module.partition(".")
    package = rest.removeprefix("src.").split(".")[0]
    if top != "keras" or name in REFUSED or package not in ("", *PACKAGES):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, KINDS) else None
