"""Some labels are unknown: model M2 of Kingma, Rezende, Mohamed & Welling (2014).

    classifier   q(y | x)        model.classifier

    labelled     elbo(x | y) + log p(y)                                            (eq. 6)
    unlabelled   sum_y q(y | x) [ elbo(x | y) + log p(y) ] + H( q(y | x) )         (eq. 7)
    loss         minus their mean, and alpha times the cross-entropy of q(y | x)   (eq. 9)

Both bounds are one: with the label for certain in place of q(y | x), the second is the first.

A picture that is moved a little keeps its class. With such changes, `augment`, the classifier
learns from changed pictures: the labelled ones, and those of which it is sure (Sohn et al. 2020,
"FixMatch"), weighed by `consistency`:

    - mean over x without a label, where max_c q(c | x) > confidence, of log q( y* | augment(x) ),
    y* = argmax_c q(c | x)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_cvae import errors, trees
from keras_cvae.conditions.labels import Categorical
from keras_cvae.conditions.spec import OptionalSpec
from keras_cvae.data.containers import Split
from keras_cvae.data.mixed import UNKNOWN, MixedBatches
from keras_cvae.inference.results import check_class_prior
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.examples import Examples
from keras_cvae.models.inputs import is_array
from keras_cvae.models.own import check_linear, check_own_model
from keras_cvae.models.parts import Part
from keras_cvae.models.serialization import seeded, serialize
from keras_cvae.models.training import check_sizes
from keras_cvae.networks.backbone import BACKBONES
from keras_cvae.probability.objectives import Objective, Terms
from keras_cvae.tensors import Tensor


@keras.saving.register_keras_serializable(package="keras_cvae")
class Classifier(Part):
    """q(y | x): called with `{"x": (batch, *x_shape)}`, gives logits `(batch, classes)`.

    Args:
        x_shape: Shape of one example.
        classes: How many there are.
        body: A backbone, or a Keras model of one's own from x to the logits.
        dropout: Of the features in front of the logits; not of a model of one's own.
        view: A layer that the body sees x through, the likelihood's; None: x itself.

    Raises:
        ValueError: A model of one's own whose input or output does not fit.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        classes: int,
        body: Any = "mlp",
        dropout: float = 0.0,
        view: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.view = view
        self.x_shape, self.classes, self.dropout = tuple(x_shape), int(classes), float(dropout)
        self.own = isinstance(body, keras.Model)
        self.body = body if self.own else BACKBONES.get(body)
        if self.own:
            self.network = body
            check_own_model("classifier", body, "x", self.x_shape, 0, [(self.classes,)])
            check_linear("classifier", body, "the loss takes logits and applies the softmax itself")
        else:
            self.network = self.body.encoder(self.x_shape)
            self.drop = keras.layers.Dropout(self.dropout)
            self.head = keras.layers.Dense(self.classes, dtype="float32", name="head")
        self.build_on(x=self.x_shape)

    def logits(self, x: Tensor, training: bool = False) -> Tensor:
        """Logits of q(y | x), `(batch, classes)` in float32."""
        x = x if self.view is None else self.view(x)
        if self.own:
            return ops.cast(self.body(x, training=training), "float32")
        return self.head(self.drop(self.network([x]), training=training))

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        return self.logits(ops.cast(inputs["x"], "float32"), training)

    def arguments(self) -> dict[str, Any]:
        return {
            "x_shape": self.x_shape,
            "classes": self.classes,
            "body": self.body,
            "dropout": self.dropout,
            "view": self.view,
        }


