"""What a conditional VAE is asked for: draws, completions, styles, likelihoods, classes."""

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_cvae import errors, trees
from keras_cvae.checks import as_float32, checked
from keras_cvae.columns import as_array
from keras_cvae.inference import drawing, importance, results, steps
from keras_cvae.inference.draws import Draws
from keras_cvae.inference.steps import Snapshot, Step, Work
from keras_cvae.models.examples import unpacked
from keras_cvae.models.inputs import is_array
from keras_cvae.models.pairs import Pairs
from keras_cvae.models.state import Model
from keras_cvae.models.streams import in_tuples


class Verbs(Pairs, Model):
    """The verbs of a `ConditionalVAE`."""

    hierarchy: Any
    latent_dim: int
    encoder: Any
    prior: Any
    decoder: Any

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        *,
        condition: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Reconstructions `(n, *x_shape)`: the mean of p(x | z, y) at the mean of q(z | x, y).

        Args:
            x: Array `(n, *x_shape)`, a data set of x or `(x, y)`, or `{"x", "condition"}`.
            batch_size: Examples at once, of an array; 32 by default.
            verbose: Whether there is a progress bar.
            condition: With an array: one condition, or one for each x.
            **kwargs: As in Keras: `steps`, `callbacks`.

        Raises:
            ValueError: Arrays that do not fit each other or the model.
        """
        if hasattr(batch_size, "__len__"):
            raise ValueError(
                "predict received a second array in the place of batch_size. Expected "
                "predict(x, condition=...)."
            )
        if isinstance(x, Mapping):
            if condition is not None:
                raise ValueError(
                    "predict received a dict and a condition beside it. Expected one of the two."
                )
            x, condition, _ = unpacked(x)
        if is_array(x):
            x = self._x(x)
            x = self._inputs(x=x, condition=self._conditions(condition, len(x)))
        elif hasattr(x, "__next__"):
            x = in_tuples(x)
        return super().predict(x, batch_size, verbose, **kwargs)

    def encode(
        self,
        x: Any,
        condition: Any = None,
        *,
        sample: bool = False,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """z `(n, latent_dim)` for each x: the mean of q(z | x, y), or with `sample` a draw."""
        work = self.to_encode(x, condition, sample=sample, seed=seed)
        return self._answer(work.step, work.inputs, batch_size)

    def to_encode(
        self, x: Any, condition: Any = None, *, sample: bool = False, seed: int | None = None
    ) -> Work:
        """Check what `encode` is asked for; return the step that answers it, not yet run."""
        x = self._x(x)
        inputs = self._inputs(x=x, condition=self._conditions(condition, len(x)))
        if not sample:
            return Work(drawing.posterior_means, inputs, {})
        noise = _generator(seed).standard_normal((len(x), self.latent_dim), "float32")
        return Work(drawing.posterior_draws, inputs | {"noise": noise}, {})

    def decode(self, z: Any, condition: Any = None, *, batch_size: int | None = None) -> np.ndarray:
        """The mean of p(x | z, y), `(n, *x_shape)`, for z `(n, latent_dim)`.

        Raises:
            ValueError: z of another shape, or a condition that the model does not know.
        """
        inputs = self._latents("decode", z, condition)
        return self._answer(drawing.decoded, inputs, batch_size)

    def reconstruct(
        self, x: Any, condition: Any = None, *, batch_size: int | None = None
    ) -> np.ndarray:
        """x through the latent and back, `(n, *x_shape)`, without noise."""
        x = self._x(x)
        inputs = self._inputs(x=x, condition=self._conditions(condition, len(x)))
        return self._answer(drawing.reconstructions, inputs, batch_size)

    def sample_prior(
        self,
        condition: Any = None,
        n: int = 1,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """z ~ p(z | y), `n` for each condition, `(total, latent_dim)`."""
        y = self._known(condition)[0]
        noise = self._noise(y, n, temperature, seed)
        inputs = self._inputs(noise=noise, condition=trees.repeat(y, n))
        return self._answer(drawing.prior_draws, inputs, batch_size)

    def generate(
        self,
        condition: Any = None,
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

        Examples:
            >>> model.generate(2, n=3, seed=0).shape
            (3, 8, 8, 1)
            >>> model.generate({3: 0.5, 8: 0.5}).shape  # half a 3, half an 8
            (1, 8, 8, 1)
            >>> np.unique(model.generate([0, 1], n=2, output="sample"))  # black and white
            array([0., 1.], dtype=float32)
        """
        drawn = self.draws(
            condition,
            n,
            temperature,
            seed,
            output=output,
            guidance=guidance,
            batch_size=batch_size,
        )
        return next(drawn.parts(len(drawn)))

    def draws(
        self,
        condition: Any = None,
        n: int = 1,
        temperature: float = 1.0,
        seed: int | None = None,
        *,
        output: str = "mean",
        guidance: float = 1.0,
        batch_size: int | None = None,
        alike: bool = False,
    ) -> Draws:
        """What `generate` draws, part by part: any number, in the memory of a part.

        Args:
            condition: As in `generate`, as are the others that it has.
            n: How many for each condition.
            temperature: Factor on the prior's standard deviation.
            seed: Gives the same result again.
            output: "mean" of p(x | z, y), or "sample" from it.
            guidance: How strongly the condition shows.
            batch_size: How many are decoded at once; None chooses.
            alike: Whether all conditions have the same noise, as if each was asked for alone; else
                all draws are independent.

        Returns:
            `Draws`: `len` of them; `parts(rows, start=0)` yields arrays `(rows, *x_shape)`, row by
            row what `generate` gives.

        Examples:
            >>> drawn = model.draws([0, 1], n=1000, seed=0)
            >>> [part.shape for part in drawn.parts(800)]
            [(800, 8, 8, 1), (800, 8, 8, 1), (400, 8, 8, 1)]
        """
        y, n = self._known(condition)[0], errors.whole("n", n)
        step, guidance = _drawing(output), errors.number("guidance", guidance)
        if y is not None and not trees.count(y):
            raise ValueError("Received no condition at all. Expected at least one.")
        seed = secrets.randbits(64) if seed is None else errors.whole("seed", seed, 0)
        shape = self.likelihood.uniforms_shape(self.x_shape) if output == "sample" else None
        noise = (seed, self.latent_dim, errors.number("temperature", temperature), shape)
        shared, at_once = self._guidance(guidance), self._at_once(batch_size)
        return Draws(Snapshot(self), y, n, step, noise, shared, at_once, alike)

    def to_generate(
        self,
        condition: Any = None,
        n: int = 1,
        temperature: float = 1.0,
        seed: int | None = None,
        *,
        output: str = "mean",
        guidance: float = 1.0,
    ) -> Work:
        """Check what `generate` is asked for; return the step that answers it, not yet run.

        A server computes several at once.
        """
        return self.to_draw(
            self._known(condition)[0], n, temperature, seed, output=output, guidance=guidance
        )

    def to_draw(
        self,
        y: Any,
        n: int,
        temperature: float = 1.0,
        seed: int | None = None,
        *,
        output: str = "mean",
        guidance: float = 1.0,
    ) -> Work:
        """As `to_generate`, of canonical conditions, which `asked_for` has checked."""
        step, guidance = _drawing(output), errors.number("guidance", guidance)
        inputs = self._inputs(
            noise=self._noise(y, n, temperature, seed), condition=trees.repeat(y, n)
        )
        shared = self._guidance(guidance)
        if output == "mean":
            return Work(step, inputs, shared)
        rng = np.random.default_rng(None if seed is None else [seed, 1])
        shape = (len(inputs["noise"]), *self.likelihood.uniforms_shape(self.x_shape))
        return Work(step, inputs | {"uniforms": drawing.uniforms(rng, shape)}, shared)

    def complete(
        self, x: Any, mask: Any = None, n: int = 1, seed: int | None = None, **options: Any
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
        return self.generate(self.holes(x, mask), n, seed=seed, **options)

    def holes(self, x: Any, mask: Any = None) -> Any:
        """x with NaN where a mask says that it is unknown, as `complete` takes both."""
        if not self.condition.knows_part:
            raise ValueError(
                f"This model's condition is {type(self.condition).__name__}, so it cannot complete "
                "x. Expected one built with condition=KnownPart(x_shape)."
            )
        return x if mask is None else self.condition.spec.holes(x, mask)

    def _noise(self, y: Any, n: int, temperature: float, seed: int | None) -> np.ndarray:
        """What p(z | y) makes z of, n times for each canonical condition, if there are any."""
        n, temperature = errors.whole("n", n), errors.number("temperature", temperature)
        rng = _generator(seed)
        total = n if y is None else n * trees.count(y)
        if not total:
            raise ValueError("Received no condition at all. Expected at least one.")
        noise = as_float32(temperature * rng.standard_normal((total, self.latent_dim)))
        if not np.isfinite(noise).all():
            raise ValueError(f"temperature: received {temperature:g}, beyond single precision.")
        return noise

    def _guidance(self, weight: float) -> dict[str, Any]:
        """What guidance needs beside the noise and the condition: the same for all draws."""
        if weight == 1.0:
            return {}
        free = self.condition.spec.unknown()
        try:
            self.memory.check(free)
        except ValueError:
            raise ValueError(
                f"guidance={weight:g} compares with draws without the condition, and in training "
                "there always was one. Leave guidance out, or train with label dropout: "
                "Optional(..., dropout=0.1) or Joint(parts, dropout=0.1); cvae train "
                "--label-dropout 0.1."
            ) from None
        return {"unconditional": free, "guidance": np.float32(weight)}

    def style(self, z: Any, condition: Any = None, *, batch_size: int | None = None) -> np.ndarray:
        """What is left of z `(n, latent_dim)` once its condition is known: the prior's noise.

        Standard normal if z ~ p(z | y); z itself under the standard normal prior. A learned prior
        puts each class somewhere else, so it is this, not z, that two classes share.
        """
        return self._answer(drawing.styles, self._latents("style", z, condition), batch_size)

    def restyle(
        self, x: Any, condition: Any, to: Any, *, batch_size: int | None = None
    ) -> np.ndarray:
        """The same handwriting, another digit: x's style under another condition.

        Encodes x, takes the condition out of z (`style`), puts the other one in, and decodes.

        Args:
            x: Array `(n, *x_shape)`.
            condition: What x is: one condition, or one for each x.
            to: What it becomes: one condition, or one for each x.
            batch_size: How many are decoded at once; None chooses.

        Returns:
            Array `(n, *x_shape)`.

        Examples:
            >>> model.restyle(x[:5], y[:5], to=7).shape
            (5, 8, 8, 1)
        """
        drawn: np.ndarray = Snapshot(self).answer(
            self.to_restyle(x, condition, to), self._at_once(batch_size)
        )
        return drawn

    def to_restyle(self, x: Any, condition: Any, to: Any) -> Work:
        """Check what `restyle` is asked for; return the step that answers it, not yet run."""
        x = self._x(x)
        y, other = self._conditions(condition, len(x)), self._conditions(to, len(x))
        both = {} if y is None else {"condition": y, "to": other}
        return Work(drawing.restyled, {"x": x} | both, {})

    def interpolate(
        self,
        z: Any = None,
        to_z: Any = None,
        *,
        condition: Any = None,
        to_condition: Any = None,
        steps: int = 11,
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

        Examples:
            >>> model.interpolate(condition=3, to_condition=8, steps=5).shape
            (5, 8, 8, 1)
        """
        steps = errors.whole("steps", steps, 2)
        if z is None and to_z is not None:
            raise ValueError("interpolate: received to_z without z. Expected both, or z alone.")
        ends = [condition] if to_condition is None else [condition, to_condition]
        way = np.linspace(0.0, 1.0, steps, dtype="float32")
        y = self.condition.spec.between(self._end(ends[0]), self._end(ends[-1]), way)
        weights = Snapshot(self)
        noise = np.zeros((steps, self.latent_dim), "float32")
        if z is not None:
            for one in (z, to_z):
                if np.ndim(one) == 2 and len(one) != 1:
                    raise ValueError(f"interpolate: received {len(one)} z. Expected one an end.")
            styles = [
                weights.whole(drawing.styles, self._latents("interpolate", one, end), 1)
                for one, end in ((z, ends[0]), (to_z, ends[-1]))
                if one is not None
            ]
            noise = (1 - way[:, None]) * styles[0] + way[:, None] * styles[-1]
        inputs = self._inputs(noise=noise, condition=y)
        return weights.whole(drawing.means, inputs, self._at_once(None))

    def _end(self, condition: Any) -> Any:
        """One canonical condition `(1, ...)`, where a way begins or ends."""
        y, single = self._known(condition)
        if not single and (found := trees.count(y)) != 1:
            raise ValueError(
                f"interpolate: received {found} conditions. Expected one for each end."
            )
        return y

    def log_prob(
        self,
        x: Any,
        y: Any = None,
        num_samples: int = 500,
        seed: int = 0,
        *,
        batch_size: int | None = None,
        progress: importance.Progress | None = None,
        proposal: str = "posterior",
    ) -> results.LogProb:
        """log p(x | y) of each x in nats, with its standard error.

        Args:
            x: Array `(n, *x_shape)`, also one that is larger than memory (`numpy.memmap`, HDF5); or
                a data set of x or `(x, y)` that ends, as in `predict`. How it is cut into batches
                does not change the result; weights of examples have no part in it.
            y: With an array: one condition, or one for each x.
            num_samples: Draws of z per example; the estimate rises to the truth with them.
            seed: Of the draws.
            batch_size: How many z are decoded at once; None chooses. Does not change the result.
            progress: Wraps the loop as `progress(iterable, total=, description=)`.
            proposal: What z is drawn from: "posterior", or "prior", see `importance.log_prob`.

        Returns:
            A tuple with `log_prob` `(n,)`, `standard_error` `(n,)`, and `mean`.

        Examples:
            >>> found = model.log_prob(x[:4], y[:4], num_samples=20)
            >>> found.log_prob.shape, bool(found.mean_standard_error > 0)
            ((4,), True)
        """
        parts, pairs = self._pairs(x, y)
        return importance.log_prob(
            self, parts, num_samples, seed, batch_size, progress, proposal, pairs=pairs
        )

    def log_marginal(
        self,
        x: Any,
        num_samples: int = 500,
        seed: int = 0,
        *,
        class_prior: Any = None,
        **options: Any,
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
        x: Any,
        num_samples: int = 100,
        seed: int = 0,
        *,
        class_prior: Any = None,
        temperature: float = 1.0,
        calibration: Any = None,
        **options: Any,
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

        Examples:
            >>> p = model.classify(x[:4], num_samples=20)
            >>> p.shape, bool(np.allclose(p.sum(axis=1), 1))
            ((4, 10), True)
        """

        def joint(x: Any) -> np.ndarray:
            given = importance.class_log_prob(self, self._x(x), num_samples, seed, **options)
            return given.joint(class_prior)

        if calibration is not None:
            held, labels = calibration
            if "candidates" not in options and "given" not in options:
                labels = self.condition.spec.prepare(labels)
            temperature = results.fit_temperature(joint(held), np.asarray(labels))
        return results.class_posterior(joint(x), temperature)

    def score(
        self,
        x: Any,
        y: Any = None,
        num_samples: int = 100,
        seed: int = 0,
        *,
        reference: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """How normal each x is for its condition, `(n,)`; low marks an outlier.

        log p(x | y) in nats; or, with `reference` the scores of normal examples that were not
        trained on, the share of these that are no higher: a p-value between 0 and 1.

        Examples:
            >>> reference = model.score(x[:20], y[:20], num_samples=20)
            >>> p = model.score(x[20:], y[20:], num_samples=20, reference=reference)
            >>> p.shape, bool(p.min() >= 0 and p.max() <= 1)
            ((20,), True)
        """
        scores = self.log_prob(x, y, num_samples, seed, **options).log_prob
        return scores if reference is None else results.percentile(scores, reference)

    def _latents(self, verb: str, z: Any, condition: Any) -> dict[str, Any]:
        """Inputs of z `(n, latent_dim)`, or one z, and its conditions."""
        z = as_array(z, f"{verb}: z", f"an array (n, {self.latent_dim})")
        z = checked(z[None] if z.ndim == 1 else z, (self.latent_dim,), f"{verb}: z")
        if not len(z):
            raise ValueError(f"{verb}: z is empty. Expected at least one.")
        return self._inputs(z=z, condition=self._conditions(condition, len(z)))

    def _answer(self, step: Step, inputs: dict[str, Any], batch_size: int | None) -> np.ndarray:
        return Snapshot(self).whole(step, inputs, self._at_once(batch_size))

    def _at_once(self, batch_size: int | None) -> int:
        return steps.decoded_at_once(self, batch_size)


def _drawing(output: str) -> Step:
    """The step that draws the mean of p(x | z, y), or a sample from it."""
    if output not in ("mean", "sample"):
        raise ValueError(f"output: received {output!r}, expected 'mean' or 'sample'.")
    return drawing.means if output == "mean" else drawing.samples


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(None if seed is None else errors.whole("seed", seed, 0))
