"""The conditional variational autoencoder.

inference   q(z | x, y)     model.encoder
prior       p(z | y)        model.prior
generation  p(x | z, y)     model.decoder

elbo(x | y) = E_q[ log p(x | z, y) ] - KL( q(z | x, y) || p(z | y) )
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvae import errors, trees
from keras_cvae.backend import UntrackedState
from keras_cvae.conditions import base
from keras_cvae.conditions.read import as_float32
from keras_cvae.fused.applies import evaluating, fitting
from keras_cvae.fused.program import Fused
from keras_cvae.inference import drawing, importance, results, steps
from keras_cvae.models.assembly import assemble
from keras_cvae.models.hierarchy import Factored
from keras_cvae.models.noise import Noise
from keras_cvae.models.serialization import deserialize, rebuilt, serialize
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.networks.topdown import TopDown
from keras_cvae.probability.normal import Gaussian
from keras_cvae.probability.objectives import OBJECTIVES, Terms, doubly_reparameterize
from keras_cvae.probability.priors import concatenate


@keras.saving.register_keras_serializable(package="keras_cvae")
class ConditionalVAE(UntrackedState, keras.Model):
    """A conditional variational autoencoder (Sohn, Lee & Yan 2015); with `condition=None`, a VAE.

    Args:
        x_shape: Shape of one example, `(28, 28, 1)` or `(n,)`.
        condition: What x is conditioned on: None, a number of classes, a list of class names, a
            `Condition`, a Keras model that encodes it, or a dict of several by name.
        latent_dim: Length of z. A list splits z into groups, z = (z_1, z_2, ...), whose learned
            priors depend on the groups before.
        likelihood: p(x | z, y): "bernoulli", "continuous_bernoulli", "gaussian", "categorical", or
            a `Likelihood`.
        prior: p(z | y): "standard" (the default), "conditional", or a `Prior`. A top-down backbone
            brings its own.
        backbone: "mlp", "conv", "topdown", or a `Backbone`, for encoder and decoder.
        encoder: In place of the backbone's, a Keras model from `[x, condition features]` to
            `[mean, log_var]`, each `(batch, latent_dim)`.
        decoder: In place of the backbone's, a Keras model from `[z, condition features]` to the
            likelihood's parameters, `(batch, *x_shape)` logits for Bernoulli.
        objective: "elbo", "iwae", "dreg", or an `Objective`.
        seed: Of the noise drawn in training. None takes a random one.

    Attributes:
        encoder: q(z | x, y), a Keras model from `{"x", "condition"}` to `{"mean", "log_var"}`.
        decoder: p(x | z, y), a Keras model from `{"z", "condition"}` to the mean of x.
        prior: p(z | y), a Keras model from `{"noise", "condition"}` to `{"z", "mean", "log_var"}`.

    Raises:
        ValueError: An argument that does not fit, named with what was expected.

    Example:
        model = ConditionalVAE((28, 28, 1), condition=10, latent_dim=2)
        model.compile()
        model.fit(x, y, epochs=10)
        twos = model.generate(2, n=16)
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        condition: Any = None,
        latent_dim: int | Sequence[int] = 2,
        *,
        likelihood: Any = "bernoulli",
        prior: Any = None,
        backbone: Any = "mlp",
        encoder: keras.Model | None = None,
        decoder: keras.Model | None = None,
        objective: Any = "elbo",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.x_shape = _shape(x_shape)
        self.condition = base.get(condition)
        if self.condition.knows_part and self.condition.shape != self.x_shape:
            raise ValueError(
                f"The condition knows a part of examples {self.condition.shape}. Expected those of "
                f"x, {self.x_shape}."
            )
        self.objective = OBJECTIVES.get(objective)
        self.seed = None if seed is None else errors.whole("seed", seed, 0)

        self.backbone, self.channels = BACKBONES.get(backbone), _groups(latent_dim)
        self.encoder, self.prior, self.decoder, self.hierarchy = assemble(
            self.x_shape,
            self.channels,
            self.condition,
            likelihood,
            prior,
            self.backbone,
            encoder,
            decoder,
        )
        if self.objective.doubly_reparameterized and not isinstance(self.hierarchy, Factored):
            raise ValueError(
                "objective: DReG needs q(z | x, y) in a network of its own; a top-down network "
                "shares its weights with the prior. Expected another objective, like IWAE, or "
                "another backbone, like MLP."
            )
        self.likelihood = self.decoder.likelihood
        self.latent_groups = self.prior.latent_groups
        self.latent_dim = sum(self.latent_groups)
        self.noise = Noise(self.seed)
        self.step = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="step"
        )
        self.loss_tracker = keras.metrics.Mean(name="weighted_loss")
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction")
        self.kl_tracker = keras.metrics.Mean(name="kl")
        self._reconstructs = False
        self._fused = Fused(self)
        self.built = True

    # The equation.

    def call(self, inputs: dict, training: bool = False) -> Terms:
        """The terms of the objective for `{"x": (batch, *x_shape), "condition": ...}`."""
        x = ops.cast(inputs["x"], "float32")
        y = inputs.get("condition")
        if training and y is not None:
            y = self.condition.drop(y, self.noise.uniform)
        features = self.condition.features(y)
        evidence = self.hierarchy.observe(x, features)
        if self._reconstructs:
            still = ops.zeros((1, ops.shape(x)[0], self.latent_dim), "float32")
            _, parameters = self.hierarchy.infer(evidence, features, still)
            return self.likelihood.mean(parameters)[0]
        noise = self.draw_noise(ops.shape(x)[0], training)
        evidence, log_ratio = self._reparameterized(evidence)
        latents, parameters = self.hierarchy.infer(evidence, features, noise)
        kl = [ops.mean(_batched(g.posterior.kl(g.prior)), axis=0) for g in latents]
        for z, q, p in latents:
            q = q.still() if self.objective.doubly_reparameterized else q
            log_ratio = log_ratio + p.log_prob(z) - q.log_prob(z)
        return Terms(
            log_likelihood=self.likelihood.log_prob(x, parameters, training),
            kl=ops.stack(kl, axis=-1),
            log_ratio=log_ratio,
            from_prior=self._from_prior(x, features, training),
        )

    def _reparameterized(self, evidence):
        """The evidence as the objective wants it to learn, and what log w starts from."""
        if not self.objective.doubly_reparameterized:
            return evidence, 0.0
        q, zeros = doubly_reparameterize(Gaussian(**evidence), self.objective.num_samples)
        return q._asdict(), zeros

    def draw_noise(self, batch, training: bool):
        """What a draw from q(z | x, y) is made of, `(samples, batch, latent_dim)`."""
        return self.noise.draw((self.objective.num_samples, batch, self.latent_dim), training)

    def _from_prior(self, x, features, training):
        """log p(x | z, y) of z ~ p(z | y), `(prior_samples, batch)`; empty if nobody asks."""
        if not self.objective.prior_samples:
            return ()
        shape = (self.objective.prior_samples, ops.shape(x)[0], self.latent_dim)
        parameters = self.hierarchy.generate(features, self.noise.draw(shape, training))
        return self.likelihood.log_prob(x, parameters, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Minus the objective, averaged over the batch with `sample_weight`; in nats."""
        step = self.step if training else None
        objective, reconstruction, kl = self.per_example(y_pred, step)  # each (batch,)
        if training:
            self.step.assign_add(1)
        extra = sum(self.losses)
        self.loss_tracker.update_state(extra - objective, sample_weight)
        self.reconstruction_tracker.update_state(reconstruction, sample_weight)
        self.kl_tracker.update_state(kl, sample_weight)
        if sample_weight is None:
            loss = -ops.mean(objective)
        else:
            weight = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            loss = -ops.sum(weight * objective) / ops.maximum(ops.sum(weight), 1e-12)
        return loss + extra

    def per_example(self, terms: Terms, step) -> tuple[Any, Any, Any]:
        """The objective, the reconstruction and the KL of what `call` gave, each `(batch,)`."""
        return self.objective(terms, step), terms.reconstruction, terms.total_kl

    def get_metrics_result(self):
        """As in Keras; with `sample_weight` the epoch's loss is the weighted mean too."""
        logs = super().get_metrics_result()
        return logs | {"loss": logs.pop("weighted_loss")}

    # Keras' verbs.

    def compile(self, optimizer="adam", **kwargs):
        """As in Keras, without a loss or metrics: the objective is the model's.

        Raises:
            ValueError: `loss` or `metrics` is given.
        """
        given = [name for name in ("loss", "metrics", "weighted_metrics") if kwargs.get(name)]
        if given:
            raise ValueError(
                f"compile() received {', '.join(given)}, but a ConditionalVAE has its own: the "
                "loss is the negative objective, reported with 'reconstruction' and 'kl'. Change "
                "it with ConditionalVAE(objective=...)."
            )
        super().compile(optimizer=optimizer, **kwargs)
        self._fused = Fused(self)

    def compile_from_config(self, config):
        self.compile(**deserialize(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        *,
        sample_weight=None,
        validation_data=None,
        **kwargs,
    ):
        """As in Keras: `fit(x, y)` with y the condition, or a data set of `(x, y)`.

        Several named conditions come as a dict of arrays or a DataFrame. Where all of them may be
        missing, y may be left out. Numbers and signals (and bounded x) are scaled by the first that
        are fitted. A data set must yield y as `condition.prepare` gives it: classes as positions,
        0 .. K - 1.

        Raises:
            ValueError: Arrays that do not fit each other or the model, or sizes that cannot be.
        """
        errors.whole("epochs", epochs, 0)
        if batch_size is not None:
            errors.whole("batch_size", batch_size)
        if not errors.number("validation_split", split := kwargs.get("validation_split", 0)) < 1:
            raise ValueError(f"validation_split: received {split}, expected a part of 1, like 0.1.")
        x, y = self._check(x, y, "x", sample_weight, learn=True)
        self._see(x, y, split if validation_data is None else 0)
        if isinstance(validation_data, tuple | list):
            vx, *rest = validation_data
            vx, vy = self._check(vx, rest[0] if rest else None, "validation x")
            validation_data = (vx, vy, *rest[1:])
        data = {"x": x, "y": y, "sample_weight": sample_weight, "validation_data": validation_data}
        given = kwargs | data | {"batch_size": batch_size, "epochs": epochs}
        with fitting(self._fused, given) as given:
            history = super().fit(**given)
        # Where weights are averaged, Keras ends with weights and averages in the same buffers, and
        # JAX could not donate these twice to the next training.
        for weight in self.trainable_variables:
            weight.assign(ops.copy(weight))
        return history

    def evaluate(self, x=None, y=None, **kwargs):
        """As in Keras, with the same noise at every call and schedules at their end.

        Raises:
            ValueError: Arrays that do not fit each other or the model.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y = self._check(x, y, "x", kwargs.get("sample_weight"))
        self.noise.rewind()
        with evaluating(self._fused, kwargs | {"x": x, "y": y}) as given:
            return super().evaluate(**given)

    def predict(self, x, condition=None, **kwargs):
        """Reconstructions `(n, *x_shape)`: the mean of p(x | z, y) at the mean of q(z | x, y).

        Args:
            x: Array `(n, *x_shape)`, or a data set of x or `(x, y)`.
            condition: With an array: one condition, or one for each x.
            **kwargs: As in Keras.
        """
        if is_array(x):
            x = self._x(x)
            x = self._inputs(x=x, condition=self._conditions(condition, len(x)))
        return super().predict(x, **kwargs)

    def predict_step(self, *args):
        *state, data = args
        self._reconstructs = True  # read while the step is traced
        try:
            return super().predict_step(*state, self._repack(data))
        finally:
            self._reconstructs = False

    def train_step(self, *args):
        *state, data = args
        return super().train_step(*state, self._repack(data))

    def test_step(self, *args):
        *state, data = args
        return super().test_step(*state, self._repack(data))

    # The verbs of a conditional VAE.

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
        else:
            inputs = self._inputs(**inputs, condition=trees.repeat(y, n))
        inputs = self._guided(inputs, guidance)
        if output == "mean":
            return self._mean(inputs, batch_size)
        rng = np.random.default_rng(None if seed is None else [seed, 1])
        parts = drawing.run(self, drawing.Parameters, inputs, self._at_once(batch_size))
        return np.concatenate([self.likelihood.sample(part, rng) for part in parts])

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
            x = self.condition.holes(x, mask)
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
        parts = list(drawing.run(self, drawing.Means, inputs, self._at_once(batch_size)))
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
        free = self.condition.unknown(n)
        try:
            self.condition.check_trained(trees.take(free, slice(1)))
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
        y = self.condition.mix(condition, condition if to_condition is None else to_condition, way)
        if z is None:
            noise = np.zeros((steps, self.latent_dim), "float32")
            return self._mean(self._inputs(noise=noise, condition=y))
        start = end = self.style(np.atleast_2d(z), condition)
        if to_z is not None:
            end = self.style(
                np.atleast_2d(to_z), condition if to_condition is None else to_condition
            )
        return self._styled((1 - way[:, None]) * start + way[:, None] * end, y)

    # How likely? By importance sampling; see `keras_cvae.inference.importance`.

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
                labels = self.condition.prepare(labels)
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

    # Saving.

    def get_config(self):
        return {
            "name": self.name,
            "precision": self.dtype_policy.name,
            "x_shape": self.x_shape,
            "condition": serialize(self.condition),
            "latent_dim": self.channels,
            "likelihood": serialize(self.likelihood),
            "prior": None if isinstance(self.backbone, TopDown) else serialize(self.prior.prior),
            "backbone": serialize(self.backbone),
            "encoder": serialize(self.encoder.body if self.encoder.own else None),
            "decoder": serialize(self.decoder.body if self.decoder.own else None),
            "objective": serialize(self.objective),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return rebuilt(cls, config)

    def build(self, input_shape=None):
        """Nothing to do: the constructor builds."""

    def build_from_config(self, config):
        """Nothing to do: the constructor builds."""

    def save(self, filepath, overwrite=True, **kwargs):
        """Save as `.keras`: to a temporary name first, so that no half-written file is left."""
        path = Path(filepath)
        if path.suffix != ".keras":
            raise ValueError(f"Received the path '{path}'. Expected one that ends in '.keras'.")
        if path.exists() and not overwrite:
            raise FileExistsError(f"'{path}' exists. Choose another name, or overwrite=True.")
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        try:
            super().save(temporary, **kwargs)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    # What the verbs share.

    def _at_once(self, batch_size: int | None) -> int:
        return steps.decoded_at_once(self, batch_size)

    def _repack(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        inputs = x if isinstance(x, dict) else _pack(x, y)
        if "condition" not in inputs and self.condition.forgettable:
            inputs = inputs | {"condition": self._nothing_known(inputs["x"])}
        shape = tuple(inputs["x"].shape[1:])
        if shape != self.x_shape:
            raise ValueError(
                f"Received a batch of x with examples of shape {shape}. This model expects "
                f"{self.x_shape}."
            )
        if bool(self.condition.width) != ("condition" in inputs):
            self.condition.prepare(inputs.get("condition"))  # says what is missing, or too much
        return inputs, None, sample_weight

    def _nothing_known(self, x) -> Any:
        """Canonical conditions of which all are missing, one for each x of a batch."""
        n = ops.shape(x)[0]

        def each(one):
            return ops.broadcast_to(ops.convert_to_tensor(one), (n, *one.shape[1:]))

        return keras.tree.map_structure(each, self.condition.unknown())

    def _check(self, x, y, name, sample_weight=None, learn=False):
        if not is_array(x):
            return x, y
        x, y = self._x(x, name), self._labels([y] if np.isscalar(y) else y)
        self._check_known_part(y)
        if sample_weight is not None and not np.isfinite(np.asarray(sample_weight)).all():
            raise ValueError("sample_weight holds NaN or infinity. Expected finite numbers.")
        for what, other in (("y", y), ("sample_weight", sample_weight)):
            if other is not None and (count := trees.count(other)) != len(x):
                raise ValueError(
                    f"{name} has {len(x)} examples, but {what} has {count}. Expected one "
                    f"{what} for each."
                )
        if learn and self.likelihood.view is not None:
            self.likelihood.view.settle(x, again=False)
        if learn and y is not None:
            self.condition.settle(y, again=False)
        return x, y

    def _see(self, x, y, held_out: float) -> None:
        """Tell the condition what is trained on, as far as arrays, or what has them, say so.

        Keras holds out the last part of arrays.
        """
        if not is_array(x):
            self.condition.see(getattr(x, "all_conditions", None))
        elif y is not None:
            self.condition.see(trees.take(y, slice(math.floor(len(x) * (1 - held_out)))))

    def _labels(self, y) -> Any:
        """The canonical conditions of training examples; None where all may be missing, and is."""
        return None if y is None and self.condition.forgettable else self.condition.prepare(y)

    def _x(self, x, name: str = "x") -> np.ndarray:
        if np.ma.is_masked(x):
            raise ValueError(
                f"A mask hides some of {name}. Expected whole examples; condition=KnownPart(...) "
                "learns to complete what is missing."
            )
        x = np.asarray(x)
        if x.shape[1:] != self.x_shape and (*x.shape[1:], 1) == self.x_shape:
            x = x[..., None]
        if x.shape[1:] != self.x_shape:
            raise ValueError(
                f"{name} has the shape {x.shape}. This model expects (n, "
                f"{', '.join(map(str, self.x_shape))})."
            )
        if x.dtype.kind not in "fiub":
            raise ValueError(f"{name} holds {x.dtype} values. Expected numbers.")
        if not len(x):
            raise ValueError(f"{name} is empty. Expected at least one example.")
        single = as_float32(x)
        if x.dtype.kind == "f" and not np.isfinite(single).all():
            bad = ~np.isfinite(single.reshape(len(x), -1)).all(axis=1)
            raise ValueError(
                f"{name} holds NaN, infinity or numbers beyond single precision in {bad.sum()} of "
                f"{len(x)} examples, first in row {int(np.argmax(bad))}. Expected finite numbers."
            )
        self.likelihood.check(x)
        return single

    def _conditions(self, condition, n: int) -> Any:
        """One condition for each of `n`."""
        y, single = self._known(condition)
        if y is None:
            return None
        found = trees.count(y)
        if single or found == 1:
            return trees.repeat(y, n)
        if found != n:
            raise ValueError(f"Received {found} conditions for {n} examples. Expected one, or {n}.")
        return y

    def _known(self, condition) -> tuple[Any, bool]:
        y, single = self.condition.prepare_any(condition)
        self._check_known_part(y)
        if y is not None and int(self.step):
            self.condition.check_trained(y)
        return y, single

    def _check_known_part(self, y) -> None:
        """Refuse canonical conditions that x itself could not be."""
        if self.condition.knows_part and y is not None and self.likelihood.view is None:
            known = np.asarray(y)[~np.isnan(y)]
            if known.size:
                self.likelihood.check(known)

    @staticmethod
    def _inputs(condition=None, **inputs) -> dict:
        return inputs if condition is None else inputs | {"condition": condition}


def _pack(x, y=None) -> dict:
    return {"x": x} if y is None else {"x": x, "condition": y}


def _batched(value):
    """`(samples, batch)` from what may lack the samples."""
    return value if len(value.shape) > 1 else value[None]


def is_array(x: Any) -> bool:
    """Whether x is examples at hand, not a data set that yields them."""
    streams = isinstance(x, keras.utils.PyDataset) or hasattr(x, "__next__")
    return x is not None and not streams and (hasattr(x, "__array__") or isinstance(x, list))


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(None if seed is None else errors.whole("seed", seed, 0))


def _shape(x_shape) -> tuple[int, ...]:
    shape = tuple(int(n) for n in np.atleast_1d(x_shape))
    if not shape or any(n < 1 for n in shape):
        raise ValueError(
            f"x_shape: received {x_shape}, expected positive sizes, like (28, 28, 1) or (20,)."
        )
    return shape


def _groups(latent_dim) -> tuple[int, ...]:
    groups = tuple(errors.whole("latent_dim", n) for n in np.atleast_1d(latent_dim).tolist())
    if not groups:
        raise ValueError(
            f"latent_dim: received {latent_dim}, expected a whole number, or a list of them for "
            "several groups."
        )
    return groups