class Hypotheses(NamedTuple):
    """Every example of a batch under every class, as `M2` takes it.

    Args:
        terms: The terms of `batch * classes` pairs, the classes of an example side by side.
        log_q: log q(y | x), `(batch, classes)`.
        y: Labels `(batch,)`, -1 where unknown.
        classification: The classifier's own loss on the batch, in nats, a single number.
    """

    terms: Terms
    log_q: Tensor
    y: Tensor
    classification: Tensor

    @property
    def known(self) -> Tensor:
        """Which labels are known, booleans `(batch, 1)`."""
        return (self.y >= 0)[:, None]

    @property
    def p(self) -> Tensor:
        """q(y | x), and where the label is known that for certain, `(batch, classes)`."""
        certain = ops.one_hot(self.y, self.log_q.shape[-1])
        return ops.where(self.known, certain, ops.exp(self.log_q))

    def expected(self, values: Tensor) -> Tensor:
        """Average `(batch * classes,)` values over what each label may be, `(batch,)`."""
        return ops.sum(self.p * ops.reshape(values, (-1, self.log_q.shape[-1])), axis=-1)

    @property
    def reconstruction(self) -> Tensor:
        """-E[ log p(x | z, y) ] over z and y, `(batch,)`."""
        return self.expected(self.terms.reconstruction)

    @property
    def total_kl(self) -> Tensor:
        """E_y[ KL( q(z | x, y) || p(z | y) ) ], `(batch,)`."""
        return self.expected(self.terms.total_kl)


class M2:
    """The bound of labelled and unlabelled examples, less the classifier's loss (eq. 6, 7, 9).

    What an `Objective` is to `Terms`, this is to `Hypotheses`.

    Args:
        objective: What takes the place of elbo(x | y), an objective.
        class_prior: p(y) `(classes,)`.
    """

    def __init__(self, objective: Objective, class_prior: np.ndarray):
        self.objective, self.class_prior = objective, class_prior
        self.num_samples, self.prior_samples = objective.num_samples, objective.prior_samples
        self.doubly_reparameterized = objective.doubly_reparameterized

    def __call__(self, hypotheses: Hypotheses, step: Tensor | None = None) -> Tensor:
        """Compute the bound in nats, `(batch,)`; `step` is None in evaluation."""
        log_prior = ops.convert_to_tensor(np.log(self.class_prior).astype("float32"))
        surprise = ops.where(hypotheses.known, 0.0, -hypotheses.log_q)  # whose mean is the entropy
        bound = hypotheses.expected(self.objective(hypotheses.terms, step))
        bound = bound + ops.sum(hypotheses.p * (log_prior + surprise), axis=-1)
        return bound - hypotheses.classification

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        prior = self.class_prior.tolist()
        return {"objective": serialize(self.objective), "class_prior": prior}


