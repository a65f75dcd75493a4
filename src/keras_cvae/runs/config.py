"""One validated description of a run: the command's flags, the config file and Python use it."""

import tomllib
import typing
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from keras_cvae import masks
from keras_cvae.errors import listed, nearest
from keras_cvae.files import parsed
from keras_cvae.runs import declaration


class ConfigError(ValueError):
    """A setting that is unknown or out of range, in the user's words."""


def _setting(default: Any, panel: str, description: str, **bounds: Any) -> Any:
    extra: dict[str, Any] = {"panel": panel}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


class RunConfig(BaseModel):
    """Everything that decides what a run computes; the data's name is the only other input.

    Examples:
        >>> config = RunConfig(latent_dim=8, units=(64,), epochs=3)
        >>> config.model_copy(update={"prior": "standard"}).prior
        'standard'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Literal["generate", "complete"] = _setting(
        "generate", "Model", "Draw x for a label, or complete pictures of which a part is known."
    )
    known: str | None = _setting(
        None,
        "Model",
        "With --task complete: the known part: bottom-left, left, all-but-bottom-right, ... (1, 2, "
        "3 quadrants), or random for any part. Default: random.",
    )
    conditional: bool = _setting(True, "Model", "Condition on the labels; off: the plain VAE.")
    condition: tuple[str, ...] = _setting(
        (),
        "Model",
        "A named condition, an array in the .npz: age:continuous, class:categorical, "
        "hour:periodic:24, days:exposure, tags:tags, look:image, s:signal. Repeat for several.",
    )
    semisupervised: bool = _setting(
        False,
        "Model",
        'Learn from examples whose class is unknown, too: y is -1 there, or "" among names (M2).',
    )
    label_dropout: float = _setting(
        0.0,
        "Model",
        "Share of the conditions forgotten in training, so that they may be left out and guided.",
        ge=0,
        lt=1,
    )
    latent_dim: int = _setting(32, "Model", "Length of the latent z.", ge=1)
    groups: int = _setting(
        1, "Model", "Groups that z is split into; a learned prior draws one after the other.", ge=1
    )
    group_sizes: tuple[int, ...] | None = _setting(
        None,
        "Model",
        "Length of each group, in place of latent_dim and groups: 16,16,4,2 (on maps: channels).",
    )
    prior: Literal["standard", "conditional"] = _setting(
        "conditional", "Model", "p(z|y): standard normal, or learned from y."
    )
    prior_units: tuple[int, ...] = _setting(
        (128,), "Model", "Widths of the dense layers of p(z|y) where it is learned: 128."
    )
    prior_activation: Literal["relu", "tanh"] = _setting(
        "relu",
        "Model",
        "Activation of these layers; with tanh no group is drawn far beyond what training had.",
    )
    likelihood: Literal[
        "bernoulli",
        "causal_bernoulli",
        "continuous_bernoulli",
        "gaussian",
        "bounded",
        "categorical",
        "discretized_logistic",
        "poisson",
        "negative_binomial",
        "zero_inflated_poisson",
        "zero_inflated_negative_binomial",
    ] = _setting("bernoulli", "Model", "p(x|z,y): what the decoder's output means.")
    dispersion: Literal["learned", "predicted"] = _setting(
        "learned", "Model", "negative_binomial: one for each value of x, or predicted by z and y."
    )
    channels: int = _setting(
        32, "Model", "causal_bernoulli: hidden units that join a pixel to its neighbours.", ge=1
    )
    reach: int = _setting(3, "Model", "causal_bernoulli: how far a pixel sees.", ge=1)
    components: int = _setting(
        5, "Model", "discretized_logistic: logistics mixed at each pixel.", ge=1
    )
    variance: Literal["fixed", "learned", "predicted", "optimal"] = _setting(
        "optimal", "Model", "How the gaussian likelihood gets its variance."
    )
    bounds: tuple[str, ...] = _setting(
        (),
        "Model",
        "bounded: between what x lie, 0..1 or 0.. or ..5 for all values. Of some alone, counted "
        "from 1: 2,3=0.. and the others have none; or repeat it, once for each value.",
    )
    sigma: float = _setting(0.1, "Model", "Standard deviation if variance is fixed.", gt=0)
    backbone: Literal["mlp", "residual", "conv", "topdown", "topdown-conv"] = _setting(
        "mlp", "Model", "Kind of network; the top-down ones bring their own prior."
    )
    units: tuple[int, ...] = _setting(
        (512, 512), "Model", "Widths of the dense layers: 512,512 (all but mlp use the last)."
    )
    blocks: int = _setting(
        2, "Model", "residual: how many blocks, in the encoder and in the decoder.", ge=1
    )
    filters: tuple[int, ...] = _setting((32, 64), "Model", "Channels of the conv maps: 32,64.")
    levels: tuple[int, ...] | None = _setting(
        None, "Model", "topdown-conv: level of each group, 0 the vector, then the maps: 0,0,1,2."
    )
    activation: Literal["relu", "gelu", "silu", "tanh", "elu"] = _setting(
        "gelu", "Model", "Activation of the hidden layers."
    )

    objective: Literal["elbo", "iwae", "dreg", "hybrid", "gsnn"] = _setting(
        "elbo", "Objective", "What is maximised."
    )
    alpha: float = _setting(
        0.5, "Objective", "Weight of the ELBO in the hybrid objective.", ge=0, le=1
    )
    beta: float = _setting(1.0, "Objective", "Weight of the KL.", ge=0)
    warmup: float = _setting(
        0.1, "Objective", "Part of the run in which beta grows from 0.", ge=0, le=1
    )
    cycles: int = _setting(
        0, "Objective", "Times that beta starts again from 0 (cyclical annealing).", ge=0
    )
    free_bits: float = _setting(0.0, "Objective", "Nats of KL that are not pushed down.", ge=0)
    num_samples: int = _setting(1, "Objective", "Draws of z per example in training.", ge=1)

    epochs: int | None = _setting(
        None,
        "Training",
        "Passes over the training data. Not given: enough for 19,000 steps, 20 to 300.",
        ge=1,
    )
    batch_size: int = _setting(128, "Training", "Examples per step.", ge=1)
    learning_rate: float = _setting(1e-3, "Training", "Adam's step size.", gt=0)
    schedule: Literal["constant", "cosine"] = _setting(
        "cosine", "Training", "Learning rate over the run: constant, or cosine decay to 0."
    )
    rate_warmup: float = _setting(
        0.0, "Training", "Part of the run in which the learning rate grows from 0.", ge=0, lt=1
    )
    ema: float = _setting(
        0.0,
        "Training",
        "Decay of the average of the weights that the run ends with, less in a short run; 0: off.",
        ge=0,
        lt=1,
    )
    weight_decay: float = _setting(
        0.0,
        "Training",
        "Part of each weight that a step takes away, times the learning rate (AdamW).",
        ge=0,
        lt=1,
    )
    clip: float = _setting(0.0, "Training", "Largest norm of a step's gradient; 0: no limit.", ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = _setting(
        "float32", "Training", "Precision of the networks."
    )
    patience: int = _setting(
        0,
        "Training",
        "Epochs without a better validation loss after which training ends, with the best weights; "
        "0: never.",
        ge=0,
    )
    seed: int = _setting(0, "Training", "Same seed, same run.", ge=0, lt=2**32)

    binarize: Literal["none", "dynamic"] = _setting(
        "none", "Data", "Draw x ~ Bernoulli(pixel): anew every epoch, fixed for validation."
    )
    shift: int = _setting(
        0,
        "Data",
        "Pixels, at most, that training pictures are moved by: all of them at first, none at last.",
        ge=0,
    )
    validation: float | Literal["test"] = _setting(
        0.1, "Data", "Part of the training data held out, 0: none, or 'test' for the test set."
    )
    image_size: int | None = _setting(None, "Data", "Resize pictures to this many pixels.", ge=1)
    fit: Literal["crop", "pad", "stretch"] = _setting(
        "crop", "Data", "What is done to pictures of another shape."
    )
    signals: bool = _setting(
        False, "Data", "x are signals, (n, length) or (n, length, channels), not vectors."
    )
    color: Literal["auto", "grey", "rgb"] = _setting("auto", "Data", "Colour of the pictures.")

    guidance: float = _setting(
        1.0,
        "Draws",
        "What cvae generate draws with unless told otherwise: how strongly the condition shows; "
        "for runs with --label-dropout.",
        ge=0,
    )
    temperature: float = _setting(
        1.0,
        "Draws",
        "What cvae generate draws with unless told otherwise: spread of the draws.",
        ge=0,
    )

    @property
    def drawing(self) -> dict[str, Any]:
        """Temperature and guidance of draws for which nobody says them; 1 and 1 are p(x | y)."""
        guidance = self.guidance if self.label_dropout else 1.0
        return {"temperature": self.temperature, "guidance": guidance}

    @model_validator(mode="before")
    @classmethod
    def _importance_weights_have_no_beta(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return (_NO_BETA if settings.get("objective") in _WEIGHTED else {}) | settings

    @field_validator("known")
    @classmethod
    def _is_a_mask(cls, known: str | None) -> str | None:
        if known in (None, masks.RANDOM):
            return known
        try:
            return masks.check_name(known)
        except ValueError:
            expected = (masks.RANDOM, *masks.NAMES)
            raise ValueError(
                f"expected one of {', '.join(expected)}.{nearest(known, expected)}"
            ) from None

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if self.known is not None and self.task != "complete":
            raise ValueError("known: received without task=complete, to which it belongs")
        if self.task == "complete" and (self.condition or self.label_dropout):
            raise ValueError(
                "task=complete is conditioned on the known part of x alone; received "
                f"{'condition' if self.condition else 'label_dropout'}, made for task=generate"
            )
        if isinstance(self.validation, float) and not 0 <= self.validation < 1:
            raise ValueError(
                f"validation: received {self.validation:g}, expected a part between 0 and 1, or "
                "'test'"
            )
        if self.patience and not self.validation:
            raise ValueError(
                f"patience: received {self.patience} without held-out examples (validation=0), "
                "which it looks at"
            )
        names = [declaration.read(spec).name for spec in self.condition]
        if len(set(names)) < len(names):
            raise ValueError(f"condition: received {listed(names)}, expected each name once")
        if self.semisupervised and (self.task == "complete" or self.condition):
            raise ValueError(
                "semisupervised sums over the classes of y; received "
                f"{'condition' if self.condition else 'task=complete'}, which has none of them"
            )
        if self.semisupervised and (self.label_dropout or not self.conditional):
            other = "label_dropout" if self.label_dropout else "conditional=false"
            raise ValueError(
                f"semisupervised learns the class of an example, which {other} forgets; expected "
                "one of them"
            )
        if not self.conditional and (self.condition or self.label_dropout):
            raise ValueError(
                "conditional=false leaves conditions out; received "
                f"{'condition' if self.condition else 'label_dropout'}, which is about them"
            )
        if self.groups > self.latent_dim:
            raise ValueError(
                f"groups: received {self.groups}, expected at most latent_dim={self.latent_dim}"
            )
        for name in ("units", "prior_units", "filters", "group_sizes"):
            widths = getattr(self, name)
            if widths is not None and (not widths or min(widths) < 1):
                raise ValueError(f"{name}: expected one or more positive widths, like 512")
        if self.objective in _WEIGHTED:
            given = [name for name, neutral in _NO_BETA.items() if getattr(self, name) != neutral]
            if given:
                raise ValueError(
                    f"objective={self.objective} has no weight on the KL; received "
                    f"{', '.join(given)}, made for objective=elbo"
                )
        if self.likelihood == "bounded" and not self.bounds:
            raise ValueError(
                "bounds: received none with likelihood=bounded, expected --bounds 0..1"
            )
        for text in (one.rpartition("=")[2] for one in self.bounds):
            between(text)
        if self.binarize == "dynamic" and self.likelihood not in _BINARY:
            raise ValueError(
                f"binarize=dynamic makes x binary, but likelihood={self.likelihood} is for "
                "continuous x; expected likelihood=bernoulli"
            )
        return self


Between = tuple[float | None, float | None]


def bounds_of(texts: Sequence[str], size: int) -> list[Between]:
    """Read the bounds of each of so many values.

    Args:
        texts: One for all values, one for each, or some with the values that they are of, counted
            from 1, as in `2,3=0..`; other values then have no bounds.
        size: How many values there are.

    Raises:
        ValueError: Another number of bounds, or no such value.
    """
    if not any("=" in text for text in texts):
        if len(texts) not in (1, size):
            raise ValueError(
                f"bounds: received {len(texts)}, expected one for all values, or {size}, one for "
                "each; or those of some values, as in 2,3=0.."
            )
        return [between(text) for text in texts] * (size if len(texts) == 1 else 1)
    found: list[Between] = [(None, None)] * size
    for text in texts:
        which, _, range_ = text.rpartition("=")
        for one in which.split(","):
            if not one.strip().isdecimal() or not 1 <= int(one) <= size:
                raise ValueError(
                    f"bounds: received '{text}' for {size} values, expected numbers of values from "
                    f"1 to {size} before the =, as in 2,3=0.."
                )
            found[int(one) - 1] = between(range_)
    return found


def between(text: str) -> Between:
    """Read bounds written as `0..1`, `0..`, `..5` or `..`.

    Raises:
        ValueError: They are written otherwise, or out of order.
    """
    low, dots, high = text.partition("..")
    try:
        found = tuple(float(part) if part.strip() else None for part in (low, high))
    except ValueError:
        dots = ""
        found = (None, None)
    if not dots or (None not in found and found[0] >= found[1]):  # type: ignore[operator]
        raise ValueError(f"bounds: received '{text}', expected 0..1, 0.. or ..5, the lower first")
    return found  # type: ignore[return-value]


COUNTS = (
    "poisson",
    "negative_binomial",
    "zero_inflated_poisson",
    "zero_inflated_negative_binomial",
)


_BINARY = ("bernoulli", "causal_bernoulli", "categorical")


_WEIGHTED = ("iwae", "dreg")


_NO_BETA = {"beta": 1.0, "warmup": 0.0, "cycles": 0, "free_bits": 0.0}


class Preset(BaseModel):
    """A named configuration with what to expect of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    summary: str
    command: str
    score: str
    time: str
    hardware: str
    config: dict[str, Any]


