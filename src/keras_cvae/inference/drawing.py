"""Steps between x and z: encoded, drawn, decoded. `inference.steps` says what a step is."""

from typing import Any

import numpy as np
from keras import ops

from keras_cvae.inference.guidance import GuidedPrior, extrapolate
from keras_cvae.inference.steps import features


def parameters(model: Any, inputs: dict[str, Any]) -> Any:
    """The parameters of p(x | z, y) at z ~ p(z | y), `(batch, *parameter_shape)`.

    Args:
        model: A `ConditionalVAE`.
        inputs: Standard normal `noise` `(batch, latent_dim)`, scaled by the temperature; the
            `condition`, `(batch, ...)`, or its `features`. For guidance also its weight, `guidance`
            `()`, and the `unconditional` condition, `(1, ...)`.
    """
    given, noise = features(model, inputs), inputs["noise"]
    if "guidance" not in inputs:
        return model.hierarchy.generate(given, noise)
    batch = ops.shape(noise)[0]
    free = model.condition.features(inputs["unconditional"])  # the same for every row
    free = ops.broadcast_to(free, (batch, *free.shape[1:]))
    weight = ops.broadcast_to(inputs["guidance"], (batch,))
    prior = GuidedPrior(model.hierarchy.prior, free, weight)
    ends = prior.sample(given, noise)[-1]  # with the condition and without it
    conditional, unconditional = (model.hierarchy.parameters(end) for end in ends)
    return extrapolate(unconditional, conditional, weight)


def means(model: Any, inputs: dict[str, Any]) -> Any:
    """The means of p(x | z, y) at z ~ p(z | y), `(batch, *x_shape)`; inputs as in `parameters`."""
    return model.distribution(parameters(model, inputs), inputs.get("condition")).mean()


def samples(model: Any, inputs: dict[str, Any]) -> Any:
    """Draws from p(x | z, y) at z ~ p(z | y), `(batch, *x_shape)`; inputs as in `parameters`.

    They are made of `uniforms`, `(batch, *uniforms_shape)`; see `Likelihood.uniforms_shape`.
    """
    p = model.distribution(parameters(model, inputs), inputs.get("condition"))
    return p.sample(inputs["uniforms"])


def prior_draws(model: Any, inputs: dict[str, Any]) -> Any:
    """z ~ p(z | y), `(batch, latent_dim)`, made of `noise` of that shape."""
    return model.prior(inputs)["z"]


def posterior_means(model: Any, inputs: dict[str, Any]) -> Any:
    """The mean of q(z | x, y), `(batch, latent_dim)`; group by group, at the means above."""
    return model.encoder(inputs)["mean"]


def posterior_draws(model: Any, inputs: dict[str, Any]) -> Any:
    """z ~ q(z | x, y), `(batch, latent_dim)`, made of standard normal `noise` of that shape."""
    given = features(model, inputs)
    evidence = model.hierarchy.observe(inputs["x"], given)
    latents, _ = model.hierarchy.infer(evidence, given, inputs["noise"][None])
    if not latents:  # latent_dim=0
        return inputs["noise"]
    return ops.concatenate([latent.z for latent in latents], axis=-1)[0]


def decoded(model: Any, inputs: dict[str, Any]) -> Any:
    """The mean of p(x | z, y), `(batch, *x_shape)`, for `z`."""
    return model.decoder(inputs)


def reconstructions(model: Any, inputs: dict[str, Any]) -> Any:
    """The mean of p(x | z, y), `(batch, *x_shape)`, at the mean of q(z | x, y)."""
    return model.reconstruction(inputs)


def styles(model: Any, inputs: dict[str, Any]) -> Any:
    """The noise `(batch, latent_dim)` of which p(z | y) makes `z`."""
    if not model.latent_dim:
        return inputs["z"]
    return model.hierarchy.prior.noise(features(model, inputs), inputs["z"])


def restyled(model: Any, inputs: dict[str, Any]) -> Any:
    """The mean of x in its own style under another condition, `(batch, *x_shape)`.

    Args:
        model: A `ConditionalVAE`.
        inputs: Examples `x`, their `condition`, and `to`, the condition they are to have; without a
            condition x alone.
    """
    given = {name: inputs[name] for name in ("condition",) if name in inputs}
    z = posterior_means(model, {"x": inputs["x"]} | given)
    other = {"condition": inputs["to"]} if "to" in inputs else {}
    return means(model, {"noise": styles(model, {"z": z} | given)} | other)


def uniforms(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw from U(0, 1) in float32, never 0 nor 1: the same numbers whatever the backend."""
    return np.maximum(rng.random(shape, "float32"), np.float32(2.0**-25))
