"""What a page has to know of a model beside its networks, in values that JSON has."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_cvae.conditions import base, composed, known, labels, numbers
from keras_cvae.conditions.spec import Trait
from keras_cvae.probability.bijections import Bijection
from keras_cvae.probability.likelihoods import (
    bernoulli,
    causal,
    counts,
    discrete,
    gaussian,
    logistic,
)
from keras_cvae.studio.lowering import UnplayableError
from keras_cvae.studio.tape import Arrays

Met = Mapping[Trait, Any]  # what training had


def plain(tensor: Any) -> Any:
    """Numbers of a tensor as lists."""
    return np.asarray(ops.convert_to_numpy(tensor), "float64").tolist()


def described_condition(model: Any, arrays: Arrays) -> dict[str, Any]:
    """A model's condition: its controls, how features are made of it, what training had of it.

    Raises:
        UnplayableError: A condition for which a page has no control.
    """
    met = [ops.convert_to_numpy(weight) > 0 for weight in model.memory.met]
    traits = {trait: value for (trait, _), value in zip(model.memory.traits, met, strict=True)}
    return condition(model.condition, arrays, traits)


@functools.singledispatch
def condition(encoder: Any, arrays: Arrays, met: Met) -> dict[str, Any]:
    """Describe a condition.

    Args:
        encoder: A `ConditionEncoder`.
        arrays: Where its weights are kept.
        met: What training had.
    """
    raise UnplayableError(
        f"A page has no control for a condition that is {encoder.spec.summary()}. Expected "
        "classes, tags, numbers, angles, exposures, a known part, or several of these by name."
    )


@condition.register
def _(encoder: base.Unconditional, arrays: Arrays, met: Met) -> dict[str, Any]:
    return {"kind": "none"}


@condition.register
def _(encoder: labels.Categorical, arrays: Arrays, met: Met) -> dict[str, Any]:
    seen = met.get(("classes",))
    table = encoder.table if encoder.encoding == "embedding" else None
    return {
        "kind": "categorical",
        "labels": list(encoder.spec.names),
        "table": None if table is None else arrays.place(table),
        "seen": None if seen is None or bool(seen.all()) else seen.astype(int).tolist(),
        "width": encoder.width,
    }


@condition.register
def _(encoder: labels.Tags, arrays: Arrays, met: Met) -> dict[str, Any]:
    table = encoder.table if encoder.encoding == "embedding" else None
    return {
        "kind": "tags",
        "labels": list(encoder.spec.names),
        "table": None if table is None else arrays.place(table),
        "width": encoder.width,
    }


@condition.register
def _(encoder: numbers.Continuous, arrays: Arrays, met: Met) -> dict[str, Any]:
    scaling = {"mean": plain(encoder.mean), "scale": plain(encoder.scale)}
    return {"kind": "continuous", "dim": encoder.spec.dim, "width": encoder.width} | scaling


@condition.register
def _(encoder: numbers.Periodic, arrays: Arrays, met: Met) -> dict[str, Any]:
    about = {"period": encoder.spec.period, "harmonics": encoder.harmonics}
    return {"kind": "periodic", "dim": encoder.spec.dim, "width": encoder.width} | about


@condition.register
def _(encoder: numbers.Exposure, arrays: Arrays, met: Met) -> dict[str, Any]:
    scaling = {"mean": plain(encoder.mean), "scale": plain(encoder.scale)}
    return {"kind": "exposure", "typical": plain(encoder.typical), "width": 1} | scaling


@condition.register
def _(encoder: composed.Optional, arrays: Arrays, met: Met) -> dict[str, Any]:
    return {
        "kind": "optional",
        "part": condition(encoder.part, arrays, met),
        "state": plain(encoder.state),
        "missing": bool(met.get(("missing",), False)),
        "width": encoder.width,
    }


@condition.register
def _(encoder: composed.Joint, arrays: Arrays, met: Met) -> dict[str, Any]:
    def of(name: str) -> Met:
        return {trait[1:]: value for trait, value in met.items() if trait[0] == name}

    return {
        "kind": "joint",
        "parts": {name: condition(part, arrays, of(name)) for name, part in encoder.parts.items()},
        "missing": bool(met.get(("missing",), False)),
        "width": encoder.width,
    }


@condition.register
def _(encoder: known.KnownPart, arrays: Arrays, met: Met) -> dict[str, Any]:
    if encoder.guess is not None:
        raise UnplayableError("A page cannot play a known part with a guess. Use `cvae complete`.")
    fixed = encoder.spec.fixed
    about: dict[str, Any] = {"mask": None if fixed is None else fixed.ravel().astype(int).tolist()}
    if encoder.view is not None:
        about["view"] = _view(encoder.view)
    return {"kind": "known_part", "width": encoder.width} | about


def _view(view: Any) -> dict[str, Any]:
    if not isinstance(view, Bijection) or not view.linear:
        raise UnplayableError("A page can complete x that is standardised, or seen as it is.")
    return {"mean": plain(view.mean), "scale": plain(view.scale)}


@functools.singledispatch
def likelihood(found: Any, arrays: Arrays) -> dict[str, Any]:
    """Describe a likelihood.

    Args:
        found: A `Likelihood`.
        arrays: Where its weights are kept.

    Raises:
        UnplayableError: One that a page does not know.
    """
    raise UnplayableError(f"A page cannot draw from the {type(found).__name__} likelihood.")


@likelihood.register
def _(found: bernoulli.Bernoulli, arrays: Arrays) -> dict[str, Any]:
    return {"kind": "bernoulli"}


@likelihood.register
def _(found: bernoulli.ContinuousBernoulli, arrays: Arrays) -> dict[str, Any]:
    return {"kind": "continuous_bernoulli"}


@likelihood.register
def _(found: causal.CausalBernoulli, arrays: Arrays) -> dict[str, Any]:
    weights = {name: arrays.place(getattr(found, name)) for name in ("a", "b", "c", "v")}
    about = {"channels": found.channels, "reach": found.reach, "near": found.near}
    weights |= {"d": arrays.place(found.d)} if found.surround else {}
    return {"kind": "causal_bernoulli", "surround": found.surround} | about | weights


@likelihood.register
def _(found: gaussian.Gaussian, arrays: Arrays) -> dict[str, Any]:
    assert found.view is not None
    predicted = found.variance == "predicted"
    log_var = found.start if found.variance == "fixed" else getattr(found, "log_var", 0.0)
    if not predicted and found.variance != "optimal":
        log_var = found._of_u(log_var)
    size = len(found.view.low)
    spread = None if predicted else np.broadcast_to(ops.convert_to_numpy(log_var), (size,))
    about = {"predicted": predicted, "log_var": None if spread is None else plain(spread)}
    return {"kind": "gaussian"} | about | _view(found.view)


@likelihood.register
def _(found: gaussian.Bounded, arrays: Arrays) -> dict[str, Any]:
    raise UnplayableError("A page cannot play values between bounds (Bounded).")


@likelihood.register
def _(found: discrete.CategoricalValues, arrays: Arrays) -> dict[str, Any]:
    return {"kind": "categorical", "levels": found.levels, "low": found.low, "high": found.high}


@likelihood.register
def _(found: logistic.DiscretizedLogistic, arrays: Arrays) -> dict[str, Any]:
    return {
        "kind": "discretized_logistic",
        "components": found.components,
        "levels": found.levels,
    }


@likelihood.register
def _(found: counts.Counts, arrays: Arrays) -> dict[str, Any]:
    zeros = isinstance(found, counts.ZeroInflated)
    inner = found.likelihood if isinstance(found, counts.ZeroInflated) else found
    learned = isinstance(inner, counts.NegativeBinomial) and inner.dispersion == "learned"
    assert found.view is not None
    return {
        "kind": "counts",
        "parameters": found.parameters_per_value,
        "zeros": zeros,
        "poisson": isinstance(inner, counts.Poisson),
        "log_r": plain(inner.log_r) if learned else None,
        "log_mean": plain(found.view.log_mean),
    }