def presets() -> dict[str, Preset]:
    """All presets by name, in the order of their files."""
    folder = resources.files("keras_cvae.runs") / "presets"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    read = [tomllib.loads(f.read_text()) for f in files]
    return {preset["name"]: Preset(**preset) for preset in read}


def load_config(
    preset: str | None = None, file: str | Path | None = None, **settings: Any
) -> RunConfig:
    """Read a configuration: the preset, then the file over it, then single settings over both.

    Args:
        preset: Name of a preset.
        file: TOML or JSON with fields of `RunConfig`, and optionally `preset`; or a run's
            `run.json`.
        **settings: Fields of `RunConfig`; None counts as not given.

    Raises:
        ConfigError: An unknown preset or field (with the nearest name), a value out of range, or a
            single setting that does nothing beside the others.
        FileNotFoundError: There is no such file.
    """
    from_file = _read(Path(file)) if file else {}
    preset = preset or from_file.pop("preset", None)
    from_file.pop("preset", None)
    base: dict[str, Any] = {}
    if preset:
        known = presets()
        if not isinstance(preset, str) or preset not in known:
            raise ConfigError(
                f"Unknown preset '{preset}'. Known are {listed(known)}.{nearest(preset, known)}"
            )
        base = known[preset].config
    given = {name: value for name, value in settings.items() if value is not None}
    config = validated(base | from_file | given, where=f" in {file}" if from_file else "")
    idle = [problem for name in given if (problem := _idle(config, name))]
    if idle:
        raise ConfigError("\n".join(idle))
    return config


