"""The conditional variational autoencoder.

inference   q(z | x, y)     model.encoder
prior       p(z | y)        model.prior
generation  p(x | z, y)     model.decoder

elbo(x | y) = E_q[ log p(x | z, y) ] - KL( q(z | x, y) || p(z | y) )
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import keras
from keras import ops

from keras_cvae import errors
from keras_cvae.backend import closing_scopes, memory_in_words
from keras_cvae.conditions import composed
from keras_cvae.conditions.memory import Memory
from keras_cvae.fused.program import Fused
from keras_cvae.inference.drawing import reconstructions
from keras_cvae.models import sharing
from keras_cvae.models.assembly import assemble
from keras_cvae.models.card import Card
from keras_cvae.models.headers import Headers
from keras_cvae.models.inputs import checked_groups, checked_shape
from keras_cvae.models.noise import Noise
from keras_cvae.models.serialization import seeded, serialize
from keras_cvae.models.streams import Watch
from keras_cvae.models.training import Training
from keras_cvae.models.verbs import Verbs
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.probability.distributions import Distribution
from keras_cvae.probability.objectives import OBJECTIVES, Terms, doubly_reparameterize
from keras_cvae.tensors import Tensor, over_devices


@keras.saving.register_keras_serializable(package="keras_cvae")
class ConditionalVAE(Training, Verbs):
    """A conditional variational autoencoder (Sohn, Lee & Yan 2015); with `condition=None`, a VAE.

    Args:
        x_shape: Shape of one example, `(28, 28, 1)` or `(n,)`.
        condition: What x is conditioned on: None, a number of classes, a list of class names, a
            `ConditionEncoder`, a Keras model that encodes it, or a dict of several by name.
        latent_dim: Length of z. A list splits z into groups, z = (z_1, z_2, ...), whose learned
            priors depend on the groups before. 0: no latent and no encoder, p(x | y) alone, whose
            log p is exact; of the backbone the decoder is used.
        likelihood: p(x | z, y): "bernoulli", "continuous_bernoulli", "gaussian", "categorical", or
            a `Likelihood`.
        prior: p(z | y): "standard" (the default), "conditional", or a `Prior`. A top-down backbone
            brings its own.
        backbone: "mlp", "residual", "conv", "topdown", or a `Backbone`, for encoder and decoder.
        encoder: In place of the backbone's, a Keras model from `[x, condition features]` to
            `[mean, log_var]`, each `(batch, latent_dim)`. Under "gaussian" x is standardised.
        decoder: In place of the backbone's, a Keras model from `[z, condition features]` to the
            likelihood's parameters: `(batch, *x_shape)` logits for Bernoulli, means of
            standardised x for Gaussian.
        objective: "elbo", "iwae", "dreg", or an `Objective`.
        seed: Of the initial weights and of the noise drawn in training. None takes random ones. In
            which order `fit` takes the examples of arrays is up to Keras, and repeats itself after
            `keras.utils.set_random_seed`; `Batches(..., seed=0)` have an order of their own.

    Attributes:
        encoder: q(z | x, y), a Keras model from `{"x", "condition"}` to `{"mean", "log_var"}`.
        decoder: p(x | z, y), a Keras model from `{"z", "condition"}` to the mean of x.
        prior: p(z | y), a Keras model from `{"noise", "condition"}` to `{"z", "mean", "log_var"}`.
        card: What the file that it was loaded from says of it, if it has a card.

    Raises:
        ValueError: An argument that does not fit, named with what was expected.
        MemoryError: There is no memory for its weights; others can be built then as before.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.random((40, 8, 8, 1)), np.arange(40) % 10
        >>> model = ConditionalVAE((8, 8, 1), condition=10, latent_dim=2, backbone=MLP((16,)))
        >>> model.compile("adam")
        >>> history = model.fit(x, y, epochs=2, verbose=0)
        >>> model.generate(2, n=16).shape
        (16, 8, 8, 1)
    """

    prediction = staticmethod(reconstructions)
    card: Card | None = None

    @closing_scopes
    @memory_in_words()
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.x_shape = checked_shape(x_shape)
        self.sizes = {"x": self.x_shape}
        self.seed = None if seed is None else errors.whole("seed", seed, 0)
        with seeded(self.seed, "condition"):
            self.condition = composed.get(condition)
        self.memory, self.headers = Memory(self.condition.spec), Headers()
        if self.condition.knows_part and self.condition.spec.shape != self.x_shape:
            raise ValueError(
                f"The condition knows a part of examples {self.condition.spec.shape}. Expected "
                f"those of x, {self.x_shape}."
            )
        self.objective = OBJECTIVES.get(objective)

        self.backbone, self.channels = BACKBONES.get(backbone), checked_groups(latent_dim)
        with seeded(self.seed):
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
        if self.objective.doubly_reparameterized and not self.hierarchy.separate:
            raise ValueError(
                "objective: DReG needs q(z | x, y) in a network of its own; a top-down network "
                "shares its weights with the prior, and without a latent there is none. Expected "
                "another objective, like IWAE, or another backbone, like MLP."
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
        inputs = self.condition.symbolic()
        self.watch = Watch(self.x_shape, 0 if inputs is None else len(keras.tree.flatten(inputs)))
        self._fused = Fused(self)
        self.built = True

    # The equation.

    def _asked(self, data: Any) -> dict[str, Any]:
        inputs = super()._asked(data)
        self._x(inputs["x"])
        if inputs.get("condition") is not None:
            self._yielded(inputs["condition"])  # refuses what no condition can be
        return inputs

    def call(self, inputs: dict[str, Any], training: bool = False) -> Terms:
        """The terms of the objective for `{"x": (batch, *x_shape), "condition": ...}`."""
        x, y = ops.cast(inputs["x"], "float32"), inputs.get("condition")
        if training and y is not None:
            y = self.condition.drop(y, self.noise.uniform)
            self.memory.record(self.condition.missing(y))
        return self.terms(x, y, self.draw_noise(ops.shape(x)[0], training), training)

    def terms(self, x: Tensor, y: Any, noise: Tensor, training: bool = False) -> Terms:
        """Compute the terms of the objective.

        Args:
            x: Examples `(batch, *x_shape)`.
            y: Their canonical conditions, or None.
            noise: Standard normal, `(samples, batch, latent_dim)`: what z ~ q(z | x, y) is made of.
            training: Whether this is a training step.
        """
        features = self.condition.features(y)
        evidence = self.hierarchy.observe(x, features)
        evidence, log_ratio = self._reparameterized(evidence)
        latents, parameters = self.hierarchy.infer(evidence, features, noise)
        kl = [ops.mean(_batched(g.posterior.kl(g.prior)), axis=0) for g in latents]
        for z, q, p in latents:
            q = q.without_gradients() if self.objective.doubly_reparameterized else q
            log_ratio = log_ratio + p.log_prob(z) - q.log_prob(z)
        return Terms(
            log_likelihood=self.distribution(parameters, y, training).log_prob(x),
            kl=ops.stack(kl, axis=-1) if kl else ops.zeros((ops.shape(x)[0], 0)),
            log_ratio=log_ratio if latents else ops.zeros(ops.shape(noise)[:-1]),
            from_prior=self._from_prior(x, y, features, training),
        )

    def distribution(
        self, parameters: Tensor, y: Any = None, training: bool = False
    ) -> Distribution:
        """p(x | z, y) at the decoder's parameters, with what the canonical y knows of x fixed."""
        return self.condition.fix(self.likelihood.distribution(parameters, training), y)

    def reconstruction(self, inputs: dict[str, Any]) -> Tensor:
        """The mean of p(x | z, y) at the mean of q(z | x, y), `(batch, *x_shape)`.

        Args:
            inputs: As `call` takes them.
        """
        x, y = ops.cast(inputs["x"], "float32"), inputs.get("condition")
        features = self.condition.features(y)
        still = ops.zeros((1, ops.shape(x)[0], self.latent_dim), "float32")
        evidence = self.hierarchy.observe(x, features)
        _, parameters = self.hierarchy.infer(evidence, features, still)
        return self.distribution(parameters, y).mean()[0]

    def _reparameterized(self, evidence: Any) -> tuple[Any, Tensor]:
        """For DReG: q for each sample, with its doubly reparameterised gradient, and zeros
        `(samples, batch)` whose gradient carries the weights. Else the evidence itself, and 0."""
        if not self.objective.doubly_reparameterized:
            return evidence, 0.0
        return doubly_reparameterize(evidence, self.objective.num_samples)

    def draw_noise(self, batch: Any, training: bool) -> Tensor:
        """Draw standard normal noise `(samples, batch, latent_dim)`, as `terms` takes it."""
        return self.noise.draw((self.objective.num_samples, batch, self.latent_dim), training)

    def _from_prior(self, x: Tensor, y: Any, features: Tensor | None, training: bool) -> Tensor:
        """log p(x | z, y) of z ~ p(z | y), `(prior_samples, batch)`; empty unless asked for."""
        if not self.objective.prior_samples:
            return ()
        shape = (self.objective.prior_samples, ops.shape(x)[0], self.latent_dim)
        parameters = self.hierarchy.generate(features, self.noise.draw(shape, training))
        return self.distribution(parameters, y, training).log_prob(x)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Minus the objective, averaged over the batch with `sample_weight`; in nats.

        Where devices share the batch, the mean of what they compute is that.
        """
        objective = self.objective(y_pred, self.step if training else None)  # (batch,)
        if training:
            self.step.assign_add(1)
        if x and "extremes" in x:
            self.watch.update_state(x["extremes"])
        extra = sum(self.losses)
        self.loss_tracker.update_state(extra - objective, sample_weight)
        self.reconstruction_tracker.update_state(y_pred.reconstruction, sample_weight)
        self.kl_tracker.update_state(y_pred.total_kl, sample_weight)
        if sample_weight is None:
            loss = -ops.mean(objective)
        else:
            weight = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            total = over_devices(ops.sum(weight))
            loss = -ops.sum(weight * objective) / ops.maximum(total, 1e-12)
        return loss + extra

    def get_metrics_result(self) -> Any:
        """As in Keras; with `sample_weight` the epoch's loss is the weighted mean too."""
        logs = super().get_metrics_result()
        return logs | {"loss": logs.pop("weighted_loss")}

    def save_to(self, path: str | PathLike[str], card: Card | dict[str, Any] | None = None) -> Card:
        """Write the model as others are to get it: float16 weights, no optimizer, and a card.

        What training does not move (scalings, what it has seen) stays exact. `keras_cvae.load`
        reads the file, or the folder, and has the card as `model.card`.

        Args:
            path: A file that ends in `.keras`; or a folder, which gets `model.keras` and the card
                once more as `README.md`.
            card: What is to be said of the model. What it knows itself is filled in.

        Returns:
            The card with everything filled in, the hash too.

        Raises:
            ValueError: A card with fields that there are none of, or a file in the folder's place.
            FileNotFoundError: There is no folder to write to.

        Examples:
            >>> card = model.save_to("shared.keras", {"summary": "Random dots."})
            >>> card.x_shape, load("shared.keras").card.summary
            ((8, 8, 1), 'Random dots.')
        """
        return sharing.write(self, Path(path), card)

    def get_config(self) -> dict[str, Any]:
        return (
            super().get_config()
            | {
                "x_shape": self.x_shape,
                "condition": serialize(self.condition),
                "latent_dim": self.channels,
                "likelihood": serialize(self.likelihood),
                "prior": serialize(self.prior.prior if self.hierarchy.separate else None),
                "backbone": serialize(self.backbone),
                "encoder": serialize(self.encoder.body if self.encoder.own else None),
                "decoder": serialize(self.decoder.body if self.decoder.own else None),
                "objective": serialize(self.objective),
                "seed": self.seed,
            }
            | ({"columns": self.headers.names} if self.headers.names else {})
        )

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        arguments = dict(config)
        headers = Headers(arguments.pop("columns", None))
        model: Self = super().from_config(arguments, custom_objects)
        model.headers = headers
        return model


def _batched(value: Any) -> Any:
    """`(samples, batch)` from what may lack the samples."""
    return value if len(value.shape) > 1 else value[None]
