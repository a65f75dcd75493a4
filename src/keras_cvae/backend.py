"""Which Keras backend runs: the user's choice, or JAX where there is none."""

import contextlib
import copy
import functools
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

_PACKAGES = {"jax": "jax", "torch": "torch", "tensorflow": "tensorflow", "openvino": "openvino"}


# What Keras itself writes to keras.json on its first import; nobody chose that.
_WRITTEN_BY_KERAS = {
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def choose_backend() -> None:
    """Set `KERAS_BACKEND` to JAX unless the user has chosen, and check that the choice can run.

    A choice is `KERAS_BACKEND`, a `keras.json` that somebody edited, or Keras already imported.

    Raises:
        ImportError: The chosen backend is unknown or not installed.
    """
    if "keras" in sys.modules:
        return
    source, chosen = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND")
    if not chosen:
        source, chosen = "keras.json", _configured()
    if not chosen:
        source, chosen = "the default", "jax"
        os.environ["KERAS_BACKEND"] = chosen
    if chosen not in _PACKAGES:
        raise ImportError(
            f"The Keras backend '{chosen}' (from {source}) does not exist. "
            f"Expected jax, torch or tensorflow, for example KERAS_BACKEND=jax."
        )
    if importlib.util.find_spec(_PACKAGES[chosen]) is None:
        raise ImportError(
            f"The Keras backend '{chosen}' (from {source}) is not installed. "
            f"Install it with `pip install {_PACKAGES[chosen]}`, or choose an installed one, "
            f"for example KERAS_BACKEND=jax."
        )


def prepare_command() -> None:
    """Keep the programs that JAX compiles on disk, so that the next command starts sooner.

    They lie under the user's cache directory. JAX's own variables have the last word:
    `JAX_COMPILATION_CACHE_DIR` is another place, `JAX_ENABLE_COMPILATION_CACHE=0` none.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def cache_folder() -> Path:
    """Where the command keeps what it can make again."""
    import platformdirs

    return platformdirs.user_cache_path("keras-cvae", appauthor=False)


def import_light_keras() -> None:
    """Import Keras, in the process of a command, without what it offers to others.

    Half of the time of `import keras` goes into scikit-learn and matplotlib, which it imports if
    they are there, for wrappers and a gallery that the command never uses. They count as not
    installed until Keras is imported, and are there again afterwards.
    """
    hidden = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not found
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _configured() -> str | None:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        config = json.loads((home / "keras.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict) or config == _WRITTEN_BY_KERAS:
        return None
    return config.get("backend")


# What Keras notes down, for each thread, while one of its scopes is open.
_SCOPES = (
    "autocast_scope",
    "current_call_ctx",
    "custom_objects_scope_dict",
    "dtype_policy",
    "name_scope_stack",
    "remat_scope_stack",
    "safe_mode_saving",
    "shared_objects/id_to_config_map",
    "shared_objects/id_to_obj_map",
    "stateless_scope",
    "symbolic_scope",
    "tracking_on",
    "uninitialized_variables",
)


def closing_scopes(call: Callable) -> Callable:
    """Decorate a function so that it leaves no scope of Keras open, however it ends.

    An interrupt may fall between the opening of a scope and the block that closes it; Keras would
    then take all that follows in this thread for a part of that scope, and variables for
    uninitialised ones.
    """

    @functools.wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        from keras.src.backend.common.global_state import GLOBAL_STATE_TRACKER as STATE

        noted = {name: vars(STATE)[name] for name in _SCOPES if name in vars(STATE)}
        content = {name: copy.copy(value) for name, value in noted.items()}
        try:
            return call(*args, **kwargs)
        except BaseException:
            for name in _SCOPES:
                if name not in noted:
                    vars(STATE).pop(name, None)
                    continue
                vars(STATE)[name] = noted[name]
                if isinstance(noted[name], list):
                    noted[name][:] = content[name]
                elif isinstance(noted[name], dict):
                    noted[name].clear()
                    noted[name].update(content[name])
            raise

    return run


_NO_MEMORY = (
    "resource_exhausted",
    "resourceexhausted",
    "out of memory",
    "allocate memory",
    "oom when",
)


@contextlib.contextmanager
def memory_in_words() -> Iterator[None]:
    """Say of a model for which there is no memory that this is so, whatever the backend calls it.

    Raises:
        MemoryError: There is too little of it.
    """
    try:
        yield
    except Exception as error:
        said = str(error).lower()
        if isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY):
            raise MemoryError(
                "There is no memory for this model. Expected smaller x, fewer classes, or a "
                "smaller backbone."
            ) from error
        raise


def forget_variables() -> None:
    """Drop the variables that wait for memory: of a model that was built to be looked at only."""
    from keras.src.backend.common.global_state import GLOBAL_STATE_TRACKER as STATE

    vars(STATE).pop("uninitialized_variables", None)


WEIGHTS = threading.RLock()  # held while weights are read or written together, and no longer


if TYPE_CHECKING:
    from keras import Model as _Model

    from keras_cvae.devices import Rows
else:  # Keras is imported once its backend is chosen
    _Model = object


class KeptState(_Model):
    """A mixin for Keras models whose weights no call can lose or tear.

    On JAX, Keras takes the weights out of a model while it is fitted or evaluated, lets every step
    overwrite the arrays of the step before, and puts the last ones back at the end of an epoch: an
    exception in between loses them all, and another thread finds none. Here they stay in the model,
    no step overwrites its input, and what is put back is put back whole: an exception or a Ctrl-C
    at any moment leaves the weights of a completed step.

    `fit`, `evaluate` and their relatives on one batch wait for each other if several threads call
    them on one model. A callback may call them, it runs in the thread of its `fit`.

    All names of Keras that begin with an underscore and that training relies on are in this class.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.turn = threading.RLock()
        self._writer: int | None = None  # the thread that fits or evaluates
        self._trains = False  # that it fits, and has begun to
        self.divided: Rows | None = None  # how its steps divide rows by Keras' distribution

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras keeps the state of training here at every step, and would search it for layers.
        if name == "_jax_state":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        with self.turn:
            self._build_optimizer()
            return self._alone(super().fit, args, kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        with self.turn:
            return self._alone(super().evaluate, args, kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        with self.turn:
            self._build_optimizer()
            return self._alone(super().train_on_batch, args, kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        with self.turn:
            return self._alone(super().test_on_batch, args, kwargs)

    def is_writing(self) -> bool:
        """Whether this very thread fits or evaluates the model."""
        return self._writer == threading.get_ident()

    def get_weights(self) -> list[Any]:
        import keras

        with WEIGHTS:
            self.jax_state_sync()
            # Of values: an interrupt in `Variable.__array__` comes out as a TypeError, as NumPy
            # first asks for a keyword that it lacks.
            return [keras.ops.convert_to_numpy(_value(v)) for v in self.weights]

    @closing_scopes
    def _alone(self, run: Callable, args: tuple, kwargs: dict) -> Any:
        import keras

        outer, divides = (self._writer, self._trains, self.divided), dividing_rows()
        try:
            if divides is not None:
                self.divided = divided_rows()
                keras.distribution.set_distribution(None)
            self._writer, self._trains = threading.get_ident(), False
            self.jax_state_sync()
            return run(*args, **kwargs)
        except BaseException:
            self.jax_state_sync()
            if self._trains and getattr(self.optimizer, "use_ema", False):  # it may be half done
                self.optimizer.finalize_variable_values(self.trainable_weights)
            raise
        finally:
            self.jax_state_sync()
            self._jax_state = None
            self._writer, self._trains, self.divided = outer
            if divides is not None:
                keras.distribution.set_distribution(divides)

    def _build_optimizer(self) -> None:
        """Create the optimizer's variables: all, or, interrupted, none."""
        optimizer = getattr(self, "optimizer", None)
        if optimizer is None or optimizer.built:
            return
        try:
            optimizer.build(self.trainable_variables)
        except BaseException:
            self.optimizer = type(optimizer).from_config(optimizer.get_config())
            raise

    # Keras on JAX: names that its trainer calls.

    def _get_jax_state(self, **kinds: bool) -> Any:
        self._trains = self._trains or kinds.get("optimizer_variables", False)
        state = super()._get_jax_state(**kinds | {"purge_model_variables": False})
        rows = self.shared()
        return state if rows is None else rows.everywhere(state)

    def jax_state_sync(self) -> None:
        """Put the state of the last completed step back, all of it even if interrupted.

        Keras calls this at the end of an epoch, and where a callback asks for the model. Other
        threads than that of `fit` have what was put back last.
        """
        if self._writer is not None and not self.is_writing():
            return
        with WEIGHTS:
            if getattr(self, "_jax_state", None) is None or self._jax_state_synced:
                return
            import jax

            try:
                jax.block_until_ready(self._jax_state)
            except Exception:  # a step failed as it ran: the one before stands
                self._jax_state = None
                raise
            if self.shared() is not None:
                from keras_cvae.devices import here

                self._jax_state = here(self._jax_state)
            try:
                super().jax_state_sync()
            except BaseException:
                super().jax_state_sync()
                raise
            self._jax_state = None

    def make_train_function(self, force: bool = False) -> None:
        self._make("train", super().make_train_function, force)

    def make_test_function(self, force: bool = False) -> None:
        self._make("test", super().make_test_function, force)

    def shared(self) -> "Rows | None":
        """How processes that have joined share its steps; None: each makes all of them alone."""
        from keras_cvae.devices import joined

        return joined() if self.jit_compile and not self.run_eagerly else None

    def settle(self) -> None:
        """Wait for the steps that were begun."""
        import jax

        jax.block_until_ready(getattr(self, "_jax_state", None))

    def state_shardings(self, kind: str) -> Any:
        """Where a step of training or evaluation leaves its logs and the state; None: anywhere."""
        import keras

        if (rows := self.shared()) is not None:
            return rows.whole, rows.whole
        if self.divided is None and keras.distribution.distribution() is None:
            return None
        trainable, rest, optimizer, metrics = self._get_state_sharding_spec()
        state = (trainable, rest, optimizer, metrics)
        return None, state if kind == "train" else (trainable, rest, metrics)

    def _make(self, kind: str, otherwise: Callable, force: bool) -> None:
        """Make `train_function` or `test_function`; on JAX one that overwrites no input."""
        import keras

        if keras.backend.backend() != "jax":
            otherwise(force)
            return
        name = f"{kind}_function"
        if getattr(self, name) is not None and not force:
            return
        step = getattr(self, f"{kind}_step")
        if self.jit_compile and not self.run_eagerly:
            import jax

            step = jax.jit(step, out_shardings=self.state_shardings(kind))
        if (rows := self.shared() or self.divided) is not None:
            step = _placed(rows, step)
        setattr(self, name, self._make_function(step))


def _placed(rows: "Rows", step: Callable) -> Callable:
    """A step of batches that every process has whole."""
    return lambda state, batch: step(state, rows.place(batch))


def divided_rows() -> "Rows | None":
    """How rows are divided on JAX, among processes that have joined or by the `keras.distribution`
    that is set; None where they are not.
    """
    import keras

    from keras_cvae.devices import Rows, joined

    distribution = keras.distribution.distribution()
    if distribution is None or joined() is not None:
        return joined()
    mesh = distribution.get_data_layout((1,)).backend_layout.mesh
    weights = not isinstance(distribution, keras.distribution.DataParallel)
    return Rows(mesh, distribution.batch_dim_name, weights)


def dividing_rows() -> Any:
    """The `keras.distribution` that is set, if it divides rows among devices of this process.

    Where it divides weights too, these stay where they were made. Keras' loops on JAX raise an
    error at rows that do not divide, and ask the distribution that is set for the place of each
    batch. So ours run while none is set, and their steps place batches, as `Rows.place` does,
    whatever their size: the numbers are those of one device.
    """
    import keras

    found = keras.distribution.distribution() if keras.backend.backend() == "jax" else None
    known = (keras.distribution.DataParallel, keras.distribution.ModelParallel)
    if type(found) not in known:
        return None
    import jax

    return found if jax.process_count() == 1 else None


def snapshot(model: Any) -> tuple[list[Any], list[Any]]:
    """The variables of a model, and their values at one moment between two steps of training."""
    with WEIGHTS:
        model.jax_state_sync()
        variables = model.variables
        return variables, [_value(variable) for variable in variables]


def held(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Keep the weights of a model as they are while it is written down.

    In the thread of its own `fit` they stay as they are; if another thread fits, that waits.
    """
    model.jax_state_sync()
    return contextlib.nullcontext() if model.is_writing() else WEIGHTS


def _value(variable: Any) -> Any:
    """The value as it is now; TensorFlow's is a place that the next value is written to."""
    value = variable.value
    return value.read_value() if hasattr(value, "read_value") else value


def optimizer_of(model: Any) -> Any:
    """The optimizer that a model learns with; the one within, where another scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def remembered(model: Any, into: Any = None) -> Callable[[], None]:
    """Keep the values of a model and of its optimizer as they are; the answer puts them back.

    Args:
        model: The model.
        into: Another one of its kind, which the answer gives the values instead.
    """
    import keras

    copied = keras.backend.backend() == "torch"  # which trains in place; others replace values
    kept = _with_optimizer(model)
    values = [_value(v).detach().clone() if copied else _value(v) for v in kept]
    variables = kept if into is None else _with_optimizer(into)

    def put_back() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return put_back


def _with_optimizer(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)  # a part has none
    return [*model.variables, *(optimizer.variables if optimizer else ())]


def compiled(function: Callable) -> Callable:
    """Compile a pure function of tensors and NumPy arrays; it leaves all its arguments intact.

    On PyTorch it is called as it is, without gradients.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.function(function, reduce_retracing=True)

    import torch

    def call(values: list[Any], inputs: Any) -> Any:
        return function(values, keras.tree.map_structure(keras.ops.convert_to_tensor, inputs))

    return torch.no_grad()(call)


def repeated(steps: int, body: Callable[[Any, Any], Any], state: Any) -> Any:
    """Run a body so many times: `state = body(i, state)` for i from 0; return the last state.

    That is `ops.fori_loop`, in the form that can be exported too: on JAX the scan that it becomes
    there anyhow, whose weights ONNX takes for constants.
    """
    import keras
    from keras import ops

    if keras.backend.backend() == "jax" and isinstance(steps, int):

        def once(carry: tuple[Any, Any], _: Any) -> tuple[tuple[Any, Any], None]:
            i, state = carry
            return (i + 1, body(i, state)), None

        start = (ops.convert_to_tensor(0, "int32"), state)
        return ops.scan(once, start, length=steps)[0][1]
    return ops.fori_loop(0, steps, body, state)


def within_fit(evaluate: dict[str, Any]) -> bool:
    """Whether these keyword arguments of `Model.evaluate` are those of a validation in `fit`."""
    return bool(evaluate.get("_use_cached_eval_dataset"))


def layers_of(model: Any) -> list:
    """All layers of a model, at any depth."""
    return list(model._flatten_layers())


def reweighed(data: Any, weigh: Callable[[Any], Any]) -> Any:
    """The batches of a `tf.data.Dataset` with other sample weights; None of anything else.

    Args:
        data: Yields `(x, y)`, `(x, y, sample_weight)` or `{"x", "condition"}`.
        weigh: From y, in NumPy, to factors `(batch,)` in float32.
    """
    if not type(data).__module__.startswith("tensorflow."):
        return None
    import keras
    import tensorflow as tf

    def add(*batch):
        x, y, given = keras.utils.unpack_x_y_sample_weight(batch if len(batch) > 1 else batch[0])
        conditions = x["condition"] if isinstance(x, dict) else y
        parts = keras.tree.flatten(conditions)
        weights = tf.numpy_function(
            lambda *values: weigh(keras.tree.pack_sequence_as(conditions, values)),
            parts,
            tf.float32,
        )
        weights = tf.reshape(weights, tf.shape(parts[0])[:1])
        return x, y, weights if given is None else weights * tf.reshape(given, tf.shape(weights))

    return data.map(add)


def flush_denormals() -> None:
    """On PyTorch, for the process: count numbers below 1e-38 as 0; Adam's state is full of them.

    CPUs take many times as long for them; XLA and TensorFlow flush them anyhow.
    """
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


@functools.cache
def accelerated() -> bool:
    """Whether the backend computes on a GPU or TPU: few large kernels there, caches on a CPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    return False
