"""The Keras model that all of ours are: whatever it is asked, and however it ends, it is whole."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras import ops

from keras_cvae.backend import (
    KeptState,
    closing_scopes,
    divided_rows,
    dividing_rows,
    held,
    layers_of,
    remembered,
)
from keras_cvae.conditions.spec import ConditionSpec, JointSpec
from keras_cvae.errors import listed
from keras_cvae.files import atomic
from keras_cvae.fused.divided import check_weights
from keras_cvae.inference.steps import Programs, Snapshot, as_numpy
from keras_cvae.models.serialization import rebuilt


def outputs(model: Any, inputs: dict[str, Any]) -> Any:
    """What the model gives when it is called."""
    return model(inputs)


def _count(shape: Any) -> int | None:
    """How many examples a batch of this shape has, if that is known."""
    try:
        return next(iter(shape), None)
    except ValueError:  # on TensorFlow not even the rank
        return None


def _fits(found: Any, shape: tuple[int, ...]) -> bool:
    """Whether a batch of shape `found`, not all of which may be known, has examples of `shape`."""
    try:
        rest = tuple(found)[1:]
    except ValueError:
        return True
    rest += (1,) if len(rest) == len(shape) - 1 and shape[-1] == 1 else ()
    return len(rest) == len(shape) and all(
        size in (None, one) for size, one in zip(rest, shape, strict=True)
    )


def _parts(condition: Any, spec: ConditionSpec) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Canonical conditions by name, with the shape of one; `()` where that may differ.

    Raises:
        ValueError: Others than those that there are.
    """
    if not isinstance(spec, JointSpec):
        return {"condition": (condition, spec.shape)}
    if not isinstance(condition, Mapping) or set(condition) != set(spec.parts):
        came = listed(condition) if isinstance(condition, Mapping) else type(condition).__name__
        raise ValueError(f"Received the conditions {came}. Expected {listed(spec.parts)}.")
    return {f"condition {n!r}": (condition[n], part.shape) for n, part in spec.parts.items()}


def not_finite(model: keras.Model) -> str:
    """Says which weights are not finite; nothing if all are."""
    wrong = [v.path for v in model.variables if not np.isfinite(_numbers(v)).all()]
    if not wrong:
        return ""
    return f"{len(wrong)} of {len(model.variables)} weights are not finite, {wrong[0]} first"


def _numbers(variable: Any) -> np.ndarray:
    values = ops.convert_to_numpy(variable.value)
    return values if values.dtype.kind in "iub" else values.astype("float32")


