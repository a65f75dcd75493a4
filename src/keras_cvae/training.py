"""From a configuration and data to a trained model in a run folder, stoppable at any moment.

A run folder holds

    run.json            the data's name, the configuration, versions; written first
    history.json        metrics of every epoch
    checkpoint.keras    model, optimizer and random streams after some epoch; gone at the end
    model.keras         the trained model; its presence means that the run is complete
    metrics.json        the last epoch's metrics and the time it took
    pictures/           what `cvae plot` draws
    .lock               while a process trains here

Every file is written under a temporary name and renamed.
"""

import contextlib
import json
import math
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np

import keras_cvae
from keras_cvae import declared, masks
from keras_cvae.conditions import (
    Categorical,
    Condition,
    Continuous,
    KnownPart,
    Optional,
    Unconditional,
)
from keras_cvae.config import ConfigError, RunConfig, load_config, validated
from keras_cvae.config import declared as parsed
from keras_cvae.data import NAMED, Batches, CompletionBatches, Data, Split, check_shift, load
from keras_cvae.likelihoods import (
    Bernoulli,
    CategoricalValues,
    CausalBernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
)
from keras_cvae.model import ConditionalVAE
from keras_cvae.model import load as load_model
from keras_cvae.networks import MLP, Backbone, Conv, TopDown
from keras_cvae.networks.parts import precision
from keras_cvae.objectives import ELBO, OBJECTIVES, Cyclical, Hybrid, Objective, Warmup

CHECKPOINT_SECONDS = 10.0
LOCK = ".lock"
STEPS = 19_000  # of a run whose epochs are not given


class RunError(ValueError):
    """A run folder that is missing, in the way, incomplete or not a run's."""


class Stopped(KeyboardInterrupt):
    """Training was interrupted; the message says how to go on."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: Its path.
        source: The data: a name, or an absolute path.
        config: What was computed.
    """

    folder: Path
    source: str
    config: RunConfig

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Read a run folder.

        Raises:
            RunError: There is none, or it is damaged.
        """
        folder = Path(folder)
        if not (folder / "run.json").is_file():
            what = "is not a run folder" if folder.exists() else "does not exist"
            raise RunError(
                f"'{folder}' {what}. Expected a folder that `cvae train` or `cvae quickstart` made."
            )
        try:
            about = json.loads((folder / "run.json").read_text())
            return cls(folder, about["data"], validated(about["config"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"'{folder / 'run.json'}' is damaged: {error}") from error

    @property
    def model_path(self) -> Path:
        """The trained model."""
        return self.folder / "model.keras"

    @property
    def checkpoint(self) -> Path:
        """The last saved state of a run that is not complete."""
        return self.folder / "checkpoint.keras"

    @property
    def resume_command(self) -> str:
        """What to type to go on with it."""
        return shlex.join(["cvae", "train", self.source, "--out", str(self.folder), "--resume"])

    @property
    def complete(self) -> bool:
        """Whether training came to its end."""
        return self.model_path.is_file()

    def model(self) -> ConditionalVAE:
        """Load the trained model.

        Raises:
            RunError: The run is not complete.
        """
        if not self.complete:
            raise RunError(
                f"The run '{self.folder}' has not finished training. Continue it with: "
                f"{self.resume_command}"
            )
        return load_model(self.model_path)

    def data(self, progress: Callable | None = None) -> Data:
        """Load the data again, split as in training."""
        return load_data(self.source, self.config, progress)

    def evaluation(self) -> dict[str, Any]:
        """What `cvae evaluate` measured last, or nothing."""
        path = self.folder / "evaluation" / "metrics.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def history(self) -> dict[str, list[float]]:
        """Metrics by name, one value an epoch."""
        path = self.folder / "history.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def metrics(self) -> dict[str, Any]:
        """What the last epoch measured."""
        path = self.folder / "metrics.json"
        return json.loads(path.read_text()) if path.is_file() else {}


def write_json(path: Path, content: Any) -> None:
    """Write JSON to a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


def load_data(source: str, config: RunConfig, progress: Callable | None = None) -> Data:
    """Load data as the configuration wants it."""
    return load(
        source,
        image_size=config.image_size,
        color=config.color,
        validation=config.validation,
        seed=config.seed,
        progress=progress,
        conditions=[parsed(spec)[0] for spec in config.condition],
    )