# Settings that do something only beside certain values of another.
_BESIDE: dict[str, tuple[str, tuple[str, ...]]] = {
    "channels": ("likelihood", ("causal_bernoulli",)),
    "reach": ("likelihood", ("causal_bernoulli",)),
    "components": ("likelihood", ("discretized_logistic",)),
    "variance": ("likelihood", ("gaussian", "bounded")),
    "bounds": ("likelihood", ("bounded",)),
    "dispersion": ("likelihood", ("negative_binomial", "zero_inflated_negative_binomial")),
    "sigma": ("variance", ("fixed",)),
    "levels": ("backbone", ("topdown-conv",)),
    "prior": ("backbone", ("mlp", "residual", "conv")),
    "prior_units": ("prior", ("conditional",)),
    "prior_activation": ("prior", ("conditional",)),
    "blocks": ("backbone", ("residual",)),
    "alpha": ("objective", ("hybrid",)),
}


def _idle(config: RunConfig, name: str) -> str | None:
    """Why a setting that was asked for does nothing."""
    if name == "guidance" and config.guidance != 1 and not config.label_dropout:
        return (
            f"guidance: received {config.guidance:g}, which compares with draws without the "
            "condition; expected label_dropout=0.1, which learns them, or no guidance."
        )
    if name not in _BESIDE:
        return None
    other, values = _BESIDE[name]
    if (value := getattr(config, other)) in values:
        return _idle(config, other)
    return (
        f"{name}: received {getattr(config, name)!r}, which does nothing with {other}={value}; "
        f"expected {other}={' or '.join(values)}, or no {name}."
    )


