"""Walks through the columns of many rows, in one compiled step each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_cvae.inference.drawing import uniforms
from keras_cvae.inference.steps import Step, compiled
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


class Scores(Step):
    """A walk that scores the levels `x`; see `Columns.walk` for the inputs."""

    def call(self, inputs):
        parameters, z, log_p_z = self.latent(inputs)
        x, seen = ops.cast(inputs["x"], "float32"), ops.cast(inputs["seen"], "bool")
        how = {"order": inputs["order"], "steps": inputs["steps"][0]}
        if "wanted" in inputs:
            how["wanted"] = inputs["wanted"]
        walk = self.likelihood.walk(parameters, x, seen, self.choice(inputs), **how)
        return walk._asdict() | {"log_p": walk.log_p + log_p_z, "z": z}

    def latent(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """The likelihood's parameters at z `(rows, latent_dim)`, z, and log p(z | condition).

        z is given, or made of noise.
        """
        features, prior = self.features(inputs), self.hierarchy.prior
        if not prior.sizes:
            noise = inputs["noise"]
            return self.hierarchy.generate(features, noise), noise, 0.0
        if "z" in inputs:
            factors, state = prior.given(features, inputs["z"])
            groups = split_groups(inputs["z"], prior.sizes)
        else:
            groups, factors, state = prior.sample(features, inputs["noise"])
        log_p = sum(p.log_prob(z) for p, z in zip(factors, groups, strict=True))
        return self.hierarchy.parameters(state), concatenate(groups), log_p

    def choice(self, inputs: dict[str, Any]) -> Any:
        """How levels are chosen; None: they are those of x."""


class Draws(Scores):
    """A walk that draws the levels that are not seen, made of `uniforms`."""

    def choice(self, inputs):
        numbers = inputs["uniforms"]
        return lambda i, law: drawn(law, ops.take(numbers, i, axis=1))


class Laws(Step):
    """Log p of all levels of the column `order[0]`, `(rows, longest)`, given what is seen."""

    def call(self, inputs):
        net, x = self.likelihood, ops.cast(inputs["x"], "float32")
        parameters = self.hierarchy.generate(self.features(inputs), inputs["noise"])
        embedded = net.embed(x, ops.cast(inputs["seen"], "bool"))
        i = inputs["order"][0]
        return net.log_p(i, net.row_of(i, x), net.hidden_units(embedded, parameters))


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
        order: The columns in the order of the walk. None: as they are.
        wanted: Restricts the draws, as in `Columns.walk`.
        z: The latent `(n, latent_dim)`, if the model has one. None: drawn from p(z | what is seen).
        noise: What z is made of, standard normal `(n, latent_dim)`. None: drawn.
    """
    order = np.arange(x.shape[1]) if order is None else order
    needed = np.isin(order, np.flatnonzero(~seen.all(axis=0)))
    how = {
        "order": np.concatenate([order[needed], order[~needed]]).astype("int32"),
        "steps": np.array([needed.sum()], "int32"),
    }
    if wanted is not None:
        how["wanted"] = wanted
    each: dict[str, np.ndarray] = {"x": x.astype("float32"), "seen": seen}
    if z is not None:
        each["z"] = z.astype("float32")
    elif noise is None and rng is not None:
        noise = rng.standard_normal((len(x), model.latent_dim), "float32")
    if noise is not None:
        each["noise"] = noise.astype("float32")
    if rng is not None:
        each["uniforms"] = uniforms(rng, x.shape)
    parts = list(run(model, Scores if rng is None else Draws, each, how))
    return Walked(*(np.concatenate([part[name] for part in parts]) for name in Walked._fields))


def run(
    model: Any, step: type[Step], each: dict[str, np.ndarray], how: dict[str, np.ndarray]
) -> Iterator[Any]:
    """Run a step on some rows after the other.

    Args:
        model: A `ConditionalVAE` with the `Columns` likelihood.
        step: Its kind of step.
        each: Inputs with a row for each, `(n, ...)`.
        how: Inputs that all rows share.
    """
    n = len(each["x"])
    rows = min(ROWS, 2 ** math.ceil(math.log2(max(n, 1))))  # few sizes are ever compiled
    for start in range(0, n, rows):
        some = np.resize(np.arange(start, min(start + rows, n)), rows)
        inputs = {name: part[some] for name, part in each.items()}
        if model.latent_dim:
            inputs["condition"] = np.where(inputs["seen"], inputs["x"], np.float32(-1.0))
        inputs.setdefault("noise", np.zeros((rows, model.latent_dim), "float32"))
        out = compiled(model, step).predict_on_batch(inputs | how)
        kept = min(rows, n - start)
        if isinstance(out, dict):
            yield {name: np.asarray(part)[:kept] for name, part in out.items()}
        else:
            yield np.asarray(out)[:kept]
