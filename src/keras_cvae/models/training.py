"""Keras' `fit` and `evaluate` for a conditional VAE: data are checked first, and run fast."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_cvae import errors
from keras_cvae.backend import optimizer_of, within_fit
from keras_cvae.data.batches import NextEpoch
from keras_cvae.data.stored import Checked, Stored
from keras_cvae.devices import Rows
from keras_cvae.fused.applies import StepByStep, decide
from keras_cvae.fused.divided import Kind, check_weights, loss_and_state, rows_apart
from keras_cvae.fused.program import Fused
from keras_cvae.models import timing
from keras_cvae.models.checks import Checks
from keras_cvae.models.examples import Examples, unpacked
from keras_cvae.models.inputs import is_array
from keras_cvae.models.serialization import deserialize
from keras_cvae.models.state import Model
from keras_cvae.models.streams import Alarm, Watch, extremes
from keras_cvae.models.weights import ClassWeights, checked_weights, only_counted

OF_FIT = (
    "x",
    "y",
    "batch_size",
    "epochs",
    "sample_weight",
    "class_weight",
    "validation_data",
    "validation_split",
)
OF_KERAS = (
    "callbacks",
    "verbose",
    "shuffle",
    "initial_epoch",
    "initial_step",
    "steps_per_epoch",
    "validation_steps",
    "validation_batch_size",
    "validation_freq",
)


def as_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Callbacks as a list, of what Keras takes for them.

    Raises:
        ValueError: One of them is none.
    """
    found = [] if callbacks is None else keras.tree.flatten(callbacks)
    for one in found:
        if not isinstance(one, keras.callbacks.Callback | keras.callbacks.CallbackList):
            raise ValueError(
                f"callbacks: received {one!r}. Expected instances of keras.callbacks.Callback."
            )
    return found


def check_names(given: Mapping[str, Any]) -> None:
    """Refuse arguments of `fit` that nobody reads, before anything is learned of the data.

    Raises:
        TypeError: Naming the nearest one.
    """
    for name in given:
        if name not in OF_KERAS:
            raise TypeError(
                f"fit() received an argument that it does not know: {name}."
                f"{errors.nearest(name, (*OF_FIT, *OF_KERAS))}"
            )


def check_sizes(epochs: Any, batch_size: Any, validation_split: Any) -> None:
    """Refuse sizes that cannot be, before anything is computed.

    Raises:
        ValueError: Naming the one that came and what was expected.
    """
    errors.whole("epochs", epochs, 0, most=2**31 - 1)
    if batch_size is not None:
        errors.whole("batch_size", batch_size, most=2**31 - 1)
    if not errors.number("validation_split", validation_split) < 1:
        raise ValueError(
            f"validation_split: received {validation_split}, expected a part of 1, like 0.1."
        )


