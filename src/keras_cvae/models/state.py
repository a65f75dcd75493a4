"""The Keras model that all of ours are: whatever it is asked, and however it ends, it is whole."""

from typing import Any, ClassVar

import keras

from keras_cvae.backend import KeptState, closing_scopes
from keras_cvae.inference.steps import Programs, Snapshot, as_numpy


def outputs(model: Any, inputs: dict[str, Any]) -> Any:
    """What the model gives when it is called."""
    return model(inputs)


class Model(KeptState, keras.Model):
    """A `keras.Model` that `predict` reads, and does nothing else with.

    Attributes:
        prediction: The step that `predict` runs on a batch, by default the model's call.
        programs: The compiled steps of this model. They are not saved, copied or pickled.
    """

    prediction: ClassVar[Any] = staticmethod(outputs)

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.programs = Programs(self)

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
        return _Loop(self).predict(x, batch_size, verbose, steps, callbacks)

    def predict_on_batch(self, x: Any) -> Any:
        """As in Keras."""
        return as_numpy(Snapshot(self)(type(self).prediction, self._inputs_of((x,))))

    def _inputs_of(self, data: Any) -> dict[str, Any]:
        """The inputs of the model in a batch of data, `x` or `(x, y, sample_weight)`."""
        return keras.utils.unpack_x_y_sample_weight(data)[0]


class _Loop(keras.Model):
    """Keras' loop over data, its callbacks and its progress bar; it has no weights of its own."""

    def __init__(self, model: Model):
        super().__init__()
        self.run_eagerly, self.built = True, True  # what it calls is compiled already
        weights = Snapshot(model)
        self.answer = lambda data: weights(type(model).prediction, model._inputs_of(data))

    def predict_step(self, *args: Any) -> Any:
        *state, data = args
        answer = self.answer(data)
        return (answer, ()) if state else answer  # JAX has a state, which is empty here
