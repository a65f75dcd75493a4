"""What a saved model may name: checked before anything that the file describes is built.

Keras builds whatever class or function a configuration names, and calls it with the file's
arguments. So each name is compared with what models consist of: the classes of this package,
Keras' layers with their initializers, regularizers, constraints and precisions, optimizers,
activations.
"""

import importlib
import math
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_cvae.files import check_members, parsed
from keras_cvae.models.card import ANY_SIZE, WEIGHTS

VALUES_OF_X = 2**24  # of one example, unless the weights are larger
NETWORK = 2**16  # of any whole number in the configuration of a backbone

ROOTS = ("keras_cvae>ConditionalVAE", "keras_cvae>SemiSupervisedCVAE")
VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")
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
OWN = (
    "; classes of your own are known once their module is imported, where they are decorated with "
    "@keras.saving.register_keras_serializable(), or by load(path, custom_objects={name: class}); "
    "a file that you made yourself may name registered ones with load(path, trusted=True)"
)
# They run code of the file's choosing, or read files that it names.
REFUSED = tuple(
    getattr(keras.layers, name)
    for name in (
        "Lambda",
        "TFSMLayer",
        "TorchModuleWrapper",
        "JaxLayer",
        "FlaxLayer",
        "StringLookup",
        "IntegerLookup",
        "TextVectorization",
    )
)
LOOKUPS = ("IndexLookup",)  # what lookups are made of; Keras does not export it
RESOLVERS = ("get", "serialize", "deserialize")  # among the activations, and none of them


class UntrustedError(ValueError):
    """A file that is not loaded, because of what it names or asks for."""


def check_file(path: Path, own: Collection[str] = ()) -> None:
    """Refuse a `.keras` file that names more than a model consists of, or asks for more memory.

    Args:
        path: The file.
        own: Names of classes and functions that it may name, too.

    Raises:
        UntrustedError: Saying what it names, or which size is beyond reason.
    """
    with zipfile.ZipFile(path) as file:
        try:
            check_members(file, ANY_SIZE)
            config = parsed(file.read("config.json"))
        except ValueError as error:
            raise UntrustedError(str(error)) from None
        if assets := [name for name in file.namelist() if name.startswith("assets")]:
            raise UntrustedError(f"it brings {assets[0]}, and models have no assets")
        stored = file.getinfo(WEIGHTS).file_size
        with file.open(WEIGHTS) as weights, h5py.File(weights) as content:
            _check_declared(content, stored)
    check_names(config, own)
    check_sizes(config["config"], stored)


def check_names(config: Any, own: Collection[str] = ()) -> None:
    """Refuse a configuration that names more than a model consists of.

    Raises:
        UntrustedError: Saying what it names.
    """
    if not isinstance(config, dict) or config.get("registered_name") not in (*ROOTS, *own):
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        hint = "" if not isinstance(config, dict) or _is_of_keras(config.get("module")) else OWN
        raise UntrustedError(f"it holds a {name}, expected a ConditionalVAE{hint}")
    for key, value in _walk(config):
        if isinstance(value, dict) and "class_name" in value:
            _check_object(value, own)
        named = isinstance(value, str) and key not in ("class_name", "registered_name")
        if named and _is_foreign(keras.saving.get_registered_object(value)):
            raise UntrustedError(f"it names {value}, which is no part of a model{OWN}")


def check_sizes(arguments: dict[str, Any], stored: int) -> None:
    """Refuse the arguments of a model that would need far more memory than its file has.

    Raises:
        UntrustedError: Saying which size is beyond reason.
    """
    x_shape = arguments.get("x_shape")
    values = math.prod(n for n in x_shape if isinstance(n, int)) if isinstance(x_shape, list) else 1
    if values > max(VALUES_OF_X, stored):
        raise UntrustedError(f"it asks for examples of {values} values, x_shape = {x_shape}")
    for key, value in _walk(arguments.get("backbone")):
        if isinstance(value, int) and value > NETWORK:
            raise UntrustedError(f"its backbone asks for {key} = {value}, beyond {NETWORK}")


