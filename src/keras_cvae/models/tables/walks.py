"""Walks through the columns of many rows; `inference.steps` says what a step is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_cvae.inference.drawing import uniforms
from keras_cvae.inference.steps import Snapshot, features
from keras_cvae.probability.likelihoods.columns import drawn
from keras_cvae.probability.priors import split_groups
from keras_cvae.tensors import Tensor, concatenate

ROWS = 512  # that walk together: enough for fast products, few enough for caches


class Walked(NamedTuple):
    """As `columns.Walk`, in NumPy.

    Args:
        x: Levels `(n, columns)`.
        log_p: Log p of the columns that were walked through, `(n,)` in nats; where there is a
            latent, given z, and with log p(z | what was seen at the start).
        log_share: Log of the probability of what was wanted of them, `(n,)`.
        z: The latent that they were drawn with, `(n, latent_dim)`.
    """

    x: np.ndarray
    log_p: np.ndarray
    log_share: np.ndarray
    z: np.ndarray


def scores(model: Any, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Score the levels `x`; the inputs are those of `Columns.walk`, with `noise` or `z`."""
    return _walk(model, inputs, None)


def draws(model: Any, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Draw the levels that are not seen, made of `uniforms`; else as `scores`."""
    numbers = inputs["uniforms"]
    return _walk(model, inputs, lambda i, law: drawn(law, ops.take(numbers, i, axis=1)))


def laws(model: Any, inputs: dict[str, Any]) -> Tensor:
    """Log p of all levels of the column `order[0]`, `(rows, longest)`, given what is seen."""
    net, x = model.likelihood, ops.cast(inputs["x"], "float32")
    parameters = model.hierarchy.generate(features(model, inputs), inputs["noise"])
    embedded = net.embed(x, ops.cast(inputs["seen"], "bool"))
    i = inputs["order"][0]
    return net.log_p(i, net.row_of(i, x), net.hidden_units(embedded, parameters))


def _walk(model: Any, inputs: dict[str, Any], choose: Any) -> dict[str, Tensor]:
    parameters, z, log_p_z = _latent(model, inputs)
    x, seen = ops.cast(inputs["x"], "float32"), ops.cast(inputs["seen"], "bool")
    how = {"order": inputs["order"], "steps": inputs["steps"]}
    if "wanted" in inputs:
        how["wanted"] = inputs["wanted"]
    walk = model.likelihood.walk(parameters, x, seen, choose, **how)
    return walk._asdict() | {"log_p": walk.log_p + log_p_z, "z": z}


def _latent(model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The likelihood's parameters at z `(rows, latent_dim)`, z, and log p(z | condition).

    z is given, or made of noise.
    """
    given, prior = features(model, inputs), model.hierarchy.prior
    if not prior.sizes:
        noise = inputs["noise"]
        return model.hierarchy.generate(given, noise), noise, 0.0
    if "z" in inputs:
        factors, state = prior.factors(given, inputs["z"])
        groups = split_groups(inputs["z"], prior.sizes)
    else:
        groups, factors, state = prior.sample(given, inputs["noise"])
    log_p = sum(p.log_prob(z) for p, z in zip(factors, groups, strict=True))
    return model.hierarchy.parameters(state), concatenate(groups), log_p


def walk(
    model: Any,
    x: np.ndarray,
    seen: np.ndarray,
    rng: np.random.Generator | None = None,
    order: np.ndarray | None = None,
    wanted: np.ndarray | None = None,
    z: np.ndarray | None = None,
    noise: np.ndarray | None = None,
) -> Walked:
    """Walk through the columns of rows that are not seen in all of them.

    Args:
        model: A `ConditionalVAE` with the `Columns` likelihood.
        x: Levels `(n, columns)`, -1 where there is none.
        seen: Which are known from the start, booleans `(n, columns)`.
        rng: Of the draws. None: the levels of x are scored.
        order: The columns that are walked through, in this order. None: all, as they are.
        wanted: Restricts the draws, as in `Columns.walk`.
        z: The latent `(n, latent_dim)`, if the model has one. None: drawn from p(z | what is seen).
        noise: What z is made of, standard normal `(n, latent_dim)`. None: drawn.
    """
    order = np.arange(x.shape[1]) if order is None else order
    needed = order[np.isin(order, np.flatnonzero(~seen.all(axis=0)))]
    rest = np.setdiff1d(np.arange(x.shape[1]), needed)  # one shape, whatever the number of steps
    shared = {
        "order": np.concatenate([needed, rest]).astype("int32"),
        "steps": np.int32(len(needed)),
    }
    if wanted is not None:
        shared["wanted"] = wanted
    each = _rows(model, x, seen)
    if z is not None:
        each["z"] = z.astype("float32")
    elif noise is None and rng is not None:
        noise = rng.standard_normal((len(x), model.latent_dim), "float32")
    if noise is not None:
        each["noise"] = noise.astype("float32")
    if rng is not None:
        each["uniforms"] = uniforms(rng, x.shape)
    step = scores if rng is None else draws
    return Walked(**Snapshot(model).whole(step, each, ROWS, **shared))


def law(
    model: Any, x: np.ndarray, seen: np.ndarray, i: int, noise: np.ndarray | None = None
) -> np.ndarray:
    """Log p of all levels of column i given what is seen of x, `(n, longest)`.

    Args:
        model: A `ConditionalVAE` with the `Columns` likelihood.
        x: Levels `(n, columns)`.
        seen: Which are known, booleans `(n, columns)`.
        i: The column.
        noise: What z is made of, `(n, latent_dim)`; None: zeros.
    """
    each = _rows(model, x, seen)
    if noise is not None:
        each["noise"] = noise.astype("float32")
    return Snapshot(model).whole(laws, each, ROWS, order=np.array([i], "int32"))


def _rows(model: Any, x: np.ndarray, seen: np.ndarray) -> dict[str, np.ndarray]:
    x = x.astype("float32")
    rows = {"x": x, "seen": seen, "noise": np.zeros((len(x), model.latent_dim), "float32")}
    if model.latent_dim:
        rows["condition"] = np.where(seen, x, np.float32(-1.0))
    return rows
