"""Data: digits, MNIST & co., ``.npz`` files, image folders; split, validate, batch.

``load`` turns a name or a path into a checked ``Data``; ``from_arrays`` does so for arrays at hand;
``Batches`` feeds a ``Split`` to ``fit``. Whatever cannot be used is refused with a ``DataError``
that says what came, what was expected and what to do next, before anything expensive starts.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from PIL import Image, ImageOps

from keras_cvae import errors, masks
from keras_cvae.conditions import take
from keras_cvae.errors import nearest
from keras_cvae.fastpath import Stored, binarized, moved

__all__ = [
    "Batches",
    "CompletionBatches",
    "Data",
    "DataError",
    "ImageFiles",
    "Split",
    "as_split",
    "from_arrays",
    "load",
]

Color = Literal["auto", "grey", "rgb"]
Progress = Callable[..., Iterable]

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
IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"])

_LAYOUT = (
    "Expected one sub-folder per class with images in it (FOLDER/CLASS/*.png), the same under "
    "train/ and test/, or images directly in the folder (no classes). "
    f"Image files end in {', '.join(sorted(IMAGE_SUFFIXES))}."
)
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})
_COLOUR_SAMPLE = 64  # files decoded to see whether RGB files are really grey
_THREADS = 4
_NOISE_ROWS = 64  # rows drawn together by the fixed binarisation; part of what defines the draw


class DataError(ValueError):
    """Data that cannot be used; the message says what came, what was expected and what to do."""


# ---------------------------------------------------------------------------------------------
# Containers


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their conditions.

    Attributes:
        x: `(n, h, w, c)` images or `(n, d)` vectors; uint8 0..255 or float32. `ImageFiles` when
            the images are decoded as they are needed.
        y: `(n,)` int32 class indices, `(n,)` or `(n, k)` float32 numbers, None: no condition; of
            several named conditions a dict of arrays, `(n, ...)` each.
    """

    x: np.ndarray | ImageFiles
    y: Any = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices) -> Split:
        """Returns the examples at `indices` (slice, integers or mask); files stay undecoded."""
        x = self.x.take(indices) if isinstance(self.x, ImageFiles) else self.x[indices]
        return Split(x, take(self.y, indices))

    def spread(self, most: int) -> Split:
        """Returns so many of its examples, evenly spread, as the first may be alike; or all."""
        n = len(self)
        return self if most >= n else self.take(np.arange(most) * n // most)

    def floats(self, indices=slice(None)) -> np.ndarray:
        """Returns x as float32, `(m, h, w, c)` or `(m, d)`; uint8 is divided by 255."""
        return _floats(self.x[indices])


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split and checked.

    Attributes:
        name: `digits`, `mnist`, ..., or the stem of the file, or the folder's name.
        train: What the model learns from.
        validation: Held out of train, or the test split itself (`validation="test"`).
        test: None if the source has none.
        class_names: In the order of the indices in y; None if y is None or continuous.
    """

    name: str
    train: Split
    validation: Split
    test: Split | None
    class_names: tuple[str, ...] | None

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one example: `(h, w, c)` or `(d,)`."""
        return tuple(self.train.x.shape[1:])

    def describe(self) -> dict[str, Any]:
        """Returns plain, JSON-able facts: counts, shape, values, condition, counts per class."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        x, y = self.train.x, self.train.y
        named = {} if not isinstance(y, dict) else {k: _described(v) for k, v in y.items()}
        facts: dict[str, Any] = {
            "name": self.name,
            "counts": {k: None if s is None else len(s) for k, s in splits.items()},
            "has_test": self.test is not None,
            "validation_is_test": self.validation is self.test,
            "x_shape": list(self.x_shape),
            "x_dtype": str(x.dtype),
            # Not scanned when streamed: that would decode every file.
            "value_range": [0, 255] if isinstance(x, ImageFiles) else _range(x),
            "streamed": isinstance(x, ImageFiles),
            "condition": "none",
            "classes": None,
            "class_counts": None,
        }
        if named:
            facts["condition"] = named
        elif y is not None and self.class_names is not None:
            names = self.class_names
            facts["condition"] = "classes"
            facts["classes"] = list(names)
            facts["class_counts"] = {
                k: dict(zip(names, np.bincount(s.y, minlength=len(names)).tolist(), strict=True))
                for k, s in splits.items()
                if s is not None and s.y is not None
            }
        elif y is not None:
            facts["condition"] = "numbers"
            facts["condition_size"] = 1 if y.ndim == 1 else y.shape[1]
            facts["condition_range"] = _range(y)
        return facts


class ImageFiles:
    """Image files that look like a uint8 array `(n, h, w, c)` and are decoded when indexed.

    Alpha is composited on white, 16-bit grey is scaled to 8 bits, the first frame of an animation
    is used, JPEG orientation is obeyed, and images of another size are stretched to `size`.

    Args:
        paths: n files.
        size: `(h, w)` of the decoded images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        resize: Whether files of another size are resized; otherwise they are a `DataError`.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, paths: Sequence[Path], size: tuple[int, int], channels: int, resize: bool = True
    ):
        self.paths = np.empty(len(paths), object)
        self.paths[:] = paths
        self.size, self.channels, self.resize = size, channels, resize

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(n, h, w, c)`."""
        return (len(self.paths), *self.size, self.channels)

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    @property
    def nbytes(self) -> int:
        """Bytes that all images take once decoded."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices) -> np.ndarray:
        """Decodes `(m, h, w, c)` uint8; `(h, w, c)` for an integer. `DataError` names bad files."""
        if isinstance(indices, int | np.integer):
            return self._decode(self.paths[indices])
        paths = self.paths[indices]
        images = np.empty((len(paths), *self.shape[1:]), np.uint8)
        for image, path in zip(images, paths, strict=True):
            image[:] = self._decode(path)
        return images

    def take(self, indices) -> ImageFiles:
        """Returns the files at `indices` without decoding them."""
        return ImageFiles(self.paths[indices], self.size, self.channels, self.resize)

    def decoded(self, progress: Progress | None = None) -> np.ndarray:
        """Decodes all files, several at once, into one uint8 array `(n, h, w, c)`."""
        images = np.empty(self.shape, np.uint8)

        def fill(i: int) -> None:  # writes in the worker: no second copy waits in a queue
            images[i] = self._decode(self.paths[i])

        _threaded(fill, range(len(self)), progress, "decoding images")
        return images

    def _decode(self, path: Path) -> np.ndarray:
        image = _read_image(path)
        height, width = self.size
        image = image.convert("L" if self.channels == 1 else "RGB")
        if image.size != (width, height):
            if not self.resize:
                raise DataError(
                    f"{path} is now {image.width}x{image.height} pixels; it was {width}x{height} "
                    "when the folder was read. Load the folder again."
                )
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(height, width, self.channels)


def read_image(path: str | Path, x_shape: tuple[int, ...]) -> np.ndarray:
    """Read one picture, stretched to `x_shape` `(h, w, c)`, as float32 in 0..1."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no image '{path}'.")
    height, width, channels = x_shape
    return ImageFiles([path], (height, width), channels)[0].astype(np.float32) / 255.0


# ---------------------------------------------------------------------------------------------
# Loading


def load(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    color: Color = "auto",
    validation: float | Literal["test"] = 0.1,
    seed: int = 0,
    memory_limit: int = 2**30,
    progress: Progress | None = None,
    conditions: Sequence[str] = (),
) -> Data:
    """Loads a data set by name or path.

    Args:
        source: `digits` (scikit-learn's, offline), `mnist`, `fashion_mnist`, `cifar10` (downloaded
            by Keras), or a path: an `.npz` file with `x_train`, `y_train` and optionally `x_test`,
            `y_test`, `class_names` (or just `x`, `y`), or a folder of images. A name wins over a
            folder of that name; write `./digits` for the folder.
        image_size: Side, or `(h, w)`, in pixels to which images are stretched.
        color: `grey` (1 channel), `rgb` (3 channels), or `auto`: arrays stay as they are, folders
            are grey if a sample of their files is.
        validation: Fraction of train held out, stratified by class, at least one example; `test`:
            the test split serves as validation and train stays whole.
        seed: Chooses the held-out examples.
        memory_limit: Bytes of decoded images above which a folder is decoded batch by batch.
        progress: Wraps long loops as `progress(iterable, total=, description=)`, e.g.
            `rich.progress.track`.
        conditions: Names of arrays in an `.npz` file that together are the condition, in place of
            y: "age" is `age`, or `age_train` and `age_test`.

    Raises:
        DataError: The source is unknown, missing, empty, damaged or inconsistent.
    """
    size = _checked_size(image_size)
    if color not in ("auto", "grey", "rgb"):
        raise DataError(f"Expected color 'auto', 'grey' or 'rgb'. Received: {color!r}")
    _check_validation(validation)
    options: dict[str, Any] = {"validation": validation, "seed": seed}
    if isinstance(source, str) and source in NAMED and not conditions:
        arrays = _digits() if source == "digits" else _download(source)
        return from_arrays(**arrays, name=source, image_size=size, color=color, **options)
    path = Path(source).expanduser()
    if conditions and path.suffix.lower() != ".npz":
        raise DataError(
            f"Named conditions ({', '.join(conditions)}) are arrays of an .npz file. Received: "
            f"{str(source)!r}."
        )
    if path.is_dir():
        return _load_folder(path, size, color, memory_limit, progress, **options)
    if path.is_file() and path.suffix.lower() == ".npz":
        return from_arrays(
            **_read_npz(path, conditions), name=path.stem, image_size=size, color=color, **options
        )
    raise DataError(_unknown(source, path))


load_data = load  # its name in the package, where `load` is for models


def from_arrays(
    x,
    y=None,
    *,
    test: tuple | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    validation: float | Literal["test"] = 0.1,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    color: Color = "auto",
) -> Data:
    """Checks arrays and makes a `Data` of them.

    Args:
        x: `(n, h, w)`, `(n, h, w, c)` or `(n, d)`. uint8 stays (0..255; `Split.floats` divides by
            255), and so do integer images within 0..255; integers that are all 0 or 1 are binary
            and become 0 and 255; booleans likewise; everything else becomes float32 unscaled.
        y: None; `(n,)` integers, booleans or strings: classes, numbered in sorted order; floats
            `(n,)` or `(n, k)`, or integers `(n, k)` with k > 1: numbers. A dict of arrays by name
            stays as it is, but for its lengths: the model's condition says what it means.
        test: `(x, y)` of the test set; every class in it must be in train.
        class_names: With integer y: the name of label i, or of the i-th distinct label. With
            string y: the order of the labels.
        name: What to call the data.
        validation: As in `load`.
        seed: As in `load`.
        image_size: As in `load`.
        color: As in `load`.

    Raises:
        DataError: Empty, of different lengths, NaN or infinite, of unusable shape or type.
    """
    size = _checked_size(image_size)
    xs = [_checked_x(x, "x")]
    ys = [_checked_y(y, len(xs[0]), "y")]
    if test is not None:
        xs.append(_checked_x(test[0], "x_test"))
        ys.append(_checked_y(test[1], len(xs[1]), "y_test"))
        if xs[0].shape[1:] != xs[1].shape[1:]:
            raise DataError(
                f"One example has shape {xs[0].shape[1:]} in train but {xs[1].shape[1:]} in test. "
                "Expected the same shape in both."
            )
        if (ys[0] is None) != (ys[1] is None):
            have, lack = ("train", "test") if ys[1] is None else ("test", "train")
            raise DataError(f"There is a y for {have} but none for {lack}. Give both or neither.")
    xs = [_recolored(_resized(x, size), color) for x in _canonical(xs)]
    ys, names = (ys, None) if isinstance(y, Mapping) else _encoded(ys, class_names)
    splits = [Split(x, y) for x, y in zip(xs, ys, strict=True)]
    return _data(name, splits[0], splits[1] if test is not None else None, names, validation, seed)


def as_split(x, y=None) -> Split:
    """Checks arrays that go with an existing model, without numbering classes anew.

    Args:
        x: As in `from_arrays`.
        y: None, `(n,)` integer class indices, or numbers as in `from_arrays`.

    Raises:
        DataError: As in `from_arrays`; also if y is made of strings or negative integers.
    """
    x = _checked_x(x, "x")
    y = _checked_y(y, len(x), "y")
    (x,) = _canonical([x])
    if y is not None and y.dtype.kind == "U":
        raise DataError(
            f"Expected class indices or numbers as y. Received: names such as {str(y[0])!r}. "
            "Convert them with class_names.index(name), or use from_arrays(x, y)."
        )
    if y is not None and y.dtype.kind != "f":
        if y.min() < 0:
            raise DataError(f"Class indices start at 0. Received: y with {y.min()}.")
        y = y.astype(np.int32)
    return Split(x, y)


def _data(
    name: str,
    train: Split,
    test: Split | None,
    class_names: tuple[str, ...] | None,
    validation: float | Literal["test"],
    seed: int,
) -> Data:
    _check_validation(validation)
    if isinstance(validation, str):
        if test is None:
            raise DataError(
                f"validation='test' needs a test set, and {name} has none. Give a fraction of the "
                "training data instead, e.g. validation=0.1."
            )
        return Data(name, train, test, test, class_names)
    kept, held = _hold_out(train.y if class_names else None, len(train), validation, seed)
    return Data(name, train.take(kept), train.take(held), test, class_names)


def _check_validation(validation: float | str) -> None:
    is_number = isinstance(validation, int | float) and not isinstance(validation, bool)
    if validation != "test" and not (is_number and 0 < float(validation) < 1):
        raise DataError(
            "Expected validation to be a fraction between 0 and 1, or 'test'. "
            f"Received: {validation!r}"
        )


def _hold_out(
    y: np.ndarray | None, n: int, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices `(kept, held out)`, each sorted; classes keep their shares to within one example."""
    y = np.zeros(n, np.int32) if y is None else y
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(y[order], kind="stable")]  # shuffled within each class
    # The first of each class stays: a class that is only in validation cannot be learned.
    free = order[1:][np.diff(y[order]) == 0]
    if not len(free):
        raise DataError(
            f"No validation set can be held out of {n} example(s) with one per class. "
            "Add examples, or use a source with a test set and validation='test'."
        )
    count = min(max(1, round(n * fraction)), len(free))
    held = free[((np.arange(count) + 0.5) * len(free) / count).astype(int)]
    mask = np.zeros(n, bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _unknown(source: str | Path, path: Path) -> str:
    expected = f"Expected one of {', '.join(NAMED)}, a path to an .npz file, or a folder of images."
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


# ---------------------------------------------------------------------------------------------
# Sources


def _digits() -> dict[str, Any]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = np.round(x.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    # The test set is the same for everyone: its seed is not the user's.
    train, test = _hold_out(y, len(y), 0.2, seed=0)
    names = NAMED["digits"]
    return {"x": x[train], "y": y[train], "test": (x[test], y[test]), "class_names": names}


def _download(name: str) -> dict[str, Any]:
    try:
        (x, y), test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises bare Exceptions for failing downloads
        raise DataError(
            f"The data set {name!r} could not be downloaded or read: {error}\n"
            "Without a network, give the path of an .npz file in Keras' layout (x_train, y_train, "
            f"x_test, y_test) instead, e.g. `cvae train path/to/{name}.npz`."
        ) from error
    return {"x": x, "y": y, "test": test, "class_names": NAMED[name]}


def _read_npz(path: Path, conditions: Sequence[str] = ()) -> dict[str, Any]:
    import zipfile
    import zlib

    damaged = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError)
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise ValueError("it holds a single .npy array")
            known: tuple[str, ...]
            known = ("x_train", "y_train", "x_test", "y_test", "x", "y", "class_names")
            known += tuple(n + end for n in conditions for end in ("", "_train", "_test"))
            arrays = {k: loaded[k] for k in known if k in loaded.files}
            found = ", ".join(loaded.files) or "nothing"
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


def _load_folder(
    root: Path,
    size: tuple[int, int] | None,
    color: Color,
    memory_limit: int,
    progress: Progress | None,
    **options: Any,
) -> Data:
    folders = {p.name for p in _listed(root) if p.is_dir()}
    if "train" in folders and folders <= {"train", "test", "val", "valid", "validation"}:
        if extra := folders - {"train", "test"}:
            raise DataError(
                f"{root} has {sorted(extra)[0]}/ beside train/. Expected train/ and, optionally, "
                "test/. Move those images into train/ (a part of it is held out by --validation) "
                "or into test/ (with --validation test)."
            )
        parts = [root / part for part in ("train", "test") if part in folders]
    else:
        parts = [root]
    listings = [_class_files(part) for part in parts]
    names = listings[0][1]
    index = {name: i for i, name in enumerate(names or ())}
    paths, ys = [], []
    for part, (files, part_names) in zip(parts, listings, strict=True):
        if (names is None) != (part_names is None):
            raise DataError(f"Only one of {parts[0]} and {part} has sub-folders. {_LAYOUT}")
        if new := [n for n in part_names or () if n not in index]:
            raise DataError(
                f"{part} has a class {new[0]!r} that {parts[0]} has not. "
                f"The classes in train are: {', '.join(names or ())}."
            )
        paths.append([path for path, _ in files])
        ys.append(np.array([index[c] for _, c in files], np.int32) if names else None)

    every = [path for part in paths for path in part]
    headers = _threaded(_header, every, progress, "checking images")
    if size is None:
        first = headers[0][0]
        for path, (other, _) in zip(every, headers, strict=True):
            if other != first:
                raise DataError(
                    f"The images differ in size: {every[0]} is {first[1]}x{first[0]} pixels "
                    f"(width x height), {path} is {other[1]}x{other[0]}. "
                    f"Choose one for all with --image-size N, e.g. --image-size {min(first)}."
                )
    channels = {"grey": 1, "rgb": 3}.get(color) or _channels(every, [mode for _, mode in headers])
    x: list[Any] = [ImageFiles(p, size or headers[0][0], channels, size is not None) for p in paths]
    if sum(files.nbytes for files in x) <= memory_limit:
        x = [files.decoded(progress) for files in x]
    splits = [Split(images, y) for images, y in zip(x, ys, strict=True)]
    test = splits[1] if len(splits) > 1 else None
    return _data(root.resolve().name, splits[0], test, names, **options)


def _class_files(folder: Path) -> tuple[list[tuple[Path, str]], tuple[str, ...] | None]:
    """`(file, class)` pairs and the class names; names are None without sub-folders."""
    folders = [p for p in _listed(folder) if p.is_dir()]
    found = {p.name: _images(p) for p in folders} or {"": _images(folder)}
    if not any(found.values()):
        raise DataError(f"{folder} holds no images. {_LAYOUT}")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(
            f"{folder / empty[0]} holds no images. Remove it or fill it: every sub-folder of "
            f"{folder} is a class."
        )
    pairs = [(path, name) for name, files in found.items() for path in files]
    return pairs, tuple(found) if folders else None


def _listed(folder: Path) -> list[Path]:
    """Entries that are not hidden, sorted so that 10 comes after 9."""

    def natural(path: Path) -> tuple:
        parts = re.split(r"([0-9]+)", path.name.casefold())
        return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name

    return sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)


def _images(folder: Path) -> list[Path]:
    return [p for p in _listed(folder) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]


# ---------------------------------------------------------------------------------------------
# Images


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """`((h, w), mode)` without decoding."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            return ((width, height) if _lies_sideways(image) else (height, width)), image.mode
    except Exception as error:  # PIL's parsers raise all sorts of things
        raise _unreadable(path, error) from error


def _read_image(path: Path) -> Image.Image:
    """Decodes wholly, upright, without alpha, at 8 bits per channel."""
    try:
        with Image.open(path) as file:
            file.load()
            image: Image.Image = file
            if file.format in ("JPEG", "MPO"):  # as in the header, see _lies_sideways
                image = ImageOps.exif_transpose(file)
            if image.mode == "F":
                raise ValueError("its pixels are floating-point; save the images as .npz")
            if image.mode.startswith("I"):
                values = np.asarray(image).astype(np.int64)
                if values.min() < 0 or values.max() > 65535:
                    raise ValueError("its pixels have more than 16 bits; save the images as .npz")
                image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                image = image.convert("RGB")
            # A copy outlives the file that is closed here.
            return image.copy() if image is file else image
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"The image {path} could not be read: {error}\n"
        "It may be truncated or not be an image. Replace it or remove it."
    )


def _lies_sideways(image: Image.Image) -> bool:
    # Only JPEG keeps the orientation where it can be read without decoding.
    return image.format in ("JPEG", "MPO") and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)


def _channels(paths: Sequence[Path], modes: Sequence[str]) -> int:
    """1 if all files are grey; of those in a colour mode, a sample is looked at."""
    colour = [p for p, mode in zip(paths, modes, strict=True) if mode not in _GREY_MODES]
    for path in colour[:: max(1, len(colour) // _COLOUR_SAMPLE)]:
        pixels = np.asarray(_read_image(path).convert("RGB"))
        if (pixels != pixels[..., :1]).any():
            return 3
    return 1


def _threaded(
    function: Callable[[Any], Any], items: Sequence, progress: Progress | None, description: str
) -> list:
    with ThreadPool(_THREADS) as pool:
        results: Iterable = pool.imap(function, items, chunksize=16)
        if progress is not None:
            results = progress(results, total=len(items), description=description)
        return list(results)


def _checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(s, int | np.integer) and s >= 1 for s in sides):
        raise DataError(
            f"Expected image_size as a side or (height, width) in pixels. Received: {image_size!r}"
        )
    return int(sides[0]), int(sides[1])


def _resized(x: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None or x.shape[1:3] == size:
        return x
    if x.ndim != 4:
        raise DataError(
            f"image_size needs images, (n, h, w) or (n, h, w, c). Received: x of shape {x.shape}."
        )
    resized = np.empty((len(x), *size, x.shape[3]), x.dtype)
    for target, image in zip(resized, x, strict=True):
        for c in range(x.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
            target[..., c] = plane.resize(size[::-1], Image.Resampling.BILINEAR)
    return resized


def _recolored(x: np.ndarray, color: Color) -> np.ndarray:
    channels = {"grey": 1, "rgb": 3}.get(color)
    if channels is None or (x.ndim == 4 and x.shape[3] == channels):
        return x
    if x.ndim != 4 or x.shape[3] not in (1, 3):
        raise DataError(
            f"color={color!r} needs images with 1 or 3 channels. Received: x of shape {x.shape}."
        )
    if channels == 3:
        return np.repeat(x, 3, axis=3)
    grey = x.astype(np.float32) @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return (np.round(grey) if x.dtype == np.uint8 else grey).astype(x.dtype)


# ---------------------------------------------------------------------------------------------
# Arrays


def _checked_x(x, what: str) -> np.ndarray:
    """`(n, h, w, c)` or `(n, d)`, non-empty and finite; integers as they came, floats float32."""
    x = np.asarray(x)
    if x.dtype.kind not in "buif":
        raise DataError(f"Expected numbers in {what}. Received: dtype {x.dtype}.")
    if x.ndim not in (2, 3, 4):
        raise DataError(
            f"Expected {what} of shape (n, h, w), (n, h, w, c) or (n, d). Received: {x.shape}."
        )
    if not x.size:
        raise DataError(f"Expected at least one example in {what}. Received: shape {x.shape}.")
    x = x[..., None] if x.ndim == 3 else x
    return _finite(x, what) if x.dtype.kind == "f" else x


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # becomes inf, which is reported below
        values = values.astype(np.float32, copy=False)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise DataError(
            f"{what} holds {bad.sum()} value(s) that are NaN, infinite or too large for float32; "
            f"the first is in row {row} (counted from 0). Remove or fill these rows."
        )
    return values


def _canonical(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """uint8 or float32, decided for all arrays together so that train and test stay alike."""
    if all(x.dtype.kind in "bui" for x in arrays):
        low, high = min(x.min() for x in arrays), max(x.max() for x in arrays)
        if low >= 0 and high <= 1:  # binary, however it was stored
            return [x.astype(np.uint8) * np.uint8(255) for x in arrays]
        is_image = arrays[0].ndim == 4 and low >= 0 and high <= 255
        if is_image or all(x.dtype == np.uint8 for x in arrays):
            return [x.astype(np.uint8, copy=False) for x in arrays]
    elif any(x.dtype.kind in "bui" for x in arrays):
        raise DataError(
            f"x is {arrays[0].dtype} in train but {arrays[1].dtype} in test. Expected integers in "
            "both or floats in both: their scales may differ."
        )
    return [x.astype(np.float32, copy=False) for x in arrays]


def _checked_y(y, n: int, what: str) -> Any:
    """`(n,)` integers or strings for classes, `(n,)` or `(n, k)` float32 for numbers."""
    if y is None:
        return None
    if isinstance(y, Mapping):
        named = {name: np.asarray(part) for name, part in y.items()}
        for name, part in named.items():
            if part.ndim < 1 or len(part) != n:
                raise DataError(
                    f"{what.replace('y', 'x')} has {n} examples but the condition {name!r} has the "
                    f"shape {part.shape}. Expected one for each example."
                )
        return {name: _named(part) for name, part in named.items()}
    y = np.asarray(y)
    if y.dtype.kind == "O" and all(isinstance(label, str) for label in y.flat):
        y = y.astype(str)
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind not in "buifU" or y.ndim not in (1, 2):
        raise DataError(
            f"Expected {what} of shape (n,) or (n, k) with integers, strings or floats. "
            f"Received: shape {y.shape}, dtype {y.dtype}."
        )
    if len(y) != n:
        raise DataError(
            f"{what.replace('y', 'x')} has {n} examples but {what} has {len(y)}. "
            "Expected one condition per example."
        )
    if y.dtype.kind == "f":
        return _finite(y, what)
    if y.ndim == 1 or y.shape[1] == 1:
        return y.reshape(n)
    if y.dtype.kind == "U":
        raise DataError(f"Expected one name per example in {what}. Received: shape {y.shape}.")
    return y.astype(np.float32)  # several integers per example: tags or counts, not one class


def _named(values: np.ndarray) -> np.ndarray:
    """A named condition: text as str, pictures of integers as floats within 0..1, as x."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind in "bui" and values.ndim > 2:
        return _floats(_canonical([values])[0])
    return values


def _encoded(
    ys: list[np.ndarray | None], class_names: Sequence[str] | None
) -> tuple[list[np.ndarray | None], tuple[str, ...] | None]:
    """Numbers the classes found in train 0..K-1; numbers pass as they are."""
    given = [y for y in ys if y is not None]
    kinds = [(y.dtype.kind if y.dtype.kind in "fU" else "i", y.shape[1:]) for y in given]
    if len(set(kinds)) > 1:
        train, test = (f"{y.dtype} of shape {y.shape}" for y in given)
        raise DataError(
            f"y is {train} in train but {test} in test. Expected the same kind of condition in both"
            ": classes, or equally many numbers."
        )
    if not given or given[0].dtype.kind == "f":
        if class_names is not None:
            came = "a y of numbers" if given else "no y"
            raise DataError(f"class_names need a y of integers or strings. Received: {came}.")
        return ys, None
    labels = np.unique(given[0])
    for y in given[1:]:
        if len(new := np.setdiff1d(y, labels)):
            raise DataError(
                f"The label {new[0].item()!r} is in test but not in train. "
                f"The labels in train are: {_shortened(labels)}."
            )
    if class_names is None:
        names = tuple(str(label) for label in labels)
        return [_numbered(y, labels) for y in ys], names
    names = tuple(str(name) for name in np.asarray(class_names).reshape(-1))
    if labels.dtype.kind == "U":
        if len(set(names)) != len(names) or not set(names) >= set(labels.tolist()):
            raise DataError(
                f"Expected class_names to name each label once: {_shortened(labels)}. "
                f"Received: {_shortened(names)}."
            )
        places = np.array([names.index(label) for label in labels.tolist()], np.int32)
        return [None if y is None else places[np.searchsorted(labels, y)] for y in ys], names
    if labels[0] >= 0 and labels[-1] < len(names):
        return [None if y is None else y.astype(np.int32) for y in ys], names
    if len(names) == len(labels):
        return [_numbered(y, labels) for y in ys], names
    raise DataError(
        f"y has {len(labels)} distinct labels ({_shortened(labels)}) but there are {len(names)} "
        f"class_names ({_shortened(names)}). Expected one name per label."
    )


def _numbered(y: np.ndarray | None, labels: np.ndarray) -> np.ndarray | None:
    return None if y is None else np.searchsorted(labels, y).astype(np.int32)


def _shortened(labels: Iterable, most: int = 10) -> str:
    shown = [str(label) for label in labels]
    return ", ".join(shown[:most]) + (f", ... ({len(shown)} in all)" if len(shown) > most else "")


def _described(values: np.ndarray) -> dict[str, Any]:
    """Plain facts about one named condition."""
    facts: dict[str, Any] = {"shape": list(values.shape[1:]), "dtype": str(values.dtype)}
    if values.dtype.kind in "iuf":
        return facts | {"range": [float(np.nanmin(values)), float(np.nanmax(values))]}
    return facts | {"values": _shortened(np.unique(values.astype(str)))}


def _range(values: np.ndarray) -> list:
    return [values.min().item(), values.max().item()]


def _floats(x: np.ndarray) -> np.ndarray:
    if x.dtype != np.uint8:
        return x
    return np.divide(x, np.float32(255), dtype=np.float32)


# ---------------------------------------------------------------------------------------------
# Batches


class Batches(keras.utils.PyDataset):
    """Batches of a split for `fit`, `evaluate` and `predict`; `x` alone comes as `(x,)`.

    The order of an epoch is a function of `(seed, epoch)` alone, so a resumed run that starts at
    `epoch` sees the stream that an uninterrupted one would have seen. For that, call
    `fit(batches, shuffle=False)`: by default Keras shuffles the order of the batches once more,
    with Python's global random state. `epoch` advances after each epoch of a `fit`; a loop of your
    own, and a `fit` that reuses the object for another model, should set it: `batches.epoch = 3`.

    With `workers` above 1, build model, loss and metrics before `fit`: otherwise Keras takes a
    batch to build them, and its queue hands the batches it had prefetched to the first epoch.

    Args:
        split: What to batch.
        batch_size: Examples per batch; the last batch may be smaller.
        shuffle: Whether to draw a new order for each epoch.
        seed: Of order and binarisation. Leave 0 for evaluation: then every run is scored on the
            same binarised examples.
        epoch: Where to start, counted from 0.
        binarize: `dynamic` draws x ~ Bernoulli(x), x within 0..1: anew in each epoch if `shuffle`,
            otherwise one fixed draw that depends only on `seed` and an example's index in the
            split, not on the batch size. `none` leaves x alone.
        shift: With `shuffle`, pixels, at most, by which pictures are moved along each axis before
            binarisation, anew in each epoch: a model has less to learn by heart.
        shift_epochs: The share of pictures that are moved falls from all to none over so many
            epochs, so that the model ends with x as it is.
        **kwargs: `workers` (default 2 for `ImageFiles`, otherwise 1), `use_multiprocessing`,
            `max_queue_size`.

    Raises:
        DataError: Binarisation of values outside 0..1, or a shift of what are no pictures.
        ValueError: An unusable batch size, way to binarise or shift.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        binarize: Literal["none", "dynamic"] = "none",
        shift: int = 0,
        shift_epochs: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**{"workers": 2 if isinstance(split.x, ImageFiles) else 1} | kwargs)
        if binarize not in ("none", "dynamic"):
            raise ValueError(f"Expected binarize 'none' or 'dynamic'. Received: {binarize!r}")
        if binarize == "dynamic" and isinstance(split.x, np.ndarray) and split.x.dtype != np.uint8:
            low, high = split.x.min(), split.x.max()
            if low < 0 or high > 1:
                raise DataError(
                    f"Dynamic binarisation needs values within 0..1. Received: {low:g}..{high:g}. "
                    "Rescale x, or train without binarisation."
                )
        self.split, self.shuffle, self.binarize = split, shuffle, binarize
        self.batch_size = errors.whole("batch_size", batch_size)
        self.seed, self.epoch = seed, epoch
        self.shift = errors.whole("shift", shift, 0)
        self.shift_epochs = errors.whole("shift_epochs", shift_epochs)
        if shift:
            check_shift(tuple(split.x.shape[1:]))
            if not shuffle:
                raise ValueError("shift is for training. Expected shuffle=True, or no shift.")
        self.all_conditions = split.y  # for `fit`, which looks for them in what yields batches
        self._order: tuple[int, np.ndarray] | None = None  # (epoch, permutation)
        self._was_reset = self._in_epoch = False

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Returns `(x (b, ...) float32, y (b, ...))`, or `(x,)` if there is no y."""
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} of {len(self)}")
        epoch = self.epoch
        start = index * self.batch_size
        stop = min(start + self.batch_size, len(self.split))
        rows = self._permutation(epoch)[start:stop] if self.shuffle else slice(start, stop)
        x = self.split.floats(rows) if self.binarize == "none" else self.split.x[rows]
        if self.shift:
            x = moved(x, rows, self._move(epoch))
        if self.binarize != "none" and self.shuffle:
            x = binarized(x, rows, self._key(epoch))
        elif self.binarize != "none":
            x = np.less(self._fixed_noise(start, stop, x.dtype), x).astype(np.float32)
        return (x,) if self.split.y is None else (x, take(self.split.y, rows))

    # Keras 3.15 calls on_epoch_end once before the first epoch of every fit (with an on_epoch_begin
    # before it only if it took a batch to build something); only later pairs are epochs. Counting
    # at the end, not at the beginning: prefetching starts before on_epoch_begin is called.
    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._in_epoch = self._was_reset

    def on_epoch_end(self) -> None:
        """Called by Keras: moves on to the next epoch."""
        self.epoch += self._in_epoch
        self._was_reset, self._in_epoch = True, False

    def _permutation(self, epoch: int) -> np.ndarray:
        cached = self._order  # one read: workers may replace it meanwhile
        if cached is None or cached[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.split))
            cached = self._order = (epoch, order)
        return cached[1]

    def _key(self, epoch: int) -> np.ndarray:
        # + 1: a trailing 0 would give the very entropy that ordered the epoch.
        return np.random.SeedSequence([self.seed, epoch, 1]).generate_state(2)

    def _move(self, epoch: int) -> np.ndarray:
        share = round(2**16 * max(0.0, 1.0 - epoch / self.shift_epochs))
        return np.array([*self._key(epoch), self.shift, share], np.uint32)

    def stored(self) -> Stored | None:
        """Returns what JAX's fast path needs; None if the batches must be made here one by one."""
        made_otherwise = type(self).__getitem__ is not Batches.__getitem__
        return None if made_otherwise else self._stored()

    def _stored(self) -> Stored | None:
        if not isinstance(self.split.x, np.ndarray):
            return None
        x, dynamic = self.split.x, self.binarize == "dynamic"
        if dynamic and not self.shuffle:
            x = np.less(self._fixed_noise(0, len(x), x.dtype), x) * np.uint8(255)
        return Stored(
            x,
            self.batch_size,
            self.split.y,
            order=lambda: self._permutation(self.epoch).astype(np.int32) if self.shuffle else None,
            key=lambda: self._key(self.epoch) if dynamic and self.shuffle else None,
            move=lambda: self._move(self.epoch) if self.shift else None,
            begin=self.on_epoch_begin,
            end=self.on_epoch_end,
        )

    def _fixed_noise(self, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        first, last = start // _NOISE_ROWS, -(-stop // _NOISE_ROWS)
        shape = (_NOISE_ROWS, *self.split.x.shape[1:])
        blocks = [
            _noise(np.random.default_rng([self.seed, 0, 0, block + 1]), shape, dtype)
            for block in range(first, last)
        ]
        return np.concatenate(blocks)[start - first * _NOISE_ROWS : stop - first * _NOISE_ROWS]


def check_shift(x_shape: tuple[int, ...]) -> None:
    """Refuse to move what are no pictures.

    Raises:
        DataError: Saying what came.
    """
    if len(x_shape) != 3:
        raise DataError(
            f"shift moves pictures (height, width, channels); received x of shape {x_shape}. "
            "Leave it out."
        )


class CompletionBatches(Batches):
    """Batches for completing x: `(x, y)` with y the same x, but for what `mask` leaves unknown.

    Holes are made after binarisation, so that y is a part of the very x that is scored. Random
    masks are drawn as binarisation is: anew in each epoch if `shuffle`, otherwise one fixed draw.

    Args:
        split: What to batch; its conditions are not used.
        batch_size: Examples per batch.
        mask: A mask as in `masks.known`, or "random".
        **kwargs: As in `Batches`.

    Raises:
        ValueError: A mask that does not fit x, and as in `Batches`.
    """

    def __init__(self, split: Split, batch_size: int, mask: Any, **kwargs: Any):
        super().__init__(Split(split.x), batch_size, **kwargs)
        self.shape = tuple(split.x.shape[1:])
        self.random = isinstance(mask, str) and mask == masks.RANDOM
        self.mask = None if self.random else masks.known(mask, self.shape)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Returns `(x, y)`, both `(b, ...)` float32."""
        epoch, x = self.epoch, super().__getitem__(index)[0]
        mask = self.mask
        if self.random and self.shuffle:
            rng = np.random.default_rng([self.seed, epoch, index + 1, 1])
            mask = masks.random(len(x), self.shape, rng)
        elif self.random:
            start = index * self.batch_size
            mask = self._fixed_masks(start, start + len(x))
        return x, masks.holes(x, mask)

    def stored(self) -> Stored | None:
        stored = None if self.random else self._stored()
        return stored and replace(stored, known=self.mask)

    def _fixed_masks(self, start: int, stop: int) -> np.ndarray:
        blocks = range(start // _NOISE_ROWS, -(-stop // _NOISE_ROWS))
        drawn = [
            masks.random(
                _NOISE_ROWS, self.shape, np.random.default_rng([self.seed, 0, 0, block + 1, 1])
            )
            for block in blocks
        ]
        first = blocks[0] * _NOISE_ROWS
        return np.concatenate(drawn)[start - first : stop - first]


def _noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Noise u with P(u < x) = x/255 for uint8 x, exactly, and x for float32 x in 0..1."""
    if dtype != np.uint8:
        return rng.random(shape, np.float32)
    # rng.integers(0, 255), at half the time: a full byte needs no rejection loop.
    noise = rng.integers(0, 256, shape, np.uint8)
    again = noise == 255
    noise[again] = rng.integers(0, 255, np.count_nonzero(again), np.uint8)
    return noise