class Model(KeptState, keras.Model):
    """A `keras.Model` that `predict` reads, and does nothing else with.

    Attributes:
        prediction: The step that `predict` runs on a batch, by default the model's call.
        takes: What its inputs hold beside the condition, by name.
        sizes: The shape of one example of each of these inputs.
        condition: The condition.
        programs: The compiled steps of this model. They are not saved, copied or pickled.
    """

    prediction: ClassVar[Any] = staticmethod(outputs)
    takes: ClassVar[str] = "x"
    condition: Any

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.sizes: dict[str, tuple[int, ...]] = {}
        self.programs = Programs(self)

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(self._named(inputs), *args, **kwargs)

    def _named(self, inputs: Any) -> Mapping[str, Any]:
        """Inputs by name.

        Raises:
            ValueError: They have no names, or others, or other shapes than this model takes.
        """
        if not isinstance(inputs, Mapping):
            shape = getattr(inputs, "shape", None)
            came = type(inputs).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
            raise ValueError(
                f"The {self.name} was called with an object of type {came}. Expected "
                f"{{'{self.takes}': ..., 'condition': ...}}."
            )
        wanted = [*self.sizes, *(["condition"] if self.condition.width else [])]
        if not set(wanted) <= set(inputs):
            raise ValueError(
                f"The {self.name} received {listed(inputs) or 'nothing'}. Expected "
                f"{' and '.join(wanted)}."
            )
        given = {name: (inputs[name], shape) for name, shape in self.sizes.items()}
        if self.condition.width:
            given |= _parts(inputs["condition"], self.condition.spec)
        for name, (value, shape) in given.items():
            found = getattr(value, "shape", None)
            if found is None or (shape and not _fits(found, shape)):
                received = f"a {type(value).__name__}" if found is None else f"the shape {found}"
                size = f" (n, {', '.join(map(str, shape))})" if shape else ""
                raise ValueError(
                    f"The {self.name} received {received} for {name}. Expected an array{size}."
                )
        counts = {name: _count(value.shape) for name, (value, _) in given.items()}
        if len(set(counts.values()) - {None}) > 1:
            words = ", ".join(f"{count} of {name}" for name, count in counts.items())
            raise ValueError(f"The {self.name} received {words}. Expected as many of each.")
        return inputs

    def _asked(self, data: Any) -> dict[str, Any]:
        """The inputs of a batch that `predict` is asked for."""
        return dict(self._named(self._repack(data)[0]))

    @closing_scopes
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """As in Keras. Several threads may predict at once, also while the model is fitted."""
        if isinstance(x, Mapping):
            self._named(x)
        divides, loop = dividing_rows(), _Loop(self)
        try:
            if divides is not None:
                keras.distribution.set_distribution(None)
            return loop.predict(x, batch_size, verbose, steps, callbacks)
        finally:
            if divides is not None:
                keras.distribution.set_distribution(divides)

    def predict_on_batch(self, x: Any) -> Any:
        """As in Keras; x is a batch, `(x, condition)` or inputs by name."""
        data = x if isinstance(x, tuple) else (x,)  # of a list, the rows
        return as_numpy(Snapshot(self)(type(self).prediction, self._asked(data)))

    # The weights, all of them or none.

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all weights.

        Args:
            weights: Arrays as `get_weights` gives them.

        Raises:
            ValueError: Another number of arrays, or another shape of one. Nothing is replaced then.
        """
        if len(weights) != len(self.weights):
            raise ValueError(
                f"Received {len(weights)} arrays. Expected {len(self.weights)}, as many as "
                "get_weights() gives."
            )
        for variable, array in zip(self.weights, weights, strict=True):
            if tuple(np.shape(array)) != tuple(variable.shape):
                raise ValueError(
                    f"Received an array of shape {tuple(np.shape(array))} for '{variable.path}'. "
                    f"Expected {tuple(variable.shape)}."
                )
        with self._all_or_nothing():
            super().set_weights(weights)

    def save_weights(
        self, filepath: str | PathLike[str], overwrite: bool = True, **kwargs: Any
    ) -> None:
        """Save the weights to a `.weights.h5` file, under another name first, as `save` does.

        Raises:
            ValueError: A path that does not end in `.weights.h5`.
            FileExistsError: There is such a file, and `overwrite` is False.
            FileNotFoundError: There is no such folder.
        """
        path = Path(filepath)
        if not path.name.endswith(".weights.h5"):
            raise ValueError(
                f"Received the path '{path}'. Expected one that ends in '.weights.h5'."
            )
        if path.exists() and not overwrite:
            raise FileExistsError(f"'{path}' exists. Choose another name, or overwrite=True.")
        with atomic(path, durable=True) as temporary, held(self):
            super().save_weights(temporary, **kwargs)

    def load_weights(
        self, filepath: str | PathLike[str], skip_mismatch: bool = False, **kwargs: Any
    ) -> None:
        """Replace all weights by those of a file that `save_weights` wrote.

        Args:
            filepath: The file, which ends in `.weights.h5`, or a `.keras` file.
            skip_mismatch: Whether to leave those as they are that do not fit.
            **kwargs: As in Keras.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or of another model. Nothing is replaced then.
        """
        if not Path(filepath).is_file():
            raise FileNotFoundError(f"There are no weights at '{filepath}'.")
        with self._all_or_nothing():
            try:
                super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
            except (ValueError, KeyError, OSError) as error:
                why = str(error).strip().split("\n")[0][:300]
                raise ValueError(
                    f"The weights of '{filepath}' do not fit this model, or are damaged: {why}"
                ) from error

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Give the weights their values again if what is done here ends in an exception."""
        with self.turn:
            put_back = remembered(self)
            try:
                yield
            except BaseException:
                put_back()
                raise

    # Saving.

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "precision": self.dtype_policy.name,
            "frozen": [i for i, layer in enumerate(layers_of(self)) if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        arguments = dict(config)
        frozen = arguments.pop("frozen", ())
        model: Self = rebuilt(cls, arguments)
        layers = layers_of(model)
        for i in frozen:
            layers[i].trainable = False
        return model

    def build(self, input_shape: Any = None) -> None:
        """Nothing to do: the constructor builds."""

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Nothing to do: the constructor builds."""

    def save(self, filepath: str | PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
        """Save to one `.keras` file, under another name first: none is ever half written.

        Beside a `fit` in another thread, the weights of one moment are saved.

        Raises:
            ValueError: A path that does not end in `.keras`.
            FileExistsError: There is such a file, and `overwrite` is False.
            FileNotFoundError: There is no such folder.
        """
        path = Path(filepath)
        if path.suffix != ".keras":
            raise ValueError(f"Received the path '{path}'. Expected one that ends in '.keras'.")
        if path.exists() and not overwrite:
            raise FileExistsError(f"'{path}' exists. Choose another name, or overwrite=True.")
        if wrong := not_finite(self):
            warnings.warn(f"Of what is saved, {wrong}.", stacklevel=2)
        with atomic(path, durable=True) as temporary, held(self):
            super().save(temporary, **kwargs)

    # What Keras' loops ask for.

    def train_step(self, *args: Any) -> Any:
        *state, data = args
        return super().train_step(*state, self._batch(data))

    def test_step(self, *args: Any) -> Any:
        *state, data = args
        return super().test_step(*state, self._batch(data))

    def _batch(self, data: Any) -> tuple[Any, None, Any]:
        """What a step of training or evaluation computes with, of a batch as Keras gives it."""
        return self._repack(data)

    def _repack(self, data: Any) -> tuple[Any, None, Any]:
        """Turn x, or `(x, y, sample_weight)`, into the model's inputs and the weight.

        A model's own inputs, a dict, stay as they are.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        inputs = x if y is None or isinstance(x, dict) else {"x": x, "condition": y}
        return inputs, None, sample_weight


class _Loop(keras.Model):
    """Keras' loop over data, its callbacks and its progress bar; it has no weights of its own."""

    def __init__(self, model: Model):
        super().__init__()
        self.run_eagerly, self.built = True, True  # what it calls is compiled already
        weights, rows = Snapshot(model), divided_rows() if dividing_rows() else model.divided
        check_weights(model, rows)
        place = (lambda batch: batch) if rows is None else rows.place
        self.answer = lambda data: weights(type(model).prediction, place(model._asked(data)))

    def predict_step(self, *args: Any) -> Any:
        *state, data = args
        answer = self.answer(data)
        return (answer, ()) if state else answer  # JAX has a state, which is empty here