def validated(settings: dict[str, Any], where: str = "") -> RunConfig:
    """Check settings against `RunConfig`.

    Raises:
        ConfigError: Every problem, one a line, each with what came and what was expected.
    """
    try:
        return RunConfig(**settings)
    except ValidationError as error:
        words = dict.fromkeys(_words(e, where) for e in error.errors())
        raise ConfigError("\n".join(words)) from None


def _words(error: Any, where: str) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        known = RunConfig.model_fields
        return f"Unknown setting '{name}'{where}.{nearest(name, known)}"
    if name == "validation" and error["type"] != "value_error":
        message = "expected a part between 0 and 1, or 'test'"
    else:
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    hint = ""
    if error["type"] == "literal_error" and name != "validation":
        hint = nearest(error["input"], typing.get_args(RunConfig.model_fields[name].annotation))
    message = message.rstrip(".") + "." if not message.endswith("?") else message
    return f"{name}: received {error['input']!r}, {message}{hint}" if name else message


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no config file '{path}'.")
    try:
        text = path.read_text()
        content = parsed(text, "json" if path.suffix == ".json" else "toml")
    except ValueError as error:
        raise ConfigError(f"Cannot read '{path}': {error}. Expected TOML, or JSON.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"'{path}' holds no settings. Expected lines like: epochs = 20")
    if path.name == "run.json" and isinstance(content.get("config"), dict):
        return dict(content["config"])  # of a run
    return content
