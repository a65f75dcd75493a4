"""The tapes of a model, walked in NumPy as the page walks them: what it will differ by."""

from typing import Any

import numpy as np
from keras import ops

from keras_cvae import trees
from keras_cvae.conditions.spec import (
    CategoricalSpec,
    ConditionSpec,
    JointSpec,
    KnownPartSpec,
    NoneSpec,
    OptionalSpec,
    TagsSpec,
)
from keras_cvae.inference import drawing, steps
from keras_cvae.inference.steps import Snapshot
from keras_cvae.studio.tape import Tape, run


class Walker:
    """A model as the page has it.

    Args:
        tapes: Its tapes.
        arrays: Their weights.
        groups: Lengths of the latent groups.
    """

    def __init__(
        self, tapes: dict[str, Tape], arrays: list[np.ndarray], groups: tuple[int, ...]
    ) -> None:
        self.tapes, self.arrays, self.groups = tapes, arrays, groups

    def play(self, name: str, values: dict[str, Any], n: int) -> None:
        """Play a tape, if there is one, on the values, to which its outputs are added."""
        if name in self.tapes:
            tape = self.tapes[name]
            values |= run(tape, self.arrays, {one: values[one] for one in tape.inputs}, n)

    def generate(self, features: Any, noise: np.ndarray) -> np.ndarray:
        """Parameters of p(x | z, y) at z ~ p(z | y), as `Hierarchy.generate`, flat."""
        values = {"features": features}
        self.play("begin", values, len(noise))
        start = 0
        for g, size in enumerate(self.groups):
            self.play(f"prior_{g}", values, len(noise))
            part = noise[:, start : start + size]
            mean, log_var = (values.get(f"p_{one}_{g}", 0.0) for one in ("mean", "log_var"))
            values[f"z_{g}"] = mean + np.exp(0.5 * np.asarray(log_var)) * part
            self.play(f"descend_{g}", values, len(noise))
            start += size
        self.play("parameters", values, len(noise))
        out: np.ndarray = values["out"]
        return out

    def encode(self, x: np.ndarray, features: Any, shared: int) -> np.ndarray:
        """The mean of q(z | x, y), group by group, at the means above."""
        values = {"x": x.reshape(len(x), -1), "features": features}
        self.play("observe", values, len(x))
        values["features"] = None if features is None else features[:, :shared]
        self.play("begin", values, len(x))
        for g in range(len(self.groups)):
            self.play(f"prior_{g}", values, len(x))
            self.play(f"posterior_{g}", values, len(x))
            values[f"z_{g}"] = values[f"q_mean_{g}"]
            self.play(f"descend_{g}", values, len(x))
        return np.concatenate([values[f"q_mean_{g}"] for g in range(len(self.groups))], axis=1)


def differences(
    model: Any, tapes: dict[str, Tape], arrays: list[np.ndarray], n: int = 64
) -> dict[str, float]:
    """The greatest differences between a model's networks and their tapes.

    Args:
        model: A `ConditionalVAE`.
        tapes: Its tapes.
        arrays: Their weights, rounded or not.
        n: On how many draws from it.

    Returns:
        "picture": of the mean of x, in units of its spread over the draws if that is above 1;
        "latent": of the means of q(z | x, y), in units of theirs.
    """
    rng = np.random.default_rng(0)
    y = some_conditions(model, n, rng)
    noise = rng.standard_normal((n, model.latent_dim)).astype("float32")
    weights, at_once = Snapshot(model), 64
    features = weights.whole(steps.features, {"condition": y}, at_once) if y is not None else None
    inputs: dict[str, Any] = {"noise": noise} | ({} if y is None else {"condition": y})
    exact = weights.whole(drawing.parameters, inputs, at_once)
    walker, shared = Walker(tapes, arrays, model.latent_groups), model.condition.shared
    found = walker.generate(None if features is None else features[:, :shared], noise)

    def mean(parameters: np.ndarray) -> np.ndarray:
        p = model.distribution(ops.convert_to_tensor(parameters.reshape(exact.shape)), y)
        picture: np.ndarray = ops.convert_to_numpy(p.mean())
        return picture

    x = mean(exact)
    result = {"picture": _distance(mean(found), x)}
    if model.latent_dim:
        inputs = {"x": x} | ({} if y is None else {"condition": y})
        z = weights.whole(drawing.posterior_means, inputs, at_once)
        result["latent"] = _distance(walker.encode(x, features, shared), z)
    return result


def some_conditions(model: Any, n: int, rng: np.random.Generator) -> Any:
    """Random canonical conditions of a model, of the kinds that a page has controls for."""

    def some(encoder: Any, spec: ConditionSpec) -> Any:
        if isinstance(spec, NoneSpec):
            return None
        if isinstance(spec, OptionalSpec):
            return some(encoder.part, spec.part)
        if isinstance(spec, JointSpec):
            return {name: some(encoder.parts[name], part) for name, part in spec.parts.items()}
        if isinstance(spec, CategoricalSpec):
            return rng.integers(spec.num_classes, size=n).astype("int32")
        if isinstance(spec, TagsSpec):
            return (rng.random((n, *spec.shape)) < 0.3).astype("float32")
        if isinstance(spec, KnownPartSpec):
            where = rng.random((n, *spec.shape)) < 0.5 if spec.fixed is None else spec.fixed
            values = (rng.random((n, *spec.shape)) < 0.2).astype("float32")
            return np.where(where, values, np.float32(np.nan))
        return np.repeat(spec.prepare([encoder.example()]), n, axis=0)

    y = some(model.condition, model.condition.spec)
    return y if y is None or trees.count(y) == n else None


def _distance(found: np.ndarray, exact: np.ndarray) -> float:
    exact = exact.reshape(len(exact), -1)
    return float(np.abs(found.reshape(exact.shape) - exact).max() / max(1.0, float(exact.std())))


def directions(model: Any, count: int = 8, n: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The directions of the prior's noise that change the picture most, on average.

    The eigenvectors of E[J^T J], with J the derivative of the mean of x by the noise, estimated by
    differences in random directions.

    Args:
        model: A `ConditionalVAE`.
        count: How many, at most.
        n: Draws over which it is averaged.

    Returns:
        `(latent_dim, count)` of length 1, and their shares of the change, `(count,)`.
    """
    dim = model.latent_dim
    if not dim:
        return np.zeros((0, 0), "float32"), np.zeros(0)
    rng = np.random.default_rng(0)
    y = some_conditions(model, n, rng)
    weights, total = Snapshot(model), np.zeros((dim, dim))
    noise = rng.standard_normal((n, dim)).astype("float32")
    probes = min(dim, 64)
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0] if dim > probes else np.eye(dim)
    slopes = []
    for axis in basis.T[:probes]:
        both = np.concatenate([noise + 0.5 * axis, noise - 0.5 * axis]).astype("float32")
        inputs: dict[str, Any] = {"noise": both}
        if y is not None:
            inputs["condition"] = trees.take(y, np.tile(np.arange(n), 2))
        x = weights.whole(drawing.means, inputs, 128).reshape(2, n, -1)
        slopes.append(x[0] - x[1])
    found = np.stack(slopes, axis=-1)  # (n, values, probes)
    inner = np.einsum("nvp,nvq->pq", found, found, optimize=True)
    total = basis[:, :probes] @ inner @ basis[:, :probes].T
    share, vectors = np.linalg.eigh(total)
    share, vectors = share[::-1], vectors[:, ::-1]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(axis=0), range(dim)] < 0, -1, 1)
    some = min(count, dim)
    return vectors[:, :some].astype("float32"), share[:some] / max(float(share.sum()), 1e-30)
