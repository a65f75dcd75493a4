"""Conditional variational autoencoders on Keras 3.

Importing the package chooses the Keras backend if nobody has (JAX) and imports the models, because
`keras.saving.load_model` finds only classes that are imported already.

Where `KERAS_CVAE_LAZY=1` stands in the environment, both wait until a name of the package is used:
a process that reads configurations or answers `--help` need not take the seconds that importing
Keras does. Load models with `keras_cvae.load` there.
"""

import os
from importlib import import_module
from typing import Any

from keras_cvae.backend import choose_backend

__version__ = "0.2.0"

_EXPORTS = {
    "ConditionalVAE": "models.cvae",
    "load": "runs.opening",
    "Card": "models.card",
    "export": "exports",
    "SemiSupervisedCVAE": "models.semisupervised",
    "Bernoulli": "probability.likelihoods",
    "CausalBernoulli": "probability.likelihoods",
    "ContinuousBernoulli": "probability.likelihoods",
    "DiscretizedLogistic": "probability.likelihoods",
    "Gaussian": "probability.likelihoods",
    "Bounded": "probability.likelihoods",
    "CategoricalValues": "probability.likelihoods",
    "Poisson": "probability.likelihoods",
    "NegativeBinomial": "probability.likelihoods",
    "ZeroInflated": "probability.likelihoods",
    "StandardNormal": "probability.priors",
    "ConditionalNormal": "probability.priors",
    "Unconditional": "conditions",
    "KnownPart": "conditions",
    "Categorical": "conditions",
    "Continuous": "conditions",
    "Tags": "conditions",
    "Periodic": "conditions",
    "Exposure": "conditions",
    "Encoded": "conditions",
    "Optional": "conditions",
    "Joint": "conditions",
    "Image": "conditions",
    "Signal": "conditions",
    "MLP": "networks",
    "Conv": "networks",
    "Baseline": "models.baseline",
    "Residual": "networks",
    "TopDown": "networks",
    "ELBO": "probability.objectives",
    "IWAE": "probability.objectives",
    "DReG": "probability.objectives",
    "Hybrid": "probability.objectives",
    "GSNN": "probability.objectives",
    "Warmup": "probability.schedules",
    "Cyclical": "probability.schedules",
    "RunConfig": "runs.config",
    "build_model": "runs.build",
    "train": "runs.train",
    "load_data": "data.sources",
    "TableCVAE": "models.tables",
}
_WITH_EXTRAS = {"TableCVAE"}  # a star must not ask for what is not installed
__all__ = sorted(_EXPORTS.keys() - _WITH_EXTRAS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'keras_cvae' has no attribute '{name}'")
    choose_backend()
    return getattr(import_module(f"keras_cvae.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_EXPORTS]


if os.environ.get("KERAS_CVAE_LAZY") != "1":
    choose_backend()
    import keras_cvae.models.baseline
    import keras_cvae.models.cvae
    import keras_cvae.models.rates
    import keras_cvae.models.semisupervised  # noqa: F401
