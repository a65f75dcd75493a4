"""From a configuration and data to a compiled model, without a run folder."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_cvae.backend import optimizer_of
from keras_cvae.data.batches import Batches, CompletionBatches, check_shift
from keras_cvae.data.containers import Data, Split
from keras_cvae.data.sources import load
from keras_cvae.models.cvae import ConditionalVAE
from keras_cvae.models.rates import Later
from keras_cvae.models.semisupervised import SemiSupervisedCVAE
from keras_cvae.models.serialization import precision
from keras_cvae.networks.backbone import Backbone
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.residual import Residual
from keras_cvae.networks.topdown import TopDown
from keras_cvae.probability.likelihoods.base import Likelihood
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from keras_cvae.probability.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic
from keras_cvae.probability.objectives import ELBO, OBJECTIVES, Hybrid, Objective
from keras_cvae.probability.priors import ConditionalNormal, Prior, StandardNormal
from keras_cvae.probability.schedules import Cyclical, Warmup
from keras_cvae.runs import declaration
from keras_cvae.runs.conditions import build_condition, mask_of
from keras_cvae.runs.config import COUNTS, RunConfig, bounds_of

STEPS = 19_000  # of a run whose epochs are not given


def load_data(source: str, config: RunConfig, progress: Callable | None = None) -> Data:
    """Load data as the configuration wants it."""
    return load(
        source,
        image_size=config.image_size,
        color=config.color,
        validation=config.validation,
        seed=config.seed,
        progress=progress,
        conditions=[declaration.read(spec).name for spec in config.condition],
        counts=config.likelihood in COUNTS,
        fit=config.fit,
        signals=config.signals,
        unlabelled=config.semisupervised,
    )


def build_model(config: RunConfig, data: Data) -> ConditionalVAE:
    """Build and compile the model that the configuration describes, for this data.

    Raises:
        ValueError: The data does not fit the likelihood or the backbone.

    Examples:
        >>> built = build_model(RunConfig(latent_dim=8, units=(64,)), load_data("digits"))
        >>> built.x_shape, built.latent_dim
        ((8, 8, 1), 8)
    """
    if config.shift:
        check_shift(data.x_shape)
    likelihood = _likelihood(config, data.x_shape)
    for split in (data.train, data.validation):
        if isinstance(split.x, np.ndarray) and split.x.dtype != np.uint8 and len(split):
            likelihood.check(split.x)  # bytes become 0..1

    keras.utils.set_random_seed(config.seed)
    steps = math.ceil(len(data.train) / config.batch_size)
    total = epochs(config, len(data.train)) * steps
    with precision(config.precision):
        kind = SemiSupervisedCVAE if config.semisupervised else ConditionalVAE
        model = kind(
            data.x_shape,
            build_condition(config, data),
            config.group_sizes
            or [len(part) for part in np.array_split(range(config.latent_dim), config.groups)],
            likelihood=likelihood,
            **_networks(config),
            objective=_objective(config, total),
            seed=config.seed,
        )
        optimizer: Any = keras.optimizers.Adam(
            _rate(config, total),
            weight_decay=config.weight_decay or None,
            global_clipnorm=config.clip or None,
            use_ema=bool(config.ema),
            # In a short run less, so that exp(-5) of the first weights is left of the average.
            ema_momentum=min(config.ema, max(0.0, 1.0 - 5.0 / total)),
        )
        if config.precision == "mixed_float16":
            # Losses of hundreds of nats overflow at the default, 2^15: the first steps are skipped.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
    model.compile(optimizer)
    return model


def batches(model: ConditionalVAE, config: RunConfig, split: Split, **order: Any) -> Batches:
    """The batches of a split as the configuration wants them.

    Args:
        model: What learns from them, or is measured on them.
        config: The configuration.
        split: The examples.
        **order: As `Batches` takes it.
    """
    order |= {"binarize": config.binarize}
    if config.task == "complete":
        return CompletionBatches(split, config.batch_size, mask_of(config), **order)
    y = model.fitted_spec.prepare(split.y) if model.condition.width else None
    return Batches(Split(split.x, y), config.batch_size, **order)


def plan_rate(model: ConditionalVAE, config: RunConfig, examples: int, begun: int) -> None:
    """Learn at the rate that is planned for the epochs from `begun` on; the rest stays."""
    steps = math.ceil(examples / config.batch_size)
    rate = _rate(config, (epochs(config, examples) - begun) * steps)
    if begun and isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = Later(rate, begun * steps)
    optimizer_of(model).learning_rate = rate


def _likelihood(config: RunConfig, x_shape: tuple[int, ...]) -> Likelihood:
    likelihoods: dict[str, Callable[[], Likelihood]] = {
        "bernoulli": Bernoulli,
        "causal_bernoulli": lambda: CausalBernoulli(config.channels, config.reach),
        "continuous_bernoulli": ContinuousBernoulli,
        "gaussian": lambda: Gaussian(
            config.variance, config.sigma if config.variance == "fixed" else None
        ),
        "bounded": lambda: _bounded(config, x_shape),
        "categorical": lambda: CategoricalValues(
            2 if config.binarize == "dynamic" else 256, low=0, high=1
        ),
        "discretized_logistic": lambda: DiscretizedLogistic(config.components),
        "poisson": Poisson,
        "negative_binomial": lambda: NegativeBinomial(config.dispersion),
        "zero_inflated_poisson": lambda: ZeroInflated(Poisson()),
        "zero_inflated_negative_binomial": lambda: ZeroInflated(
            NegativeBinomial(config.dispersion)
        ),
    }
    return likelihoods[config.likelihood]()


def _bounded(config: RunConfig, x_shape: tuple[int, ...]) -> Bounded:
    pairs = bounds_of(config.bounds, x_shape[-1])
    low, high = ([pair[i] for pair in pairs] for i in (0, 1))
    return Bounded(low, high, config.variance, config.sigma if config.variance == "fixed" else 1.0)


def _rate(config: RunConfig, steps: int) -> Any:
    """The learning rate over the run: a number, or a schedule."""
    peak, schedules = config.learning_rate, keras.optimizers.schedules
    growing = round(config.rate_warmup * steps)
    rest = {"warmup_target": peak, "warmup_steps": growing} if growing else {}
    if config.schedule == "cosine":
        return schedules.CosineDecay(0.0 if growing else peak, max(1, steps - growing), **rest)
    return schedules.PolynomialDecay(0.0, growing, peak) if growing else peak


def _networks(config: RunConfig) -> dict[str, Any]:
    """The backbone, and the prior where the backbone does not bring its own."""
    units, activation = config.units, config.activation
    if config.backbone == "mlp":
        return {"backbone": MLP(units, activation), "prior": _prior(config)}
    if config.backbone == "residual":
        backbone: Backbone = Residual(units[-1], config.blocks, activation=activation)
        return {"backbone": backbone, "prior": _prior(config)}
    if config.backbone == "conv":
        backbone = Conv(config.filters, units[-1], activation)
        return {"backbone": backbone, "prior": _prior(config)}
    maps = config.filters if config.backbone == "topdown-conv" else ()
    levels = config.levels
    return {"backbone": TopDown(units[-1], filters=maps, levels=levels, activation=activation)}


def _prior(config: RunConfig) -> Prior:
    if config.prior == "standard":
        return StandardNormal()
    return ConditionalNormal(config.prior_units, config.prior_activation)


def _objective(config: RunConfig, steps: int) -> Objective:
    if config.objective not in ("elbo", "hybrid"):
        return OBJECTIVES.classes[config.objective](config.num_samples)
    beta: Any = config.beta
    if config.cycles:
        beta = Cyclical(max(1, steps // config.cycles), final=config.beta)
    elif config.warmup:
        beta = Warmup(max(1, round(config.warmup * steps)), config.beta)
    elbo = ELBO(beta, config.free_bits, config.num_samples)
    return Hybrid(elbo, config.alpha) if config.objective == "hybrid" else elbo


def epochs(config: RunConfig, examples: int) -> int:
    """How many epochs a run on so many training examples takes."""
    if config.epochs is not None:
        return config.epochs
    steps = math.ceil(examples / config.batch_size)
    return min(max(round(STEPS / steps), 20), 300)