def build_model(config: RunConfig, data: Data) -> ConditionalVAE:
    """Build and compile the model that the configuration describes, for this data.

    Raises:
        ValueError: The data does not fit the likelihood or the backbone.
    """
    if config.shift:
        check_shift(data.x_shape)
    likelihood = {
        "bernoulli": Bernoulli,
        "causal_bernoulli": lambda: CausalBernoulli(config.channels, config.reach),
        "continuous_bernoulli": ContinuousBernoulli,
        "gaussian": lambda: Gaussian(config.variance, config.sigma),
        "categorical": lambda: CategoricalValues(
            2 if config.binarize == "dynamic" else 256, low=0, high=1
        ),
        "discretized_logistic": lambda: DiscretizedLogistic(config.components),
    }[config.likelihood]()
    for split in (data.train, data.validation):
        if isinstance(split.x, np.ndarray) and split.x.dtype != np.uint8:  # bytes become 0..1
            likelihood.check(split.x)

    keras.utils.set_random_seed(config.seed)
    steps = math.ceil(len(data.train) / config.batch_size)
    total = epochs(config, len(data.train)) * steps
    with precision(config.precision):
        model = ConditionalVAE(
            data.x_shape,
            _condition(config, data),
            config.group_sizes
            or [len(part) for part in np.array_split(range(config.latent_dim), config.groups)],
            likelihood=likelihood,
            prior=None if config.backbone.startswith("topdown") else config.prior,
            backbone=_backbone(config),
            objective=_objective(config, total),
            seed=config.seed,
        )
        optimizer: Any = keras.optimizers.Adam(
            _rate(config, total),
            weight_decay=config.weight_decay or None,
            global_clipnorm=config.clip or None,
            use_ema=bool(config.ema),
            # In a short run less, so that exp(-5) of the first weights is left of the average.
            ema_momentum=min(config.ema, max(0.0, 1.0 - 5.0 / total)),
        )
        if config.precision == "mixed_float16":
            # Losses of hundreds of nats overflow at the default, 2^15: the first steps are skipped.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
    model.compile(optimizer)
    return model


def _rate(config: RunConfig, steps: int) -> Any:
    """The learning rate over the run: a number, or a schedule."""
    peak, schedules = config.learning_rate, keras.optimizers.schedules
    growing = round(config.rate_warmup * steps)
    rest = {"warmup_target": peak, "warmup_steps": growing} if growing else {}
    if config.schedule == "cosine":
        return schedules.CosineDecay(0.0 if growing else peak, max(1, steps - growing), **rest)
    return schedules.PolynomialDecay(0.0, growing, peak) if growing else peak


def _backbone(config: RunConfig) -> Backbone:
    units, activation = config.units, config.activation
    if config.backbone == "mlp":
        return MLP(units, activation)
    if config.backbone == "conv":
        return Conv(config.filters, units[-1], activation)
    maps = config.filters if config.backbone == "topdown-conv" else ()
    return TopDown(units[-1], filters=maps, levels=config.levels, activation=activation)


def _condition(config: RunConfig, data: Data) -> Condition:
    y = data.train.y
    if config.task == "complete":
        return KnownPart(data.x_shape, None if _mask(config) == masks.RANDOM else _mask(config))
    if not config.conditional or y is None:
        return Unconditional()
    if isinstance(y, dict):
        splits = [data.train, data.validation, *([data.test] if data.test else [])]
        return declared.joint(config, [split.y for split in splits])
    condition: Condition
    if data.class_names is not None:
        condition = Categorical(data.class_names)
    else:
        condition = Continuous(1 if y.ndim == 1 else y.shape[1])
        condition.adapt(y)
    return Optional(condition, config.label_dropout) if config.label_dropout else condition


def _mask(config: RunConfig) -> str:
    return config.known or masks.RANDOM


