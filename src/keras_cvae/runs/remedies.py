"""What a verdict advises, as commands on the run that it was said of."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_cvae import command
from keras_cvae.data.sources import NAMED
from keras_cvae.evaluation.verdict import Finding, Remedy
from keras_cvae.runs.choices import flags
from keras_cvae.runs.config import ConfigError, RunConfig, validated
from keras_cvae.runs.run import Run

MOST = 4  # commands that are suggested at once
PATIENCE = 30
WARMUP = 0.3
FREE_BITS = 0.5


def commands(run: Run, findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """What may be typed for the remedies of findings, each with words; the worst finding's first.

    Another setting takes another run, with all other settings as they were. Of a model that came
    without its run, or of data that were in memory, there is nothing to type.
    """
    if run.shared is not None or (run.source not in NAMED and not Path(run.source).exists()):
        return []
    asked = dict.fromkeys(remedy for finding in findings for remedy in finding.remedies)
    made = (_command(run, remedy) for remedy in asked)
    return [one for one in made if one is not None][:MOST]


def had(run: Run) -> frozenset[Remedy]:
    """The remedies that a run has already, or that its settings do not allow."""
    taken = {remedy for remedy in _CHANGES if not _changed(run.config, remedy)}
    return frozenset(taken | ({"bounded"} if run.config.likelihood == "bounded" else set()))


def _command(run: Run, remedy: Remedy) -> tuple[str, str] | None:
    if remedy in ("marginals", "samples"):
        return "see it", command.line("plot", run.folder, remedy)
    if remedy == "longer":
        return "train longer", f"{run.resume_command} --epochs {2 * (run.config.epochs or 10)}"
    changed = _changed(run.config, remedy)
    if not changed:
        return None
    other = run.folder.with_name(f"{run.folder.name}-{remedy.replace(' ', '-')}")
    like = ("--config", run.folder / "run.json", *flags(changed), "--out", other)
    return _CHANGES[remedy][0], command.line("train", run.source, *like)


def _changed(config: RunConfig, remedy: Remedy) -> dict[str, Any]:
    """The settings that a remedy changes; none where it is there already or not allowed, or where
    only a person can tell them, as bounds."""
    if remedy not in _CHANGES:
        return {}
    changed = _CHANGES[remedy][1](config)
    try:
        validated(config.model_dump() | changed)
    except ConfigError:
        return {}
    return changed


def _scaled(widths: tuple[int, ...], by: float) -> tuple[int, ...]:
    return tuple(max(8, round(width * by)) for width in widths)


def _overdispersed(config: RunConfig) -> dict[str, Any]:
    return {"likelihood": "negative_binomial"} if config.likelihood == "poisson" else {}


def _zero_inflated(config: RunConfig) -> dict[str, Any]:
    fewer_zeros = ("poisson", "negative_binomial", "zero_inflated_poisson")
    found = config.likelihood in fewer_zeros
    return {"likelihood": "zero_inflated_negative_binomial"} if found else {}


_CHANGES: Mapping[Remedy, tuple[str, Callable[[RunConfig], dict[str, Any]]]] = {
    "larger": ("a larger network", lambda c: {"units": _scaled(c.units, 2)}),
    "smaller": ("a smaller network", lambda c: {"units": _scaled(c.units, 0.5)}),
    "wider": (
        "a longer z",
        lambda c: {} if c.group_sizes else {"latent_dim": 2 * c.latent_dim},
    ),
    "patience": (
        "keep the best epoch",
        lambda c: {} if c.patience or not c.validation else {"patience": PATIENCE},
    ),
    "lower rate": ("a lower rate", lambda c: {"learning_rate": c.learning_rate / 10}),
    "warm-up": (
        "let beta grow slowly",
        lambda c: {"warmup": WARMUP} if c.warmup < WARMUP and not c.cycles else {},
    ),
    "free bits": (
        "leave some KL free",
        lambda c: {} if c.free_bits else {"free_bits": FREE_BITS},
    ),
    "lower beta": ("a lower beta", lambda c: {"beta": c.beta / 2} if c.beta else {}),
    "own width": (
        "a width for each value",
        lambda c: (
            {"variance": "predicted"}
            if c.likelihood in ("gaussian", "bounded") and c.variance != "predicted"
            else {}
        ),
    ),
    "overdispersed": ("counts that vary more", _overdispersed),
    "zero-inflated": ("counts with more zeros", _zero_inflated),
}
