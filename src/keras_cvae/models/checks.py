"""What is checked of data before and while a model learns from them."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae import trees
from keras_cvae.backend import layers_of
from keras_cvae.conditions.spec import ConditionSpec, JointSpec, KnownPartSpec
from keras_cvae.data.containers import as_floats
from keras_cvae.data.stored import Stored
from keras_cvae.models.examples import Examples, joined, unpacked
from keras_cvae.models.headers import Headers
from keras_cvae.models.inputs import Inputs, is_array
from keras_cvae.models.streams import SCALED_BY, Extremes, Watch, first_batches
from keras_cvae.models.weights import checked_weights
from keras_cvae.probability.bijections import Standardised

YIELDED = (
    "A data set yields conditions as condition.spec.prepare gives them: numbers, and classes as "
    "positions from 0."
)


class Checks(Inputs):
    """The checks of what a `ConditionalVAE` is trained on, and the scalings taken from it."""

    watch: Watch

    @property
    def fitted_spec(self) -> ConditionSpec:
        """What the conditions of training examples may be."""
        return self.condition.spec

    def _checked(self, given: Examples, name: str = "x", *, scaled: bool = False) -> Examples:
        """Examples as the steps take them.

        Args:
            given: What the user gave.
            name: What to call x in messages.
            scaled: Whether it is what is trained on: scalings are taken from the first batches of
                a data set, and names of columns are noted.

        Raises:
            ValueError: Saying what does not fit.
        """
        given = unpacked(tuple(given))
        if is_array(given.x):
            if scaled:
                if not int(self.step):
                    self.headers = Headers()
                self.headers.learn(given.x, given.y, self.fitted_spec)
            return self._checked_arrays(given, name)
        if isinstance(given.x, str | bytes | set | frozenset) or not (
            isinstance(given.x, keras.utils.PyDataset) or hasattr(given.x, "__iter__")
        ):
            came = "nothing" if given.x is None else type(given.x).__name__
            raise ValueError(
                f"{name}: received {came}. Expected an array (n, "
                f"{', '.join(map(str, self.x_shape))}), or a data set that yields batches."
            )
        for what in ("y", "sample_weight"):
            if getattr(given, what) is not None:
                raise ValueError(
                    f"{what} is given beside a data set ({type(given.x).__name__}), which yields "
                    "it in its batches. Leave it out."
                )
        return Examples(self._checked_data(given.x, name, scaled))

    def _checked_arrays(self, given: Examples, name: str) -> Examples:
        x, y = self._x(given.x, name), given.y
        y = self._labels([y] if np.isscalar(y) else y)
        self._check_known_part(y)
        if y is not None and (count := trees.count(y)) != len(x):
            raise ValueError(
                f"{name} has {len(x)} examples, but y has {count}. Expected one y for each."
            )
        return Examples(x, y, checked_weights(given.sample_weight, len(x)))

    def _labels(self, y: Any) -> Any:
        """The canonical conditions of training examples; None where all may be missing, and is."""
        spec = self.fitted_spec
        if y is None and spec.forgettable:
            return None
        return spec.prepare(self.headers.condition(y, spec))

    def _checked_data(self, data: Any, name: str, scaled: bool) -> Any:
        """A data set whose first batches are checked, and which still yields all of them."""
        stored = data.stored() if hasattr(data, "stored") else None
        scaled = scaled and self._lacks_scales()
        first, data = first_batches(data, SCALED_BY if scaled and stored is None else 0)
        if not first:
            raise ValueError(f"The data set of {name} yields nothing. Expected batches.")
        found = [self._checked_batch(batch, i, name) for i, batch in enumerate(first)]
        if stored is not None:
            found = [self._checked_stored(stored, name)]
        if scaled:
            self._learn_scales(joined(found).counted())
        return data

    def _checked_batch(self, batch: Any, index: int, name: str) -> Examples:
        """A batch of a data set, in NumPy, its conditions canonical."""
        try:
            x, y, weight = unpacked(batch)
            if np.shape(x) == self.x_shape != (1,):
                raise ValueError("It yields single examples. Expected batches, like .batch(32).")
            x, y = self._x(x, name), self._yielded(y)
            if y is not None and trees.count(y) != len(x):
                raise ValueError(f"{len(x)} examples come with {trees.count(y)} conditions.")
            return Examples(x, y, checked_weights(weight, len(x), zeros=True))
        except ValueError as error:
            raise ValueError(f"The data set, batch {index}: {error}") from None

    def _checked_stored(self, stored: Stored, name: str) -> Examples:
        """All examples of batches whose arrays are at hand."""
        x = stored.x
        if x.dtype == np.uint8:  # which stands for 0..1
            x = as_floats(x if self._lacks_scales() else np.stack([x.min(axis=0), x.max(axis=0)]))
        if stored.key() is None:  # else the model sees 0 and 1
            x = self._x(x, name)
        y = None if stored.y is None else self._yielded(stored.y)
        if y is not None and trees.count(y) != len(stored.x):
            raise ValueError(
                f"{name} has {len(stored.x)} examples, but y has {trees.count(y)}. Expected one y "
                "for each."
            )
        return Examples(x, y)

    def _yielded(self, y: Any) -> Any:
        """The canonical conditions that a data set yielded."""
        if y is None:
            return self._labels(y)
        try:
            for part in keras.tree.flatten(y):
                if np.asarray(part).dtype.kind not in "iufb":
                    raise ValueError(f"The condition holds {np.asarray(part).dtype} values.")
            return self.fitted_spec.positional().prepare(y)
        except ValueError as error:
            raise ValueError(f"{error} {YIELDED}") from None

    def _lacks_scales(self) -> bool:
        """Whether something is yet to be scaled by the data."""
        return any(
            isinstance(layer, Standardised) and not ops.convert_to_numpy(layer.adapted.value)
            for layer in layers_of(self)
        )

    def _learn_scales(self, examples: Examples) -> None:
        """Take scalings, where there are none yet, from arrays of examples."""
        if self.likelihood.view is not None:
            self.likelihood.view.settle(examples.x, again=False)
        if examples.y is not None:
            self.condition.settle(examples.y, again=False)

    def check_watched(self, where: str) -> None:
        """Refuse what the steps found in the batches of the epoch.

        Args:
            where: What the batches were for, as the subject of a message.

        Raises:
            ValueError: Saying what was found.
        """
        found = self.watch.found()
        try:
            if found is not None:
                self._check_extremes(found)
        except ValueError as error:
            raise ValueError(f"{where}, a batch of the data set: {error}") from None

    def check_batch(self, found: Extremes | None) -> None:
        """Refuse the extremes of a batch, if they are numbers by now and not symbols.

        Raises:
            ValueError: Saying what was found.
        """
        if found is None:
            return
        try:
            numbers = Extremes(*map(ops.convert_to_numpy, found))
        except Exception:  # each backend says in its own way that it is compiling
            return
        self._check_extremes(numbers)

    def _check_extremes(self, found: Extremes) -> None:
        rows = np.stack([found.x_low, found.x_high]).reshape(2, *self.x_shape)
        for what, there in (("NaN", np.isnan(rows)), ("infinity", np.isinf(rows))):
            if there.any():
                raise ValueError(f"x holds {what}. Expected finite numbers.")
        self.likelihood.check(rows)
        *conditions, weight = zip(found.low, found.high, found.nan, strict=True)
        spec = self.fitted_spec.positional()
        parts = dict(sorted(spec.parts.items())) if isinstance(spec, JointSpec) else {"": spec}
        for (name, part), range_ in zip(parts.items(), conditions, strict=bool(conditions)):
            try:
                self._check_range(part, *range_)
            except ValueError as error:
                about = f"Condition '{name}': " if name else ""
                raise ValueError(f"{about}{error}") from None
        low, high, nan = weight
        if nan or low < 0 or math.isinf(high):
            came = "NaN" if nan else f"values from {low:g} to {high:g}"
            raise ValueError(f"sample_weight holds {came}. Expected finite numbers of at least 0.")

    def _check_range(self, spec: ConditionSpec, low: float, high: float, nan: float) -> None:
        """Refuse the lowest and the highest of canonical conditions, or that some are NaN."""
        known = isinstance(spec, KnownPartSpec)
        if nan and not known and not spec.forgettable:
            raise ValueError(f"The condition holds NaN. {YIELDED}")
        values = np.array([low, high], "float32")
        if low > high:  # all of it is missing
            return
        if np.isinf(values).any():
            raise ValueError("The condition holds infinity. Expected finite numbers.")
        if known:
            self._check_known_part(values)
        elif spec.dtype == "int32" and (values != np.round(values)).any():  # mixtures
            if low < 0 or high > 1:
                raise ValueError(
                    f"Mixtures hold weights from {low:g} to {high:g}. Expected 0 to 1."
                )
        else:
            try:
                spec.prepare(np.stack([np.full(spec.shape, value) for value in values]))
            except ValueError as error:
                raise ValueError(f"{error} {YIELDED}") from None