def _objective(config: RunConfig, steps: int) -> Objective:
    if config.objective not in ("elbo", "hybrid"):
        return OBJECTIVES.classes[config.objective](config.num_samples)
    beta: Any = config.beta
    if config.cycles:
        beta = Cyclical(max(1, steps // config.cycles), final=config.beta)
    elif config.warmup:
        beta = Warmup(max(1, round(config.warmup * steps)), config.beta)
    elbo = ELBO(beta, config.free_bits, config.num_samples)
    return Hybrid(elbo, config.alpha) if config.objective == "hybrid" else elbo


def epochs(config: RunConfig, examples: int) -> int:
    """How many epochs a run on so many training examples takes."""
    if config.epochs is not None:
        return config.epochs
    steps = math.ceil(examples / config.batch_size)
    return min(max(round(STEPS / steps), 20), 300)


def train(
    data: str | Path | Data,
    config: RunConfig | str | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Callable | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Train a model into a run folder.

    Args:
        data: A name, a path, or loaded `Data`.
        config: A configuration, or the name of a preset.
        out: The run folder; by default `runs/<data>-<preset or "run">`.
        resume: Continue the run in `out` with the configuration it was started with. What `config`
            sets must agree with it; only `epochs` may grow.
        overwrite: Replace a run that is there.
        callbacks: Keras callbacks.
        progress: Wraps slow loops, called as `progress(iterable, total=..., description=...)`.
        checkpoint_seconds: Least time between two checkpoints; the last epoch always has one.

    Returns:
        The complete run.

    Raises:
        RunError: The folder is in the way, is no run, cannot be written, cannot be resumed, or
            another process trains in it.
        ValueError: Data or configuration that do not fit.
        Stopped: On Ctrl-C, after which `resume=True` goes on to the same result.
    """
    folder = Path(out) if out is not None else default_folder(data, config)
    if not isinstance(config, RunConfig):
        config = load_config(config)

    if resume:
        run = _resumed(Run.open(folder), config)
    else:
        check_folder(folder, overwrite)
        source = data.name if isinstance(data, Data) else _absolute(data)
        run = Run(folder, source, config)
    if not isinstance(data, Data):
        given, data = _absolute(data), load_data(str(data), run.config, progress)
        if resume and given != run.source:
            raise RunError(
                f"The run '{folder}' was started on '{run.source}', not on '{given}'. Resume it "
                "with the same data, or choose another --out."
            )

    chosen = run.config.model_copy(update={"epochs": epochs(run.config, len(data.train))})
    run = Run(run.folder, run.source, chosen)
    model, epoch = build_model(run.config, data), 0
    try:
        with _alone(folder):
            if resume:
                model, epoch = _restored(run, model, len(data.train))
            else:
                check_folder(folder, overwrite)  # again: another process may have come first
            _create(run, keep=resume)
            return _fit(run, model, data, epoch, [*callbacks], checkpoint_seconds)
    except KeyboardInterrupt:
        done = len(run.history().get("loss", []))
        raise Stopped(
            f"Stopped; {done} of {chosen.epochs} epochs are saved. Continue with:\n"
            f"{run.resume_command}"
        ) from None


def default_folder(data: str | Path | Data, config: RunConfig | str | None = None) -> Path:
    """The run folder where none is given."""
    name = data.name if isinstance(data, Data) else Path(data).stem
    label = config if isinstance(config, str) else "run"
    return Path("runs") / f"{name or 'data'}-{label}"


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Refuse a run folder that exists or cannot be written, before anything expensive.

    Raises:
        RunError: Saying what to do instead.
    """
    if folder.exists():
        is_run = (folder / "run.json").is_file()
        empty = folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())
        if not empty and not (overwrite and is_run):
            raise RunError(
                f"'{folder}' exists already. Use --resume to continue it, --overwrite to replace "
                "it, or another --out."
                if is_run
                else f"'{folder}' exists and is not a run folder; nothing was touched. Choose "
                "another --out."
            )
    path = folder.absolute()
    parent = next(p for p in (path, *path.parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(f"Cannot write to '{parent}'. Choose another --out.")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder, which is made."""
    lock = filelock.FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunError(
            f"Another process is training in '{folder}'. Wait until it is done, or choose another "
            "--out."
        ) from None
    except OSError as error:
        raise RunError(f"Cannot write to '{folder}': {error.strerror}.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open
            (folder / LOCK).unlink()
        lock.release()


def _absolute(source: str | Path) -> str:
    path = Path(source).expanduser()
    return str(path.absolute()) if source not in NAMED and path.exists() else str(source)


def _create(run: Run, keep: bool) -> None:
    """Write `run.json`; without `keep` what an earlier run left goes, other files stay."""
    patterns = [f".{name}.*" for name in ("run.json", "history.json", "metrics.json", "checkpoint")]
    if not keep:
        patterns += ["model.keras", "checkpoint.keras", "history.json", "metrics.json", "pictures"]
    try:
        for path in (path for pattern in patterns for path in run.folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise RunError(f"Cannot write to '{run.folder}': {error.strerror}.") from error
    about = {
        "data": run.source,
        "config": run.config.model_dump(),
        "keras_cvae": keras_cvae.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
    write_json(run.folder / "run.json", about)


def _resumed(run: Run, config: RunConfig) -> Run:
    changes = {name: getattr(config, name) for name in config.model_fields_set}
    different = {
        name: (getattr(run.config, name), value)
        for name, value in changes.items()
        if name != "epochs" and value != getattr(run.config, name)
    }
    if different:
        words = ", ".join(f"{name} was {a!r}, asked {b!r}" for name, (a, b) in different.items())
        raise RunError(
            f"The run '{run.folder}' was started with other settings ({words}). A resumed run "
            "keeps its settings; only --epochs may grow. Start another run for other settings."
        )
    asked = run.config.model_copy(update={"epochs": config.epochs or run.config.epochs})
    planned = [
        f"{name}={getattr(run.config, name)}"
        for name, unplanned in (
            ("schedule", "constant"),
            ("warmup", 0),
            ("cycles", 0),
            ("ema", 0),
            ("rate_warmup", 0),
            ("shift", 0),
        )
        if getattr(run.config, name) != unplanned
    ]
    if asked.epochs != run.config.epochs and planned:
        raise ConfigError(
            f"The run '{run.folder}' is planned over {run.config.epochs} epochs "
            f"({', '.join(planned)}); --epochs cannot change on --resume."
        )
    if (asked.epochs or 0) < (run.config.epochs or 0):
        raise ConfigError(
            f"The run '{run.folder}' has {run.config.epochs} epochs; received --epochs "
            f"{asked.epochs}, expected at least as many."
        )
    return Run(run.folder, run.source, asked)


def _restored(run: Run, fresh: ConditionalVAE, examples: int) -> tuple[ConditionalVAE, int]:
    """The model and the epoch to go on from; a run killed before any checkpoint starts anew."""
    path = next((p for p in (run.checkpoint, run.model_path) if p.is_file()), None)
    if path is None:
        return fresh, 0
    model = load_model(path)
    return model, int(model.step) // math.ceil(examples / run.config.batch_size)


class _Recorder(keras.callbacks.Callback):
    """Saves history and, now and then, everything that a resumed run needs."""

    def __init__(self, run: Run, history: dict[str, list[float]], seconds: float):
        super().__init__()
        self.run, self.seconds = run, seconds
        self.metrics = history
        self.saved = time.monotonic()
        self.started = self.saved - (run.metrics().get("seconds", 0.0) if history else 0.0)

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.metrics.setdefault(name, []).append(float(value))
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise ArithmeticError(
                f"The loss is {logs['loss']} after epoch {epoch + 1}. Start again with a lower "
                f"learning rate (now {self.run.config.learning_rate:g}) or a longer warm-up."
            )
        if time.monotonic() - self.saved >= self.seconds:
            self.save()

    def save(self) -> None:
        # History first: a kill in between leaves more of it than of the checkpoint, and resuming
        # cuts it back to the checkpoint's epoch.
        self.saved = time.monotonic()
        last = {name: values[-1] for name, values in self.metrics.items()}
        last |= {"epochs": len(self.metrics["loss"]), "seconds": self.saved - self.started}
        write_json(self.run.folder / "history.json", self.metrics)
        write_json(self.run.folder / "metrics.json", last)
        self.model.save(self.run.checkpoint)


def _fit(run: Run, model, data: Data, epoch: int, callbacks: list, seconds: float) -> Run:
    config, total = run.config, epochs(run.config, len(data.train))
    history = {name: values[:epoch] for name, values in run.history().items()}
    if epoch >= total and run.complete:
        return run
    labelled = not isinstance(model.condition, Unconditional)

    def batches(split: Split, **order: Any) -> Batches:
        order |= {"binarize": config.binarize}
        if config.task == "complete":
            return CompletionBatches(split, config.batch_size, _mask(config), **order)
        split = Split(split.x, model.condition.prepare(split.y) if labelled else None)
        return Batches(split, config.batch_size, **order)

    shift = {"shift": config.shift, "shift_epochs": total}
    recorder = _Recorder(run, history, seconds)
    if config.ema:  # validate what the run will end with
        callbacks = [keras.callbacks.SwapEMAWeights(), *callbacks]
    model.fit(
        batches(data.train, shuffle=True, seed=config.seed, epoch=epoch, **shift),
        validation_data=batches(data.validation),
        epochs=total,
        initial_epoch=epoch,
        callbacks=[recorder, *callbacks],
        shuffle=False,  # the batches shuffle themselves, by seed and epoch
        verbose=0,
    )
    recorder.save()
    run.checkpoint.replace(run.model_path)
    return run
