"""What a conditional VAE is asked for: draws, completions, styles, likelihoods, classes."""

from typing import Any

import numpy as np
from keras import ops

from keras_cvae import errors, trees
from keras_cvae.inference import drawing, importance, results, steps
from keras_cvae.tensors import concatenate


class Verbs:
    """The verbs of a `ConditionalVAE`."""

    condition: Any
    memory: Any
    likelihood: Any
    hierarchy: Any
    latent_dim: int
    x_shape: tuple[int, ...]
    encoder: Any
    prior: Any
    decoder: Any
    _x: Any
    _conditions: Any
    _known: Any
    _inputs: Any

    def encode(
        self,
        x,
        condition=None,
        *,
        sample: bool = False,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """z `(n, latent_dim)` for each x: the mean of q(z | x, y), or with `sample` a draw."""
        x = self._x(x)
        inputs = self._inputs(x=x, condition=self._conditions(condition, len(x)))
        if not sample:
            return self.encoder.apply(inputs, self._at_once(batch_size))["mean"]
        drawn, size, rng = [], self._at_once(batch_size), _generator(seed)
        for start in range(0, len(x), size):
            part = trees.take(inputs, slice(start, start + size))
            noise = rng.standard_normal((1, len(part["x"]), self.latent_dim), "float32")
            features = self.condition.features(part.get("condition"))
            evidence = self.hierarchy.observe(ops.convert_to_tensor(part["x"]), features)
            latents, _ = self.hierarchy.infer(evidence, features, ops.convert_to_tensor(noise))
            drawn.append(ops.convert_to_numpy(concatenate([g.z for g in latents])[0]))
        return np.concatenate(drawn)

    def decode(self, z, condition=None, *, batch_size: int | None = None) -> np.ndarray:
        """The mean of p(x | z, y), `(n, *x_shape)`, for z `(n, latent_dim)`.

        Raises:
            ValueError: z of another shape, or a condition that the model does not know.
        """
        z = np.asarray(z, "float32")
        z = z[None] if z.ndim == 1 else z
        if z.ndim != 2 or z.shape[1] != self.latent_dim or not len(z):
            raise ValueError(
                f"decode received z of shape {np.shape(z)}. Expected (n, {self.latent_dim})."
            )
        inputs = self._inputs(z=z, condition=self._conditions(condition, len(z)))
        return self.decoder.apply(inputs, self._at_once(batch_size))

    def reconstruct(self, x, condition=None, *, batch_size: int | None = None) -> np.ndarray:
        """x through the latent and back, `(n, *x_shape)`, without noise."""
        return self.decode(self.encode(x, condition, batch_size=batch_size), condition)

    def sample_prior(
        self,
        condition=None,
        n: int = 1,
        *,
        temperature=1.0,
        seed=None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """z ~ p(z | y), `n` for each condition, `(total, latent_dim)`."""
        y = self._known(condition)[0]
        noise = self._noise(y, n, temperature, seed)
        inputs = self._inputs(noise=noise, condition=trees.repeat(y, n))
        return self.prior.apply(inputs, self._at_once(batch_size))["z"]

    def generate(
        self,
        condition=None,
        n: int = 1,
        temperature: float = 1.0,
        seed: int | None = None,
        *,
        output: str = "mean",
        guidance: float = 1.0,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Draw x for a condition: z ~ p(z | y), x from p(x | z, y).

        Args:
            condition: One condition (a class, a name, a mixture `{3: 0.5, 8: 0.5}`, a dict of named
                ones), or an array, or a dict of arrays. None, or left out of the dict: unknown.
            n: How many for each condition.
            temperature: Factor on the prior's standard deviation: 1 draws from the model, 0 gives
                the prior's mean.
            seed: Gives the same result again.
            output: "mean" of p(x | z, y), smooth pictures, or "sample" from it.
            guidance: How strongly the condition shows: 1 as in the model, more exaggerates it (see
                `keras_cvae.guidance`); needs a model that was trained with label dropout.
            batch_size: How many are decoded at once; None chooses.

        Returns:
            `(n, *x_shape)` for one condition, `(conditions * n, *x_shape)` for several, in order.
        """
        if output not in ("mean", "sample"):
            raise ValueError(f"output: received {output!r}, expected 'mean' or 'sample'.")
        guidance = errors.number("guidance", guidance)
        y = self._known(condition)[0]
        inputs = {"noise": self._noise(y, n, temperature, seed)}
        if n > 1 and self.condition.has_encoder:  # once for all draws of a condition
            inputs["features"] = np.repeat(self._features(y, batch_size), n, axis=0)
            if self.condition.knows_part:
                inputs["condition"] = trees.repeat(y, n)
        else:
            inputs = self._inputs(**inputs, condition=trees.repeat(y, n))
        inputs = self._guided(inputs, guidance)
        if output == "mean":
            return self._mean(inputs, batch_size)
        rng = np.random.default_rng(None if seed is None else [seed, 1])
        shape = self.likelihood.uniforms_shape(self.x_shape)
        inputs["uniforms"] = drawing.uniforms(rng, (trees.count(inputs), *shape))
        return self._drawn(drawing.Samples, inputs, batch_size)

    def complete(
        self, x, mask=None, n: int = 1, seed: int | None = None, **options: Any
    ) -> np.ndarray:
        """Draw what is missing of x: `n` completions of each, the known part kept exactly.

        Args:
            x: One example `x_shape`, or `(m, *x_shape)`; NaN where it is unknown.
            mask: What is known: a name such as "left" (`masks.NAMES`), or an array that is True
                there, for all or for each. None: whatever is not NaN, or, in a model for one mask,
                that.
            n: How many of each.
            seed: Gives the same result again.
            **options: As in `generate`: temperature, output ("mean" or "sample"), batch_size.

        Returns:
            `(m * n, *x_shape)`, the completions of one x side by side.

        Raises:
            ValueError: The model's condition is no `KnownPart`, or a mask that does not fit.
        """
        if not self.condition.knows_part:
            raise ValueError(
                f"This model's condition is {type(self.condition).__name__}, so it cannot complete "
                "x. Expected one built with condition=KnownPart(x_shape)."
            )
        if mask is not None:
            x = self.condition.spec.holes(x, mask)
        return self.generate(x, n, seed=seed, **options)

    def _noise(self, y, n: int, temperature: float, seed) -> np.ndarray:
        """What p(z | y) makes z of, n times for each canonical condition, if there are any."""
        n, temperature = errors.whole("n", n), errors.number("temperature", temperature)
        rng = _generator(seed)
        total = n if y is None else n * trees.count(y)
        if not total:
            raise ValueError("Received no condition at all. Expected at least one.")
        noise = rng.standard_normal((total, self.latent_dim))
        return (temperature * noise).astype("float32")

    def _mean(self, inputs: dict[str, Any], batch_size: int | None = None) -> np.ndarray:
        """The mean of p(x | z, y) for the prior's noise and its conditions."""
        return self._drawn(drawing.Means, inputs, batch_size)

    def _drawn(self, step: type, inputs: dict[str, Any], batch_size: int | None) -> np.ndarray:
        """What a step of drawing gives for all of the inputs."""
        parts = list(drawing.run(self, step, inputs, self._at_once(batch_size)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _features(self, y, batch_size: int | None = None) -> np.ndarray:
        """Features `(n, width)` of canonical conditions."""
        inputs, at_once = {"condition": y}, self._at_once(batch_size)
        return np.concatenate(list(drawing.run(self, drawing.Features, inputs, at_once)))

    def _guided(self, inputs: dict, guidance: float) -> dict:
        """The same with what guidance needs."""
        if guidance == 1.0:
            return inputs
        n = trees.count(inputs)
        free = self.condition.spec.unknown(n)
        try:
            self.memory.check(trees.take(free, slice(1)))
        except ValueError:
            raise ValueError(
                f"guidance={guidance:g} compares with draws without the condition, and in training "
                "there always was one. Leave guidance out, or train with label dropout: "
                "Optional(..., dropout=0.1) or Joint(parts, dropout=0.1); cvae train "
                "--label-dropout 0.1."
            ) from None
        weight = np.full(n, guidance, "float32")
        return inputs | {"unconditional": free, "guidance": weight}

    def style(self, z, condition=None) -> np.ndarray:
        """What is left of z `(n, latent_dim)` once its condition is known: the prior's noise.

        Standard normal if z ~ p(z | y); z itself under the standard normal prior. A learned prior
        puts each class somewhere else, so it is this, not z, that two classes share.
        """
        z = np.asarray(z, "float32")
        features = self.condition.features(self._conditions(condition, len(z)))
        return ops.convert_to_numpy(self.hierarchy.prior.noise(features, ops.convert_to_tensor(z)))

    def _styled(self, style, y) -> np.ndarray:
        """x of a style `(n, latent_dim)` under canonical conditions."""
        return self._mean(self._inputs(noise=style, condition=y))

    def restyle(self, x, condition, to) -> np.ndarray:
        """The same handwriting, another digit: x's style under another condition.

        Encodes x, takes the condition out of z (`style`), puts the other one in, and decodes.

        Args:
            x: Array `(n, *x_shape)`.
            condition: What x is: one condition, or one for each x.
            to: What it becomes, likewise.

        Returns:
            Array `(n, *x_shape)`.
        """
        style = self.style(self.encode(x, condition), condition)
        return self._styled(style, self._conditions(to, len(style)))

    def interpolate(
        self, z=None, to_z=None, *, condition=None, to_condition=None, steps: int = 11
    ) -> np.ndarray:
        """The way from one latent to another, from one condition to another, or both at once.

        The way is straight in the condition and in the `style`, which under the standard normal
        prior is z.

        Args:
            z: Start `(latent_dim,)`; None is the prior's mean for the condition on the way.
            to_z: End; None keeps the style of `z`.
            condition: One condition, the start.
            to_condition: The end; None stays at `condition`.
            steps: How many pictures, both ends included.

        Returns:
            Array `(steps, *x_shape)`.
        """
        steps = errors.whole("steps", steps, 2)
        if z is None and to_z is not None:
            raise ValueError("interpolate: received to_z without z. Expected both, or z alone.")
        way = np.linspace(0.0, 1.0, steps, dtype="float32")
        first = last = self._end(condition)
        if to_condition is not None:
            last = self._end(to_condition)
        y = self.condition.spec.between(first, last, way)
        if z is None:
            noise = np.zeros((steps, self.latent_dim), "float32")
            return self._mean(self._inputs(noise=noise, condition=y))
        start = end = self.style(np.atleast_2d(z), condition)
        if to_z is not None:
            end = self.style(
                np.atleast_2d(to_z), condition if to_condition is None else to_condition
            )
        return self._styled((1 - way[:, None]) * start + way[:, None] * end, y)

    def _end(self, condition) -> Any:
        """One canonical condition `(1, ...)`, where a way begins or ends."""
        y, single = self._known(condition)
        if not single and (found := trees.count(y)) != 1:
            raise ValueError(
                f"interpolate: received {found} conditions. Expected one for each end."
            )
        return y

    def log_prob(
        self,
        x,
        y=None,
        num_samples: int = 500,
        seed: int = 0,
        *,
        batch_size=None,
        progress=None,
        proposal: str = "posterior",
    ) -> results.LogProb:
        """log p(x | y) of each x in nats, with its standard error.

        Args:
            x: Array `(n, *x_shape)`.
            y: One condition, or one for each x.
            num_samples: Draws of z per example; the estimate rises to the truth with them.
            seed: Of the draws.
            batch_size: How many z are decoded at once; None chooses. Does not change the result.
            progress: Wraps the loop as `progress(iterable, total=, description=)`.
            proposal: What z is drawn from: "posterior", or "prior", see `importance.log_prob`.

        Returns:
            A tuple with `log_prob` `(n,)`, `standard_error` `(n,)`, and `mean`.
        """
        x = self._x(x)
        y = self._conditions(y, len(x))
        return importance.log_prob(self, x, y, num_samples, seed, batch_size, progress, proposal)

    def log_marginal(
        self, x, num_samples: int = 500, seed: int = 0, *, class_prior=None, **options
    ) -> results.LogProb:
        """log p(x) = log sum_y p(y) p(x | y) in nats; else as `log_prob`.

        Args:
            x: Array `(n, *x_shape)`.
            num_samples: As in `log_prob`.
            seed: As in `log_prob`.
            class_prior: p(y) `(K,)`, uniform (balanced) by default.
            **options: As in `log_prob`; and `candidates`, the K conditions that y may be, which for
                classes are all of them (draws from p(y), for conditions that are numbers); and
                `given`, of a model with named conditions those that are known of each x.
        """
        classes = importance.class_log_prob(self, self._x(x), num_samples, seed, **options)
        return classes.marginal(class_prior)

    def classify(
        self,
        x,
        num_samples: int = 100,
        seed: int = 0,
        *,
        class_prior=None,
        temperature=1.0,
        calibration=None,
        **options,
    ) -> np.ndarray:
        """p(y | x) `(n, K)` by Bayes' rule from p(x | y), for classes or any K conditions.

        Args:
            x: Array `(n, *x_shape)`.
            num_samples: As in `log_prob`.
            seed: As in `log_prob`.
            class_prior: p(y) `(K,)`, uniform (balanced) by default.
            temperature: Above 1 softens: sums over many pixels make Bayes' rule overconfident.
            calibration: `(x, y)` that were not trained on, to fit the temperature instead; y are
                classes, or with `candidates` their positions.
            **options: As in `log_marginal`.
        """

        def joint(x):
            given = importance.class_log_prob(self, self._x(x), num_samples, seed, **options)
            return given.joint(class_prior)

        if calibration is not None:
            held, labels = calibration
            if "candidates" not in options and "given" not in options:
                labels = self.condition.spec.prepare(labels)
            temperature = results.fit_temperature(joint(held), np.asarray(labels))
        return results.class_posterior(joint(x), temperature)

    def score(
        self, x, y=None, num_samples: int = 100, seed: int = 0, *, reference=None, **options
    ) -> np.ndarray:
        """How normal each x is for its condition, `(n,)`; low marks an outlier.

        log p(x | y) in nats; or, with `reference` the scores of normal examples that were not
        trained on, the share of these that are no higher: a p-value between 0 and 1.
        """
        scores = self.log_prob(x, y, num_samples, seed, **options).log_prob
        return scores if reference is None else results.percentile(scores, reference)

    def _at_once(self, batch_size: int | None) -> int:
        return steps.decoded_at_once(self, batch_size)


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(None if seed is None else errors.whole("seed", seed, 0))