class Training(Checks, Model):
    """How a `ConditionalVAE` is trained and evaluated."""

    noise: Any
    memory: Any
    train_function: Any
    test_function: Any
    _fused: Fused

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Choose the optimizer; the loss and the metrics are the model's own.

        Args:
            optimizer: A Keras optimizer, or its name.
            **kwargs: As in Keras: `jit_compile`, `run_eagerly`, `steps_per_execution`,
                `auto_scale_loss`.

        Raises:
            ValueError: `loss` or `metrics` is given.
        """
        given = [name for name in ("loss", "metrics", "weighted_metrics") if kwargs.get(name)]
        if given:
            raise ValueError(
                f"compile() received {', '.join(given)}, but a ConditionalVAE has its own: the "
                "loss is the negative objective, reported with 'reconstruction' and 'kl'. Change "
                "it with ConditionalVAE(objective=...)."
            )
        if optimizer is None or isinstance(optimizer, type):
            raise ValueError(
                f"compile() received optimizer={optimizer!r}. Expected a Keras optimizer, like "
                "keras.optimizers.Adam(1e-3), or its name."
            )
        super().compile(optimizer=optimizer, **kwargs)
        self._build_optimizer()  # so that a model saved before it is fitted has it, too
        self._learned = self._trainable_now()
        self._fused = Fused(self)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**deserialize(config))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        sample_weight: Any = None,
        class_weight: Mapping[Any, Any] | None = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train on `(x, y)`, with y the condition, or on a data set that yields such batches.

        Several named conditions come as a dict of arrays or a DataFrame. Where all of them may be
        missing, y may be left out. Numbers and signals (and x of a density) are scaled by the first
        that are fitted: by arrays as a whole, or by the first batches of a data set. A data set
        must yield y as `condition.spec.prepare` gives it: classes as positions, 0 .. K - 1.

        Args:
            x: Array `(n, *x_shape)`, or a data set: a `PyDataset`, a generator, a
                `tf.data.Dataset`, a torch `DataLoader`. Its first batches are checked before
                training starts, the others at the end of each epoch.
            y: The conditions of an array, or None.
            batch_size: Examples per step, of arrays; 32 by default.
            epochs: Passes over the data.
            sample_weight: How much each example counts, `(n,)`, with arrays; at least 0.
            class_weight: How much the examples of each class count, by class as it is named in y;
                None or -1 stands for a missing one, where it may be missing. A class that is left
                out weighs 1, a mixture what its classes weigh in mean. Of several named
                conditions, a dict of such by name, or weights for the only one that has classes.
                Multiplied with `sample_weight`.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or a data set.
            validation_split: The last share of arrays is held out for validation. It is not
                learned from in any way: scalings are those of the rest.
            **kwargs: As in Keras: `callbacks`, `verbose`, `shuffle`, `initial_epoch`,
                `steps_per_epoch`, `validation_steps`, `validation_batch_size`, `validation_freq`.
                `initial_step` resumes within the initial epoch: so many of its steps were made
                before, and are what the model's metrics hold at present. A callback with a method
                `before_training` is given a function that says how long training will take, in
                seconds, if that can be told: see `models.timing`.

        Returns:
            Keras' `History`: loss, reconstruction and KL of each epoch, in nats.

        Raises:
            TypeError: An argument that is not known.
            ValueError: Data that do not fit each other or the model, before training starts where
                that can be seen; sizes that cannot be; or a learning rate below 0.

        Examples:
            >>> history = model.fit(x, y, batch_size=20, epochs=2, validation_split=0.5, verbose=0)
            >>> sorted(history.history)
            ['kl', 'loss', 'reconstruction', 'val_kl', 'val_loss', 'val_reconstruction']
            >>> history = model.fit(x, y, class_weight={8: 3.0}, verbose=0)  # eights count thrice
        """
        check_names(kwargs)
        check_sizes(epochs, batch_size, validation_split)
        as_list(kwargs.get("callbacks"))
        self._check_compiled()
        self._check_rate()
        given = Examples(x, y, sample_weight)
        with self.turn:
            train, held = self._prepared(given, class_weight, validation_data, validation_split)
            return self._run(train, held, batch_size, epochs, **kwargs)

    def _prepared(
        self, given: Examples, class_weight: Any, validation_data: Any, validation_split: float
    ) -> tuple[Examples, Examples | None]:
        """What is trained on and what is held out, checked; scalings are taken from the former."""
        weights = None if class_weight is None else ClassWeights(self.fitted_spec, class_weight)
        train, held = self._checked(given, scaled=True), None
        if isinstance(validation_data, tuple | list):
            held = self._checked(unpacked(tuple(validation_data)), "validation x")
        elif validation_data is not None:
            held = self._checked(unpacked(validation_data), "validation x")
        elif validation_split:
            train, held = train.cut(validation_split)
        seen = getattr(train.x, "all_conditions", None)
        if weights is not None:
            train = _weighed(train, weights)
        if is_array(train.x):
            counted = train.counted()
            self._learn_scales(counted)
            if counted.y is not None:
                self.memory.see(counted.y)
        else:
            self.memory.see(seen)
        return train, held

    def _trainable_now(self) -> tuple[int, ...]:
        return tuple(id(variable) for variable in self.trainable_variables)

    def _check_compiled(self) -> None:
        """Refuse to train other weights than those that the optimizer was made for.

        Raises:
            ValueError: Something was frozen, or is no longer, since `compile`.
        """
        if self.compiled and self._learned != self._trainable_now():
            raise ValueError(
                "Which weights are trainable has changed since compile(): "
                f"{len(self._learned)} were, {len(self.trainable_variables)} are. Call compile() "
                "again, then fit()."
            )

    def _check_rate(self) -> None:
        """Refuse a learning rate that climbs away from what is to be learned.

        Raises:
            ValueError: It is negative, or no number.
        """
        if not self.compiled:
            return  # Keras says so
        planned = optimizer_of(self).learning_rate
        # Of the value: an interrupt in `Variable.__array__` would come out as a TypeError.
        rate = float(ops.convert_to_numpy(ops.convert_to_tensor(planned)))
        if not 0.0 <= rate < math.inf:
            raise ValueError(f"learning_rate: received {rate:g}, expected a number above 0.")

    def _run(
        self,
        train: Examples,
        held: Examples | None,
        batch_size: int | None,
        epochs: int,
        *,
        callbacks: Any = None,
        shuffle: bool | str | None = None,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        initial_step: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Keras' `fit` of examples that are checked."""
        if (rows := self.shared()) is not None:
            train, held = _sharing(train, rows), held and _sharing(held, rows)
        if shuffle is None:  # Keras warns where it cannot
            shuffle = is_array(train.x) or isinstance(train.x, keras.utils.PyDataset)
        decided = {
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
            decided["test"] = decide(
                self,
                *held,
                training=False,
                batch_size=validation_batch_size or batch_size,
                steps=validation_steps,
                callbacks=callbacks,
            )
        callbacks = [Alarm(), *as_list(callbacks)]
        self._fused.made = self._fused.to_pass = 0
        how = {
            "batch_size": batch_size,
            "sample_weight": train.sample_weight,
            "validation_data": held and held.for_keras(),
            "shuffle": shuffle,
            "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
            "validation_batch_size": validation_batch_size,
        }
        if (asking := timing.asking(callbacks)) and timing.can_be(train.x, decided["train"]):
            x = timing.alone(train.x)
            fit = partial(self._feeding, decided, super().fit, x, train.y, verbose=0, **how)
            left = epochs - kwargs.get("initial_epoch", 0)
            last = held and timing.steps(held.x, validation_batch_size or batch_size)
            for one in asking:
                one.before_training(lambda: left * timing.seconds_per_epoch(self, fit, last or 0))
        if initial_step:
            callbacks = [_Rejoin(self, initial_step), *callbacks]
        if hasattr(train.x, "next_epoch"):
            callbacks.append(NextEpoch(train.x))
        return self._feeding(
            decided,
            super().fit,
            *train.pair(),
            epochs=epochs,
            callbacks=callbacks,
            **how,
            **kwargs,
        )

    def _feeding(
        self,
        decided: Mapping[str, Stored | StepByStep | None],
        call: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Call Keras, which runs many steps at once of what is stored for them."""
        before = self._fused.feeds
        try:
            self._fused.feed(**decided)
            return call(*args, **kwargs)
        finally:
            self._fused.feeds = before

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The loss, reconstruction and KL of data, in nats, as Keras' `evaluate` gives them.

        The noise is the same at every call, and schedules stand at their end.

        Args:
            x: Array `(n, *x_shape)`, or a data set, as in `fit`.
            y: The conditions of an array, or None.
            batch_size: Examples per step, of arrays; 32 by default.
            sample_weight: How much each example counts, `(n,)`, with arrays.
            **kwargs: As in Keras: `verbose`, `steps`, `callbacks`, `return_dict`.

        Raises:
            ValueError: Data that do not fit each other or the model.

        Examples:
            >>> found = model.evaluate(x, y, return_dict=True, verbose=0)
            >>> bool(abs(found["reconstruction"] + found["kl"] - found["loss"]) < 1e-3)
            True
        """
        with self.turn:
            self.noise.rewind()
            if within_fit(kwargs):  # which has checked everything
                return super().evaluate(x, y, batch_size, sample_weight=sample_weight, **kwargs)
            held = self._checked(Examples(x, y, sample_weight))
            steps, callbacks = kwargs.get("steps"), kwargs.pop("callbacks", None)
            test = decide(
                self, *held, training=False, batch_size=batch_size, steps=steps, callbacks=callbacks
            )
            return self._feeding(
                {"test": test},
                super().evaluate,
                *held.pair(),
                batch_size,
                sample_weight=held.sample_weight,
                callbacks=[Alarm(), *as_list(callbacks)],
                **kwargs,
            )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Train on one batch of arrays, checked as in `fit`; return the loss and metrics."""
        with self.turn:
            given = Examples(x, y, sample_weight)
            batch, _ = self._prepared(given, class_weight, None, 0.0)
            return self._feeding(
                {"train": None}, super().train_on_batch, *batch, return_dict=return_dict
            )

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluate one batch of arrays, checked as in `fit`; return the loss and metrics."""
        with self.turn:
            batch = self._checked(Examples(x, y, sample_weight))
            return self._feeding(
                {"test": None}, super().test_on_batch, *batch, return_dict=return_dict
            )

    # Keras' hooks.

    def make_train_function(self, force: bool = False) -> None:
        """Keras' hook for the compiled step, which runs many at once where `fit` can."""
        made = self.train_function is not None and not force
        super().make_train_function(force)
        if not made:
            self.train_function = self._fused.around("train", self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        """Keras' hook for the compiled step of an evaluation."""
        made = self.test_function is not None and not force
        super().make_test_function(force)
        if not made:
            self.test_function = self._fused.around("test", self.test_function)

    def compute_loss_and_updates(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        metrics_variables: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        training: bool = False,
        optimizer_variables: Any = None,
    ) -> Any:
        """Keras' hook on JAX: the loss of a batch, whose rows several devices may share."""
        loss: Any = super().compute_loss_and_updates
        mode = {"training": training, "optimizer_variables": optimizer_variables}
        state = [*non_trainable_variables, *metrics_variables]
        rows, few = self.shared() or self.divided, len(non_trainable_variables)
        check_weights(self, rows)
        divides = rows is not None and not rows.weights and rows.of(len(x["x"])) is rows.divided
        if rows is None or not divides or not self._rows_apart():
            variables = trainable_variables, non_trainable_variables, metrics_variables
            return loss(*variables, x, y, sample_weight, **mode)

        def of_part(trainable: Any, state: Any, batch: Any) -> Any:
            inputs, weight = batch
            if "extremes" in x:
                found = extremes(inputs["x"], inputs.get("condition"), weight)
                inputs = inputs | {"extremes": found}
            variables = trainable, state[:few], state[few:]
            found, (plain, _, rest, metrics) = loss(*variables, inputs, None, weight, **mode)
            return found, (plain, [*rest, *metrics])

        batch = {name: value for name, value in x.items() if name != "extremes"}, sample_weight
        found, (plain, state) = loss_and_state(
            rows, of_part, self._kinds(), trainable_variables, state, batch
        )
        return found, (plain, (), state[:few], state[few:])

    def _rows_apart(self) -> bool:
        """Whether each row of a batch is computed by itself, but for what is said to all."""
        metrics = (type(metric) for metric in self.metrics)
        return {*metrics} <= {keras.metrics.Mean, Watch} and rows_apart(self, self.noise.streams)

    def _kinds(self) -> list[Kind]:
        """What devices make of the variables that a step updates by their rows; see `Kind`."""
        known = {id(variable): Kind.HIGHEST for variable in self.memory.met}
        known |= {id(variable): Kind.SUM for variable in self.metrics_variables}
        known |= {id(variable): kind for variable, kind in self.watch.kinds()}
        variables = [*self.non_trainable_variables, *self.metrics_variables]
        return [known.get(id(variable), Kind.ALIKE) for variable in variables]

    def train_step(self, *args: Any) -> Any:
        return self._in_words(super().train_step, *args)

    def test_step(self, *args: Any) -> Any:
        return self._in_words(super().test_step, *args)

    def _in_words(self, step: Callable[..., Any], *args: Any) -> Any:
        """Run a step; PyTorch stops within it at a label that others go past."""
        try:
            return step(*args)
        except Exception:
            self.check_batch(self._batch(args[-1])[0].get("extremes"))
            raise

    def _batch(self, data: Any) -> tuple[dict[str, Any], None, Any]:
        """A batch as `call` takes it, with the extremes of what was not checked before."""
        inputs, _, weight = self._repack(data)
        if weight is not None:  # of named conditions, Keras repeats it for each
            weight = keras.tree.flatten(weight)[0]
        if not isinstance(data, Checked):
            found = extremes(inputs["x"], inputs.get("condition"), weight)
            inputs = inputs | {"extremes": found}
        if weight is not None:
            given = {k: v for k, v in inputs.items() if k != "extremes" and v is not None}
            inputs = inputs | only_counted(given, weight)
        return inputs, None, weight


class _Rejoin(keras.callbacks.Callback):
    """Goes on within an epoch, whose first steps were made before."""

    def __init__(self, model: Training, steps: int):
        super().__init__()
        self.fused, self.steps = model._fused, steps
        self.sums = [keras.ops.convert_to_numpy(one.value) for one in model.metrics_variables]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras, which has reset the metrics."""
        if self.steps:
            for variable, value in zip(self.model.metrics_variables, self.sums, strict=True):
                variable.assign(value)
        self.fused.resume(self.steps)
        self.steps = 0


def _sharing(given: Examples, rows: Rows) -> Examples:
    """Examples of which this process reads only the rows that its devices compute, if it can."""
    if not hasattr(given.x, "sharing"):
        return given
    return given._replace(x=given.x.sharing(rows.own))


def _weighed(train: Examples, weights: ClassWeights) -> Examples:
    """Examples with the weights of their classes.

    Raises:
        ValueError: The batches of this kind of data set cannot be weighed.
    """
    if not is_array(train.x):
        data = weights.weighed(train.x)
        if data is None:
            raise ValueError(
                f"class_weight weighs arrays, PyDatasets, generators and tf.data; received "
                f"{type(train.x).__name__}. Expected it to yield (x, y, sample_weight)."
            )
        return Examples(data)
    by_class = weights.of(weights.spec.unknown(len(train.x)) if train.y is None else train.y)
    given = 1.0 if train.sample_weight is None else train.sample_weight
    return train._replace(
        sample_weight=checked_weights(given * by_class, len(train.x), "class_weight")
    )
