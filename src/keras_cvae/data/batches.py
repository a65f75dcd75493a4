"""Batches for `fit`, in an order that is a function of seed and epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Self

import keras
import numpy as np

from keras_cvae import errors, masks
from keras_cvae.data.containers import Split
from keras_cvae.data.hashed import binarized, moved
from keras_cvae.data.images import ImageFiles
from keras_cvae.data.stored import Stored
from keras_cvae.errors import DataError
from keras_cvae.trees import take

_NOISE_ROWS = 64  # rows drawn together by the fixed binarisation; part of what defines the draw


class Batches(keras.utils.PyDataset):
    """Batches of a split for `fit`, `evaluate` and `predict`; `x` alone comes as `(x,)`.

    The order of an epoch is a function of `(seed, epoch)` alone, so a resumed run that starts at
    `epoch` sees the stream that an uninterrupted one would have seen. For that, call
    `fit(batches, shuffle=False)`: by default Keras shuffles the order of the batches once more,
    with Python's global random state. `ConditionalVAE.fit` moves on to the next epoch after each of
    its epochs; the `fit` of another model needs the callback `NextEpoch(batches)` for that, and a
    loop of your own calls `next_epoch()`.

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
        made: So many batches of the first epoch come as zeros of the right size: what passes over
            them, as `fit(initial_step=made)` does, has no use for what is in them.
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
        made: int = 0,
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
        self._made = epoch, made
        self._own: Callable[[int], np.ndarray] | None = None
        self.shift = errors.whole("shift", shift, 0)
        self.shift_epochs = errors.whole("shift_epochs", shift_epochs)
        if shift:
            check_shift(tuple(split.x.shape[1:]))
            if not shuffle:
                raise ValueError("shift is for training. Expected shuffle=True, or no shift.")
        self.all_conditions = split.y  # for `fit`, which looks for them in what yields batches
        self._order: tuple[int, np.ndarray] | None = None  # (epoch, permutation)

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
        if epoch == self._made[0] and index < self._made[1]:
            x = np.zeros((stop - start, *self.split.x.shape[1:]), np.float32)
            return (x,) if self.split.y is None else (x, take(self.split.y, rows))
        x = self._read(rows)
        if self.shift:
            x = moved(x, rows, self._move(epoch))
        if self.binarize != "none" and self.shuffle:
            x = binarized(x, rows, self._key(epoch))
        elif self.binarize != "none":
            x = np.less(self._fixed_noise(start, stop, x.dtype), x).astype(np.float32)
        return (x,) if self.split.y is None else (x, take(self.split.y, rows))

    def sharing(self, own: Callable[[int], np.ndarray]) -> Self:
        """The same batches; of what lies in files, rows that others compute come as zeros.

        Args:
            own: From the size of a batch to the positions of the rows that are needed here.
        """
        shared = copy.copy(self)
        shared._own = own
        return shared

    def _read(self, rows: Any) -> np.ndarray:
        x = self.split.x
        read = self.split.floats if self.binarize == "none" else x.__getitem__
        if self._own is None or isinstance(x, np.ndarray):
            return read(rows)
        rows = np.arange(len(x))[rows]
        needed = self._own(len(rows))
        found = read(rows[needed])
        whole = np.zeros((len(rows), *found.shape[1:]), found.dtype)
        whole[needed] = found
        return whole

    def next_epoch(self) -> None:
        """Move on to the order of the next epoch."""
        self.epoch += 1

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


class NextEpoch(keras.callbacks.Callback):
    """Moves `Batches` on to the order of the next epoch after each epoch of a `fit`.

    Args:
        batches: What has `next_epoch()`.
    """

    def __init__(self, batches: Any):
        super().__init__()
        self.batches = batches

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras, before anything of the next epoch is asked for."""
        self.batches.next_epoch()


class CompletionBatches(Batches):
    """Batches for completing x: `(x, y)` with y the same x, but for what `mask` leaves unknown.

    Holes are made after binarisation, so that y is a part of the very x that is scored. Random
    masks are drawn as binarisation is: anew in each epoch if `shuffle`, otherwise one fixed draw.

    Args:
        split: What to batch; its conditions are not used.
        batch_size: Examples per batch.
        mask: A mask as in `masks.known`, or "random".
        **kwargs: The other arguments of `Batches`.

    Raises:
        ValueError: A mask that does not fit x, or an argument that `Batches` refuses.
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