def check_weights(variables: Iterable[Any], path: Path) -> None:
    """Refuse a model that has more weights than the file has bytes.

    Args:
        variables: Of the model, before memory is taken for them.
        path: The file.

    Raises:
        UntrustedError: Saying how many there are.
    """
    count = sum(math.prod(variable.shape) for variable in variables)
    with zipfile.ZipFile(path) as file:
        stored = file.getinfo(WEIGHTS).file_size
    if count > stored:
        raise UntrustedError(f"it describes {count} weights and holds {stored} bytes of them")


def _check_declared(content: h5py.File, stored: int) -> None:
    """Refuse arrays that lie elsewhere, or are said to be larger than the file they are in."""
    sizes: list[int] = []

    def note(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            if entry.external or entry.is_virtual:
                raise UntrustedError(f"its weights {name} lie in another file")
            sizes.append(math.prod(entry.shape or ()) * entry.dtype.itemsize)
            return
        for part in entry:
            if not isinstance(entry.get(part, getlink=True), h5py.HardLink):
                raise UntrustedError(f"its weights {name}/{part} are a link")

    note("", content)
    content.visititems(note)
    if sum(sizes) > stored:
        raise UntrustedError(f"its weights are said to have {sum(sizes)} bytes, in {stored}")


def _walk(config: Any) -> Iterator[tuple[str, Any]]:
    """Every value within the configuration, with the nearest name above it."""
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, dict):
            waiting += [(str(name), part) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(key, part) for part in value]


def unknown_class(path: Path, own: Collection[str]) -> str:
    """A class that a file names, of nobody that is known here; "" if it names none.

    Args:
        path: The file.
        own: Names of classes that are known, too.
    """
    with zipfile.ZipFile(path) as file:
        config = parsed(file.read("config.json"))
    for _, value in _walk(config):
        if not isinstance(value, dict) or not value.get("registered_name"):
            continue
        name, module = value.get("class_name"), value.get("module")
        if name not in (*VALUES, "function") and not _is_of_keras(module):
            registered = value["registered_name"]
            if registered not in own and keras.saving.get_registered_object(registered) is None:
                return f"{module}.{name}"
    return ""


def _is_of_keras(module: Any) -> bool:
    return str(module).partition(".")[0] in ("keras", "keras_cvae", "builtins")


def _check_object(config: dict[str, Any], own: Collection[str]) -> None:
    """Refuse the configuration of an object that no model consists of.

    Raises:
        UntrustedError: Naming it.
    """
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    if name in VALUES or (own and registered in own):
        return
    if name == "function":
        named = config.get("config")
        if named in own:
            return
        plain = isinstance(named, str) and registered in (None, "function", named)
        known = module in ("builtins", "keras.activations") and callable(
            getattr(keras.activations, str(named), None)
        )
        replaced = isinstance(named, str) and keras.saving.get_registered_object(named) is not None
        if plain and known and not replaced and named not in RESOLVERS:
            return
        raise UntrustedError(f"it names the function {module}.{named}, expected an activation{OWN}")
    found = keras.saving.get_registered_object(registered) if registered else None
    if found is None and isinstance(name, str) and isinstance(module, str):
        found = _of_keras(module, name)
    elif _is_foreign(found):
        found = None
    if found is None:
        raise UntrustedError(
            f"it names {module}.{name} ({registered}), which is no part of a model{OWN}"
        )


def _is_foreign(found: Any) -> bool:
    """Whether a registered object is somebody's own, and not of this package."""
    return found is not None and not found.__module__.startswith("keras_cvae.")


def _of_keras(module: str, name: str) -> type | None:
    """A class of Keras' that models consist of, or None."""
    if module.startswith("keras.src.backend.torch.optimizers."):
        module = "keras.optimizers"  # PyTorch's own of each, whichever backend loads it
    top, _, rest = module.partition(".")
    package = rest.removeprefix("src.").split(".")[0]
    if top != "keras" or package not in ("", *PACKAGES):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    if not isinstance(found, type) or not issubclass(found, KINDS) or issubclass(found, REFUSED):
        return None
    return None if any(base.__name__ in LOOKUPS for base in found.__mro__) else found
