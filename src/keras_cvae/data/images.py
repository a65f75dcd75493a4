"""Image files, decoded."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_cvae.data.decoded import Decoded
from keras_cvae.data.places import Places
from keras_cvae.errors import DataError

Color = Literal["auto", "grey", "rgb"]


Fit = Literal["crop", "pad", "stretch"]


Progress = Callable[..., Iterable]


# PIL knows others, some of which it leaves to programs that it finds.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
PIXELS = 2**26  # of one picture; more is what a bomb has
IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"])


_THREADS = 4


class ImageFiles:
    """Image files that look like a uint8 array `(n, h, w, c)` and are decoded when indexed.

    Alpha is composited on white, 16-bit grey is scaled to 8 bits, the first frame of an animation
    is used, JPEG orientation is obeyed, and images of another size are fitted into `size`.

    Args:
        places: Where n files lie: paths, or `Places`.
        size: `(h, w)` of the decoded images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        resize: Whether files of another size are resized; otherwise they are a `DataError`.
        fit: What is done to those of another shape, as in `fitted`.
        rows: Which of the places these are, `(n,)`; None for all.
        decoded: Where those are kept that were decoded once, of all places.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        places: Places | Sequence[Path],
        size: tuple[int, int],
        channels: int,
        resize: bool = True,
        fit: Fit = "crop",
        rows: np.ndarray | None = None,
        decoded: Decoded | None = None,
    ):
        self.places = places if isinstance(places, Places) else Places.of(places)
        self.size, self.channels, self.resize, self.fit = size, channels, resize, fit
        self.rows = np.arange(len(self.places)) if rows is None else rows
        self.kept = decoded

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(n, h, w, c)`."""
        return (len(self.rows), *self.size, self.channels)

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    @property
    def nbytes(self) -> int:
        """Bytes that all images take once decoded."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Any) -> np.ndarray:
        """Decodes `(m, h, w, c)` uint8; `(h, w, c)` for an integer. `DataError` names bad files."""
        if isinstance(indices, int | np.integer):
            return self[[indices]][0]
        rows = self.rows[indices]
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        missing = [not self._filled(i, image) for i, image in zip(rows, images, strict=True)]
        if self.kept and any(missing):
            self.kept.missing(self.take(slice(0, 0)), sum(missing))
        return images

    def take(self, indices: Any) -> ImageFiles:
        """Returns the files at `indices` without decoding them."""
        return self._like(self.rows[indices])

    def keeping(self, decoded: Decoded | None) -> ImageFiles:
        """Returns the same, decoded once: each is kept there."""
        return self._like(self.rows, decoded)

    def _like(self, rows: np.ndarray, decoded: Decoded | None = None) -> ImageFiles:
        how = (self.size, self.channels, self.resize, self.fit)
        return ImageFiles(self.places, *how, rows, decoded or self.kept)

    def fingerprint(self) -> str:
        """A hash of what these files are and of how they are decoded."""
        about = hashlib.sha256(self.places.fingerprint().encode() + self.rows.tobytes())
        about.update(repr((self.size, self.channels, self.resize, self.fit)).encode())
        return about.hexdigest()[:32]

    def decoded(
        self, progress: Progress | None = None, bad: dict[int, UnreadableError] | None = None
    ) -> np.ndarray:
        """Decode all files, several at once, into one uint8 array `(n, h, w, c)`.

        Args:
            progress: Wraps the loop over files.
            bad: Takes the errors of files that cannot be decoded, by row; their pixels mean
                nothing. None raises the first.
        """
        images = np.empty(self.shape, np.uint8)

        def fill(i: int) -> None:  # writes in the worker: no second copy waits in a queue
            try:
                images[i] = self._decode(self.rows[i])
            except UnreadableError as error:
                if bad is None:
                    raise
                bad[i] = error

        threaded(fill, range(len(self)), progress, "decoding images")
        return images

    def fill(self, place: int) -> None:
        """Decode and keep what lies at a place, unless it is there already or cannot be decoded."""
        if self.kept and not self.kept.has(place):
            with contextlib.suppress(DataError):
                self.kept.write(place, self._decode(place))

    def _filled(self, place: int, image: np.ndarray) -> bool:
        """Put what lies at a place into `image`; whether it was decoded before."""
        if self.kept and self.kept.read(place, image):
            return True
        image[:] = self._decode(place)
        if self.kept:
            self.kept.write(place, image)
        return False

    def _decode(self, place: int) -> np.ndarray:
        image = decode(self.places, place)
        height, width = self.size
        if image.mode != (mode := "L" if self.channels == 1 else "RGB"):
            image = image.convert(mode)
        if image.size != (width, height):
            if not self.resize:
                raise DataError(
                    f"{self.places.name(place)} is {image.width}x{image.height} pixels; others are "
                    f"{width}x{height}. Choose one size for all with --image-size N, e.g. "
                    f"--image-size {min(width, height)}."
                )
            image = fitted(image, (height, width), self.fit)
        return np.asarray(image).reshape(height, width, self.channels)


def fitted(image: Image.Image, size: tuple[int, int], fit: Fit = "crop") -> Image.Image:
    """Resize an image to `size` `(h, w)`.

    Args:
        image: Of any size.
        size: Height and width that it gets.
        fit: What is done if its sides have another ratio. "crop": what is too much is cut off,
            equally on both sides. "pad": what is missing is filled with the median of its border.
            "stretch": its proportions change.
    """
    (height, width), how = size, Image.Resampling.BILINEAR
    if fit == "stretch" or image.width * height == image.height * width:
        return image.resize((width, height), how)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), how)
    return ImageOps.pad(image, (width, height), how, color=_border(image))


def _border(image: Image.Image) -> Any:
    """The median colour of an image's border."""
    pixels = np.asarray(image)
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    color = np.median(np.concatenate(edges), axis=0)
    whole = color if image.mode == "F" else color.astype(int)
    return whole.item() if whole.ndim == 0 else tuple(whole.tolist())


def read_image(path: str | Path, x_shape: tuple[int, ...], fit: Fit = "crop") -> np.ndarray:
    """Read one picture, fitted into `x_shape` `(h, w, c)`, as float32 in 0..1."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no image '{path}'.")
    height, width, channels = x_shape
    return ImageFiles([path], (height, width), channels, fit=fit)[0].astype(np.float32) / 255.0


def opened(file: BinaryIO | Path) -> Image.Image:
    """Open a picture, of which only the header is read.

    Raises:
        ValueError: It has too many pixels.
        OSError: It is no picture, or is damaged.
    """
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > PIXELS:
        image.close()
        raise ValueError(
            f"it has {image.width}x{image.height} pixels, at most {PIXELS} are read; save a "
            "smaller one, or an .npz"
        )
    return image


def decode(places: Places, i: int) -> Image.Image:
    """Decodes wholly, upright, without alpha, at 8 bits per channel."""
    try:
        with places.open(i) as content, opened(content) as file:
            file.load()
            image: Image.Image = file
            if file.format in ("JPEG", "MPO"):  # as in the header, see lies_sideways
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
            return image  # its pixels outlive the file that is closed here
    except Exception as error:
        raise UnreadableError(places.name(i), error, lambda: places.open(i)) from error


class UnreadableError(DataError):
    """An image that cannot be decoded.

    Args:
        name: What it is called.
        error: What Pillow, or the system, says of it.
        content: Opens it again.
    """

    def __init__(self, name: str | Path, error: Exception, content: Callable[[], BinaryIO]):
        self.reason = _reason(error, content)
        super().__init__(
            f"The image {name} could not be read: {self.reason}. Replace or remove it."
        )


def _reason(error: Exception, content: Callable[[], BinaryIO]) -> str:
    """Why an image cannot be read, as a clause."""
    try:
        with content() as file:
            head = file.read(12)
    except OSError as wrong:
        return str(wrong.strerror or wrong)
    if not head:
        return "it is empty"
    if head[4:8] == b"ftyp":  # ISO base media: HEIC and AVIF, and films
        return "it is HEIC, AVIF or a film, whatever its name says; convert it to JPEG"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or only a part of one"
    return str(error)


def lies_sideways(image: Image.Image) -> bool:
    """Whether the orientation that a JPEG names swaps its height and width."""
    # Only JPEG keeps the orientation where it can be read without decoding.
    return image.format in ("JPEG", "MPO") and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)


def threaded(
    function: Callable[[Any], Any], items: Sequence, progress: Progress | None, description: str
) -> list:
    """Map a function over items in a few threads; results in order."""
    with ThreadPool(_THREADS) as pool:
        results: Iterable = pool.imap(function, items, chunksize=16)
        if progress is not None:
            results = progress(results, total=len(items), description=description)
        return list(results)


def checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """`(height, width)` of what a user gives as an image size, or None."""
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(s, int | np.integer) and s >= 1 for s in sides):
        raise DataError(
            f"Expected image_size as a side or (height, width) in pixels. Received: {image_size!r}"
        )
    return int(sides[0]), int(sides[1])


def resized(x: np.ndarray, size: tuple[int, int] | None, fit: Fit = "crop") -> np.ndarray:
    """Images `(n, h, w, c)` fitted into a size."""
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
            target[..., c] = fitted(plane, size, fit)
    return resized


def recolored(x: np.ndarray, color: Color) -> np.ndarray:
    """Images in grey or RGB."""
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
