"""Data by name or by path: digits, MNIST & co., `.npz` files, folders of images."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keras_cvae.data.arrays import from_arrays
from keras_cvae.data.containers import Data
from keras_cvae.data.drawn import ABOUT
from keras_cvae.data.images import Color, Fit, Progress, checked_size
from keras_cvae.data.listing import load_listed
from keras_cvae.data.pictures import pictures_of
from keras_cvae.data.splits import check_validation, hold_out
from keras_cvae.errors import DataError, nearest
from keras_cvae.files import SQUEEZED, read_json

UNFOLDED = 2**28  # bytes of an array that may be stored in none
_DIGIT_NAMES = tuple("0123456789")


NAMED: dict[str, tuple[str, ...]] = {  # source name -> class names
    "digits": _DIGIT_NAMES,
    "mnist": _DIGIT_NAMES,
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
}


def load(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    color: Color = "auto",
    validation: float | Literal["test"] = 0.1,
    seed: int = 0,
    memory_limit: int = 2**30,
    progress: Progress | None = None,
    conditions: Sequence[str] = (),
    counts: bool = False,
    signals: bool = False,
    unlabelled: bool = False,
) -> Data:
    """Loads a data set by name or path.

    Args:
        source: `digits` (scikit-learn's, offline), `mnist`, `fashion_mnist`, `cifar10` (downloaded
            by Keras), or a path: an `.npz` file with `x_train`, `y_train` and optionally `x_test`,
            `y_test`, `class_names` (or just `x`, `y`), a folder of such files that `cvae generate
            --shard-rows` has written, or pictures: a folder of images, tar
            shards (a .tar, or a folder of them), Parquet files with a column of pictures, or
            `hf://NAME`, a data set of the Hugging Face hub. A name wins over a folder of that
            name; write `./digits` for the folder.
        image_size: Side, or `(h, w)`, in pixels that images get.
        fit: What is done to images of another shape, as in `images.fitted`: "crop", "pad",
            "stretch".
        color: `grey` (1 channel), `rgb` (3 channels), or `auto`: arrays stay as they are, folders
            are grey if a sample of their files is.
        validation: Fraction of train held out, stratified by class, at least one example; `test`:
            the test split serves as validation and train stays whole.
        seed: Chooses the held-out examples.
        memory_limit: Bytes of decoded images above which pictures are decoded as they are needed,
            once, and kept in the user's cache.
        progress: Wraps long loops as `progress(iterable, total=, description=)`, e.g.
            `rich.progress.track`.
        conditions: Names of what together is the condition, in place of y: of arrays in an `.npz`
            file ("age" is `age`, or `age_train` and `age_test`), of columns beside pictures, of
            fields in the .json beside a picture in a shard; "label" is the class.
        counts: Whether x are counts, which stay as they are.
        signals: Whether x are signals, `(n, length)` or `(n, length, channels)`.
        unlabelled: Whether -1, or "" among names, is no class of its own, but an unknown one.

    Raises:
        DataError: The source is unknown, missing, empty, damaged or inconsistent.

    Examples:
        >>> data = load_data("digits")
        >>> data.train.floats().shape, data.train.y[:5], data.class_names[:3]
        ((1294, 8, 8, 1), array([0, 2, 3, 6, 8], dtype=int32), ('0', '1', '2'))
    """
    size = checked_size(image_size)
    if color not in ("auto", "grey", "rgb"):
        raise DataError(f"Expected color 'auto', 'grey' or 'rgb'. Received: {color!r}")
    check_validation(validation)
    options: dict[str, Any] = {"validation": validation, "seed": seed}
    as_arrays = options | {"image_size": size, "fit": fit, "color": color}
    as_arrays |= {"counts": counts, "signals": signals, "unlabelled": unlabelled}
    if isinstance(source, str) and source in NAMED and not conditions:
        return from_arrays(**named(source), name=source, **as_arrays)
    path = Path(source).expanduser()
    if (path / ABOUT).is_file():
        return from_arrays(**read_draws(path), name=path.name, **as_arrays)
    if path.is_dir() and (counts or signals):
        kind = "Counts" if counts else "Signals"
        raise DataError(f"{kind} are the array x of an .npz file. Received: the folder '{source}'.")
    if listing := pictures_of(source, progress):
        options |= {"conditions": conditions, "unlabelled": unlabelled}
        return load_listed(listing, size, color, memory_limit, progress, fit, **options)
    if conditions and path.suffix.lower() != ".npz":
        raise DataError(
            f"Named conditions ({', '.join(conditions)}) are arrays of an .npz file, or what is "
            f"known of each picture. Received: {str(source)!r}."
        )
    if path.is_file() and path.suffix.lower() == ".npz":
        return from_arrays(**read_npz(path, conditions), name=path.stem, **as_arrays)
    raise unknown(source, path)


load_data = load  # its name in the package, where `load` is for models


def unknown(source: str | Path, path: Path) -> DataError:
    """The error for a source that is none."""
    return DataError(_unknown(source, path))


def _unknown(source: str | Path, path: Path) -> str:
    expected = (
        f"Expected one of {', '.join(NAMED)}, a path to an .npz file, or pictures: a folder of "
        "images, tar shards, Parquet files, hf://NAME."
    )
    if path.is_file():
        return f"{path} is not an .npz file. {expected}"
    siblings = [
        p.name
        for p in (path.parent.iterdir() if path.parent.is_dir() else ())
        if p.suffix.lower() == ".npz" or p.is_dir()
    ]
    known = {n.lower(): n for n in siblings} | {n: n for n in NAMED}
    near = difflib.get_close_matches(path.name.lower(), known, n=1)
    hint = ""
    if near:
        match = known[near[0]]
        hint = f"Did you mean {match if match in NAMED else path.parent / match}? "
    return f"No data set, file or folder is called {str(source)!r}. {hint}{expected}"


def named(source: str) -> dict[str, Any]:
    """The arrays of a data set by name, as `from_arrays` takes them."""
    return _digits() if source == "digits" else _download(source)


def _digits() -> dict[str, Any]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = np.round(x.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    # The test set is the same for everyone: its seed is not the user's.
    train, test = hold_out(y, len(y), 0.2, seed=0)
    names = NAMED["digits"]
    return {"x": x[train], "y": y[train], "test": (x[test], y[test]), "class_names": names}


def _download(name: str) -> dict[str, Any]:
    import keras

    try:
        (x, y), test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises bare Exceptions for failing downloads
        raise DataError(
            f"The data set {name!r} could not be downloaded or read: {error}\n"
            "Without a network, give the path of an .npz file in Keras' layout (x_train, y_train, "
            f"x_test, y_test) instead, e.g. `cvae train path/to/{name}.npz`."
        ) from error
    return {"x": x, "y": y, "test": test, "class_names": NAMED[name]}


def _check_sizes(archive: Any, members: Sequence[str]) -> None:
    """Refuse arrays that are said to be larger than what is stored of them, before there is memory.

    Raises:
        ValueError: Naming the array.
    """
    for name in members:
        member = archive.getinfo(name) if name in archive.namelist() else archive.getinfo(name[:-4])
        stored, size = member.compress_size, member.file_size
        if size > SQUEEZED * stored + UNFOLDED:
            raise ValueError(
                f"its {name[:-4]} has {stored} bytes that stand for {size}; if that is meant, save "
                "it with np.savez, without compression"
            )
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        if math.prod(shape) * dtype.itemsize > size:
            raise ValueError(f"its {name[:-4]} is said to have the shape {shape}, in {size} bytes")


def read_npz(path: Path, conditions: Sequence[str] = ()) -> dict[str, Any]:
    """Read the arrays of an `.npz` file, as `from_arrays` takes them.

    Raises:
        DataError: The file is damaged, or holds no x, or not the conditions.
    """
    import tokenize
    import zipfile
    import zlib

    damaged: tuple[type[Exception], ...]
    damaged = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)
    damaged += (SyntaxError, TypeError, tokenize.TokenError)  # NumPy's, of an array's description
    try:
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            if start == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it holds a single .npy array")
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no archive of arrays")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            known: tuple[str, ...]
            known = ("x_train", "y_train", "x_test", "y_test", "x", "y", "class_names")
            known += tuple(n + end for n in conditions for end in ("", "_train", "_test"))
            wanted = [name for name in known if name in loaded.files]
            _check_sizes(loaded.zip, [f"{name}.npy" for name in wanted])
            arrays = {name: loaded[name] for name in wanted}
            found = ", ".join(loaded.files) or "nothing"
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory: {error}") from error
    except damaged as error:
        raise DataError(
            f"{path} could not be read as an .npz file of plain arrays: {error}\n"
            "It may be truncated, or hold Python objects. Save it again with "
            "np.savez_compressed(path, x_train=..., y_train=...)."
        ) from error
    suffix = "_train" if "x_train" in arrays else ""
    if f"x{suffix}" not in arrays:
        raise DataError(
            f"{path} holds {found}. Expected x_train, optionally with y_train, x_test, y_test "
            "and class_names; or x, optionally with y."
        )
    if conditions:
        splits = [(suffix, "x" + suffix)] + ([("_test", "x_test")] if "x_test" in arrays else [])
        wanted = [name + end for end, _ in splits for name in conditions]
        if missing := [name for name in wanted if name not in arrays]:
            raise DataError(
                f"{path} holds {found}. Expected the condition {missing[0]} among them."
                f"{nearest(missing[0], found.split(', '))}"
            )
        train, *test = ({n: arrays[n + end] for n in conditions} for end, _ in splits)
        return {
            "x": arrays[f"x{suffix}"],
            "y": train,
            "test": (arrays["x_test"], test[0]) if test else None,
        }
    if "y_test" in arrays and "x_test" not in arrays:
        raise DataError(f"{path} holds y_test but no x_test. Expected both or neither.")
    return {
        "x": arrays[f"x{suffix}"],
        "y": arrays.get(f"y{suffix}"),
        "test": (arrays["x_test"], arrays.get("y_test")) if "x_test" in arrays else None,
        "class_names": arrays.get("class_names"),
    }


def read_draws(folder: Path) -> dict[str, Any]:
    """Read the arrays of a folder of draws, as `from_arrays` takes them.

    Raises:
        DataError: Draws are missing, or they are no `.npz` files.
    """
    about = read_json(folder / ABOUT)
    count = math.ceil(about.get("total", 0) / about.get("rows", 1))
    paths = [folder / f"part-{i:05d}.npz" for i in range(count)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(
            f"Of the {count} files of draws in '{folder}' {len(missing)} are missing, among them "
            f"{missing[0]}. Expected all of them, as .npz: the command that drew them continues."
        )
    parts = [read_npz(path) for path in paths]
    y = None if parts[0]["y"] is None else np.concatenate([part["y"] for part in parts])
    return {"x": np.concatenate([part["x"] for part in parts]), "y": y}


def other_arrays(path: Path, n: int) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, by name, that may be conditions of its n training examples."""
    found = {}
    with np.load(path, allow_pickle=False) as loaded:
        names = set(loaded.files)
        ending = "_train" if "x_train" in names else ""
        for name in sorted(names):
            bare = name.removesuffix(ending)
            tested = "x_test" not in names or f"{bare}_test" in names
            if bare in ("x", "y", "class_names") or not name.endswith(ending) or not tested:
                continue
            with contextlib.suppress(ValueError):  # Python objects, or more than there is
                _check_sizes(loaded.zip, [f"{name}.npy"])
                values = loaded[name]
                if values.ndim and len(values) == n and values.dtype.kind in "buifUS":
                    found[bare] = values
    return found