@keras.saving.register_keras_serializable(package="keras_cvae")
class SemiSupervisedCVAE(ConditionalVAE):
    """A class-conditional VAE that learns from labelled and unlabelled examples together (M2).

    `fit(x, y)` takes -1, None or NaN for a label that is unknown. Each step sees every example
    under every class: it costs as much as that many examples.

    Args:
        x_shape: As in `ConditionalVAE`.
        condition: Classes: a number, names, or a `Categorical`.
        latent_dim: As in `ConditionalVAE`.
        classifier: q(y | x): a backbone, or a Keras model from x to logits `(batch, classes)`; by
            default "conv" for pictures and "mlp" for vectors.
        alpha: Weight of the classifier's cross-entropy on the labelled examples of a batch, in mean
            over these. The paper's is this times the number of examples.
        class_prior: p(y) `(classes,)`, uniform by default.
        dropout: Of the classifier's last features.
        augment: A Keras layer from x to x that leaves the class as it is (`RandomTranslation`, ...,
            or several in a `Sequential`), called with `training=True`.
        consistency: Weight of what the classifier learns from its own sure answers; needs
            `augment`.
        confidence: How sure it must be.
        **kwargs: As in `ConditionalVAE`.

    Raises:
        ValueError: A condition without classes, a weight or a confidence out of range, consistency
            without `augment`, an `augment` that changes x's shape, and as in `ConditionalVAE`.

    Examples:
        >>> few = SemiSupervisedCVAE(
        ...     (8, 8, 1), 10, latent_dim=2, classifier=MLP((8,)), backbone=MLP((16,)), seed=0
        ... )
        >>> few.compile("adam")
        >>> history = few.fit(x, np.where(np.arange(40) < 20, y, -1), verbose=0)
        >>> few.recognise(x[:3]).shape  # q(y | x)
        (3, 10)
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        condition: Any = 10,
        latent_dim: int | Sequence[int] = 32,
        *,
        classifier: Any = None,
        alpha: float = 1.0,
        class_prior: Any = None,
        dropout: float = 0.0,
        augment: keras.layers.Layer | None = None,
        consistency: float = 0.0,
        confidence: float = 0.95,
        **kwargs: Any,
    ) -> None:
        super().__init__(x_shape, condition, latent_dim, **kwargs)
        if not isinstance(self.condition, Categorical):
            raise ValueError(
                f"SemiSupervisedCVAE sums over classes; received the condition "
                f"{type(self.condition).__name__}. Expected classes: a number or their names."
            )
        self.alpha, classes = errors.number("alpha", alpha), self.condition.num_classes
        self.class_prior = check_class_prior(class_prior, classes)
        if not self.class_prior.all():
            raise ValueError("class_prior: received a 0. Expected weights above 0 to learn with.")
        view = self.likelihood.view
        if isinstance(
            classifier, Classifier
        ):  # of a file: built again, to see x as this model does
            own = {"name": classifier.name, "condition": classifier.condition, "view": view}
            self.classifier = Classifier(**classifier.arguments() | own)
        else:
            body = classifier or ("conv" if len(self.x_shape) == 3 else "mlp")
            with seeded(self.seed, "classifier"):
                self.classifier = Classifier(self.x_shape, classes, body, dropout, view)
        self.objective = M2(self.objective, self.class_prior)
        _check_changes(augment, consistency, confidence, self.x_shape)
        self.augment, self.consistency = augment, float(consistency)
        self.confidence = float(confidence)
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")

    # The equation.

    def call(self, inputs: dict[str, Any], training: bool = False) -> Hypotheses:  # type: ignore[override]
        """Every x under every class, for `{"x", "condition"}` with -1 for unknown labels."""
        x = ops.cast(inputs["x"], "float32")
        y = ops.cast(ops.reshape(inputs["condition"], (-1,)), "int32")
        log_q = self._log_q(x, training)
        classification = self._classification(x, y, log_q, training)
        # The classes of an example share their noise: they then differ by more than their draws.
        batch, classes = ops.shape(x)[0], self.condition.num_classes
        noise = ops.repeat(self.draw_noise(batch, training), classes, axis=1)
        every = ops.tile(ops.arange(classes, dtype="int32"), (batch,))
        terms = self.terms(ops.repeat(x, classes, axis=0), every, noise, training)
        return Hypotheses(terms, log_q, y, classification)

    def _classification(self, x: Tensor, y: Tensor, log_q: Tensor, training: bool) -> Tensor:
        """What the classifier is told: labels, and in training its own sure answers; in nats."""
        changed = log_q
        if training and self.augment is not None:
            changed = self._log_q(self.augment(x, training=True), True)

        def cross_entropy(part: Tensor, label: Tensor) -> Tensor:
            """In the mean over the part of the batch that may have it."""
            named = ops.one_hot(label, self.condition.num_classes)  # -1 is no class: zeros
            total = ops.sum(ops.cast(part, "float32"))
            return -ops.sum(named * changed) / ops.maximum(total, 1.0)

        loss = self.alpha * cross_entropy(y >= 0, y)
        if training and self.consistency:
            sure = ops.logical_and(y < 0, ops.exp(ops.max(log_q, axis=-1)) > self.confidence)
            answer = ops.where(sure, ops.argmax(log_q, axis=-1), UNKNOWN)  # has no gradient
            loss = loss + self.consistency * cross_entropy(y < 0, answer)
        return loss

    def _log_q(self, x: Tensor, training: bool) -> Tensor:
        """log q(y | x), `(batch, classes)`."""
        return ops.log_softmax(self.classifier.logits(x, training), axis=-1)

    def _rows_apart(self) -> bool:
        return False  # the first rows of a batch are those with labels

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Minus the objective, averaged over the batch with `sample_weight`; in nats."""
        right = ops.cast(ops.argmax(y_pred.log_q, axis=-1), "int32") == y_pred.y
        self.accuracy_tracker.update_state(right, sample_weight=y_pred.known[:, 0])
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    # The verbs.

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        labelled: float | None = 0.1,
        seed: int = 0,
        binarize: Any = "none",
        sample_weight: Any = None,
        class_weight: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        **kwargs: Any,
    ) -> Any:
        """Train on labelled and unlabelled examples together.

        Args:
            x: Array `(n, *x_shape)`, or a data set of `(x, y)` with classes as positions.
            y: Labels `(n,)`; -1, None or NaN where one is unknown.
            batch_size: Examples per step; 32 by default.
            epochs: Passes over the unlabelled examples.
            labelled: Part of each batch that is labelled, weighted so that the bound is that of all
                the data: with few labels most batches would have none. None: as the data come.
            seed: Of the order, with `labelled`.
            binarize: With `labelled`: "dynamic" draws x ~ Bernoulli(x) anew in each epoch; "none"
                leaves x alone.
            sample_weight: How much each example counts, `(n,)`.
            class_weight: How much those of each class count; None or -1: those without a label.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or a data set.
            validation_split: The last share of the arrays, held out for validation.
            **kwargs: What else `ConditionalVAE.fit` takes.

        Returns:
            Keras' `History`: loss, reconstruction and KL of each epoch in nats, and accuracy.

        Raises:
            ValueError: Data that do not fit each other or the model, or sizes that cannot be.
        """
        if labelled is not None and not 0 < labelled < 1:
            raise ValueError(f"labelled: received {labelled}, expected a part of 1, like 0.1.")
        check_sizes(epochs, batch_size, validation_split)
        given = Examples(x, y, sample_weight)
        with self.turn:
            train, held = self._prepared(given, class_weight, validation_data, validation_split)
            if is_array(train.x) and labelled is not None:
                x, y, weight = train
                known = y >= 0
                if known.any() and not known.all():
                    mixed = MixedBatches(
                        Split(x[known], y[known]),
                        Split(x[~known]),
                        32 if batch_size is None else batch_size,
                        labelled,
                        seed=seed,
                        binarize=binarize,
                        weights=(trees.take(weight, known), trees.take(weight, ~known)),
                        epoch=kwargs.get("initial_epoch", 0),
                    )
                    train, batch_size, kwargs["shuffle"] = Examples(mixed), None, False
            return self._run(train, held, batch_size, epochs, **kwargs)

    def recognise(self, x: Any, *, batch_size: int | None = None) -> np.ndarray:
        """q(y | x) `(n, classes)`: the classifier's, in one step; `classify` is Bayes' rule."""
        logits = self.classifier.apply({"x": self._x(x)}, self._at_once(batch_size))
        logits = np.asarray(logits, "float64")
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    @property
    def fitted_spec(self) -> OptionalSpec:
        """What the labels of training examples may be: classes, or unknown."""
        return OptionalSpec(self.condition.spec)

    def _labels(self, y: Any) -> Any:
        """Positions of classes, -1 where unknown."""
        return _one_each(self.condition.spec.prepare(y) if y is None else super()._labels(y))

    def _yielded(self, y: Any) -> Any:
        return _one_each(super()._yielded(y))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "objective": serialize(self.objective.objective),
            "classifier": serialize(self.classifier),
            "alpha": self.alpha,
            "class_prior": self.class_prior.tolist(),
            "augment": serialize(self.augment),
            "consistency": self.consistency,
            "confidence": self.confidence,
        }


def _one_each(labels: np.ndarray) -> np.ndarray:
    """Refuse mixtures of classes."""
    if labels.ndim != 1:
        raise ValueError(
            f"y has the shape {labels.shape}. Expected labels (n,), {UNKNOWN} where one is unknown."
        )
    return labels


def _check_changes(
    augment: Any, consistency: float, confidence: float, x_shape: Sequence[int]
) -> None:
    if errors.number("consistency", consistency) and augment is None:
        raise ValueError(
            "consistency compares x with a changed x; received no augment. Expected a layer, like "
            "keras.layers.RandomTranslation(0.1, 0.1)."
        )
    if not errors.number("confidence", confidence) < 1:
        raise ValueError(f"confidence: received {confidence}, expected a number from 0 to 1.")
    if augment is not None:
        found = tuple(augment(keras.KerasTensor((1, *x_shape)), training=True).shape[1:])
        if found != x_shape:
            raise ValueError(
                f"augment makes {found} of x. Expected the shape that it had, {x_shape}."
            )
