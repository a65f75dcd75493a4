"""One validated description of a run. The command's flags, the config file and Python all use it."""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from keras_cvae.errors import listed, nearest


class ConfigError(ValueError):
    """A setting that is unknown or out of range, in the user's words."""


class RunConfig(BaseModel):
    """Everything that decides what a run computes; the data's name is the only other input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The model.
    conditional: bool = Field(True, description="Condition on the labels; off is the plain VAE.")
    latent_dim: int = Field(16, ge=1, description="Length of the latent z.")
    prior: Literal["standard", "conditional"] = Field(
        "standard", description="p(z|y): standard normal, or learned from y."
    )
    likelihood: Literal["bernoulli", "continuous_bernoulli", "gaussian", "categorical"] = Field(
        "bernoulli", description="p(x|z,y), what the decoder's output means."
    )
    variance: Literal["fixed", "learned", "predicted", "optimal"] = Field(
        "optimal", description="How the gaussian likelihood gets its variance."
    )
    sigma: float = Field(0.1, gt=0, description="Standard deviation of variance=fixed.")
    backbone: Literal["mlp", "conv"] = Field("mlp", description="Kind of network.")
    units: tuple[int, ...] = Field((512,), description="Widths of the dense layers (mlp, conv).")
    filters: tuple[int, ...] = Field((32, 64), description="Channels of the conv blocks.")
    activation: Literal["relu", "gelu", "silu", "tanh", "elu"] = Field(
        "relu", description="Activation of the hidden layers."
    )

    # The objective.
    objective: Literal["elbo", "iwae"] = Field("elbo", description="What is maximised.")
    beta: float = Field(1.0, ge=0, description="Weight of the KL.")
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs in which beta grows from 0.")
    cycle_epochs: float = Field(0.0, ge=0, description="Period of cyclical annealing of beta.")
    free_bits: float = Field(0.0, ge=0, description="Nats of KL that are not pushed down.")
    num_samples: int = Field(1, ge=1, description="Draws of z per example in training.")

    # The training.
    epochs: int = Field(50, ge=1, description="Passes over the training data.")
    batch_size: int = Field(128, ge=1, description="Examples per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's step size.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Learning rate over the run: constant, or cosine decay to 0."
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="Precision of the networks."
    )
    seed: int = Field(0, ge=0, description="Same seed, same run.")

    # The data.
    binarize: Literal["none", "dynamic"] = Field(
        "none", description="Draw x ~ Bernoulli(pixel): anew every epoch, fixed for validation."
    )
    validation: float | Literal["test"] = Field(
        0.1, description="Part of the training data held out, or 'test' for the test set."
    )
    image_size: int | None = Field(None, ge=1, description="Resize pictures to this many pixels.")
    color: Literal["auto", "grey", "rgb"] = Field("auto", description="Colour of the pictures.")

    @model_validator(mode="after")
    def _fits_together(self):
        if isinstance(self.validation, float) and not 0 < self.validation < 1:
            raise ValueError(
                f"validation: received {self.validation:g}, expected a part between 0 and 1, or "
                "'test'"
            )
        for name in ("units", "filters"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: expected one or more positive widths, like 512")
        if self.warmup_epochs and self.cycle_epochs:
            raise ValueError("warmup_epochs and cycle_epochs were both given, expected one")
        if self.objective == "iwae":
            given = [n for n in ("warmup_epochs", "cycle_epochs", "free_bits") if getattr(self, n)]
            if given or self.beta != 1:
                names = ", ".join(given or ["beta"])
                raise ValueError(f"{names} belong to objective=elbo; iwae has no weight on the KL")
        if self.binarize == "dynamic" and self.likelihood not in ("bernoulli", "categorical"):
            raise ValueError(
                f"binarize=dynamic makes x binary, but likelihood={self.likelihood} is for "
                "continuous x; expected likelihood=bernoulli"
            )
        return self


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
    folder = resources.files("keras_cvae") / "presets"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    read = [tomllib.loads(f.read_text()) for f in files]
    return {preset["name"]: Preset(**preset) for preset in read}


def load_config(
    preset: str | None = None, file: str | Path | None = None, **settings: Any
) -> RunConfig:
    """Read a configuration: the preset, then the file over it, then single settings over both.

    Args:
        preset: Name of a preset.
        file: TOML or JSON with fields of `RunConfig`, and optionally `preset`.
        **settings: Fields of `RunConfig`; None counts as not given.

    Raises:
        ConfigError: An unknown preset or field (with the nearest name), or a value out of range.
        FileNotFoundError: There is no such file.
    """
    from_file = _read(Path(file)) if file else {}
    preset = preset or from_file.pop("preset", None)
    from_file.pop("preset", None)
    base: dict[str, Any] = {}
    if preset:
        known = presets()
        if preset not in known:
            raise ConfigError(
                f"Unknown preset '{preset}'. Known are {listed(known)}.{nearest(preset, known)}"
            )
        base = known[preset].config
    given = {name: value for name, value in settings.items() if value is not None}
    return validated(base | from_file | given, where=f" in {file}" if from_file else "")


def validated(settings: dict[str, Any], where: str = "") -> RunConfig:
    """Check settings against `RunConfig`.

    Raises:
        ConfigError: Every problem, one a line, each with what came and what was expected.
    """
    try:
        return RunConfig(**settings)
    except ValidationError as error:
        raise ConfigError("\n".join(_words(e, where) for e in error.errors())) from None


def _words(error: Any, where: str) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        known = RunConfig.model_fields
        return f"Unknown setting '{name}'{where}.{nearest(name, known)}"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{name}: received {error['input']!r}, {message}." if name else f"{message}."


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no config file '{path}'.")
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read '{path}': {error}. Expected TOML, or JSON.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"'{path}' holds no settings. Expected lines like: epochs = 20")
    return content
