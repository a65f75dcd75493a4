"""Keras' `fit` and `evaluate` for a conditional VAE: data are checked first, and run fast."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from keras_cvae import errors, trees
from keras_cvae.backend import within_fit
from keras_cvae.data.batches import NextEpoch
from keras_cvae.fused.applies import decide
from keras_cvae.fused.program import Fused
from keras_cvae.models.inputs import is_array
from keras_cvae.models.state import Model


class Examples(NamedTuple):
    """What is learned from or evaluated.

    Args:
        x: An array `(n, *x_shape)`, or a data set that yields batches of `(x, y, sample_weight)`.
        y: With an array: the conditions, canonical, or None.
        sample_weight: With an array: `(n,)`, or None.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None

    def cut(self, share: float) -> tuple["Examples", "Examples"]:
        """Hold out the last share of arrays, as Keras' `validation_split` does.

        Raises:
            ValueError: Nothing would be left, or there is no array to cut.
        """
        if not is_array(self.x):
            raise ValueError(
                f"validation_split={share:g} cuts arrays; received {type(self.x).__name__}, which "
                "yields batches. Expected validation_data=... in its place."
            )
        n = len(self.x)
        at = math.floor(n * (1 - share))
        if not 0 < at < n:
            raise ValueError(
                f"validation_split={share:g} of {n} example(s) leaves none to train on or none to "
                "validate with. Expected more examples, or another share."
            )
        head, tail = (
            Examples(*(trees.take(part, rows) for part in self))
            for rows in (slice(at), slice(at, None))
        )
        return head, tail

    def for_keras(self) -> Any:
        """This as Keras' `validation_data`."""
        return tuple(self) if is_array(self.x) else self.x


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Callbacks as a list, of what Keras takes for them."""
    return [] if callbacks is None else keras.tree.flatten(callbacks)


def check_sizes(epochs: Any, batch_size: Any, validation_split: Any) -> None:
    """Refuse sizes that cannot be, before anything is computed.

    Raises:
        ValueError: Naming the one that came and what was expected.
    """
    errors.whole("epochs", epochs, 0)
    if batch_size is not None:
        errors.whole("batch_size", batch_size)
    if not errors.number("validation_split", validation_split) < 1:
        raise ValueError(
            f"validation_split: received {validation_split}, expected a part of 1, like 0.1."
        )


class Training(Model):
    """How a `ConditionalVAE` is trained and evaluated."""

    condition: Any
    memory: Any
    likelihood: Any
    noise: Any
    train_function: Any
    test_function: Any
    _fused: Fused
    _check: Callable[..., Any]
    _repack: Callable[..., Any]

    def fit(
        self,
        x=None,
        y=None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        sample_weight=None,
        validation_data=None,
        validation_split: float = 0.0,
        **kwargs,
    ):
        """As in Keras: `fit(x, y)` with y the condition, or a data set of `(x, y)`.

        Several named conditions come as a dict of arrays or a DataFrame. Where all of them may be
        missing, y may be left out. Numbers and signals (and bounded x) are scaled by the first that
        are fitted. A data set must yield y as `condition.spec.prepare` gives it: classes as
        positions, 0 .. K - 1.

        Args:
            x: Array `(n, *x_shape)`, or a data set.
            y: The conditions of an array, or None.
            batch_size: Examples per step, of arrays; 32 by default.
            epochs: Passes over the data.
            sample_weight: How much each example counts, `(n,)`, with arrays.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or a data set.
            validation_split: The last share of arrays is held out for validation. It is not
                learned from in any way: scalings are those of the rest.
            **kwargs: As in Keras: `callbacks`, `verbose`, `shuffle`, `initial_epoch`,
                `steps_per_epoch`, `validation_steps`, `validation_batch_size`, `validation_freq`.

        Raises:
            ValueError: Arrays that do not fit each other or the model, or sizes that cannot be.
        """
        check_sizes(epochs, batch_size, validation_split)
        given = validation_data, validation_split
        with self.turn:
            train, held = self._prepared(Examples(x, y, sample_weight), *given)
            return self._run(train, held, batch_size, epochs, **kwargs)

    def _prepared(
        self, given: Examples, validation_data: Any, validation_split: float
    ) -> tuple[Examples, Examples | None]:
        """What is trained on and what is held out, checked; scalings are taken from the former."""
        train, held = self._checked(given), None
        if isinstance(validation_data, tuple | list):
            held = self._checked(Examples(*validation_data), "validation x")
        elif validation_data is not None:
            held = Examples(validation_data)
        elif validation_split:
            train, held = train.cut(validation_split)
        self._learn_scales(train)
        return train, held

    def _run(
        self,
        train: Examples,
        held: Examples | None,
        batch_size: int | None,
        epochs: int,
        *,
        callbacks=None,
        shuffle: bool | str = True,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        **kwargs,
    ):
        """Keras' `fit` of examples that are checked."""
        callbacks = listed(callbacks)  # of one that is no list, Keras calls the hooks in a thread
        if hasattr(train.x, "next_epoch"):
            callbacks = [NextEpoch(train.x), *callbacks]
        feeds = {
            "train": decide(
                self,
                *train,
                training=True,
                batch_size=batch_size,
                shuffle=shuffle,
                steps=steps_per_epoch,
                callbacks=callbacks,
            ),
        }
        if held is not None:
            feeds["test"] = decide(
                self,
                *held,
                training=False,
                batch_size=validation_batch_size or batch_size,
                steps=validation_steps,
                callbacks=callbacks,
            )
        before = self._fused.feeds
        try:
            self._fused.feed(**feeds)
            return super().fit(
                *train[:2],
                batch_size=batch_size,
                epochs=epochs,
                sample_weight=train.sample_weight,
                callbacks=callbacks,
                validation_data=held and held.for_keras(),
                shuffle=shuffle,
                steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
                validation_batch_size=validation_batch_size,
                **kwargs,
            )
        finally:
            self._fused.feeds = before

    def evaluate(
        self, x=None, y=None, batch_size: int | None = None, *, sample_weight=None, **kwargs
    ):
        """As in Keras, with the same noise at every call and schedules at their end.

        Raises:
            ValueError: Arrays that do not fit each other or the model.
        """
        with self.turn:
            self.noise.rewind()
            if within_fit(kwargs):  # which has checked everything
                return super().evaluate(x, y, batch_size, sample_weight=sample_weight, **kwargs)
            held = self._checked(Examples(x, y, sample_weight))
            steps, callbacks = kwargs.get("steps"), kwargs.get("callbacks")
            test = decide(
                self, *held, training=False, batch_size=batch_size, steps=steps, callbacks=callbacks
            )
            (x, y, sample_weight), before = held, self._fused.feeds
            try:
                self._fused.feed(test=test)
                return super().evaluate(x, y, batch_size, sample_weight=sample_weight, **kwargs)
            finally:
                self._fused.feeds = before

    def _checked(self, given: Examples, name: str = "x") -> Examples:
        """Examples as the steps take them.

        Raises:
            ValueError: Saying what does not fit.
        """
        return Examples(*self._check(*given, name=name))

    def _learn_scales(self, train: Examples) -> None:
        """Take scalings, where there are none yet, and the classes there are, from what is trained
        on.
        """
        x, y, _ = train
        if not is_array(x):
            self.memory.see(getattr(x, "all_conditions", None))
            return
        if self.likelihood.view is not None:
            self.likelihood.view.settle(x, again=False)
        if y is not None:
            self.condition.settle(y, again=False)
            self.memory.see(y)

    # Keras' hooks.

    def make_train_function(self, force: bool = False):
        """Keras' hook for the compiled step, which runs many at once where `fit` can."""
        made = self.train_function is not None and not force
        super().make_train_function(force)
        if not made:
            self.train_function = self._fused.around("train", self.train_function)

    def make_test_function(self, force: bool = False):
        """Keras' hook for the compiled step of an evaluation."""
        made = self.test_function is not None and not force
        super().make_test_function(force)
        if not made:
            self.test_function = self._fused.around("test", self.test_function)

    def train_step(self, *args):
        *state, data = args
        return super().train_step(*state, self._repack(data))

    def test_step(self, *args):
        *state, data = args
        return super().test_step(*state, self._repack(data))
