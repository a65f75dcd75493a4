"""Conditional variational autoencoders on Keras 3.

Importing the package chooses the Keras backend if nobody has (JAX), registers the classes that a
saved model consists of, and does nothing else.
"""

import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path

from keras_cvae.backend import choose_backend

__version__ = "0.1.0"

# The command says what is wrong with a backend in one message of its own.
_command = Path(sys.argv[0]).stem == "cvae"
with suppress(ImportError) if _command else nullcontext():
    choose_backend()

_EXPORTS = {
    "ConditionalVAE": "models.cvae",
    "load": "models.io",
    "SemiSupervisedCVAE": "models.semisupervised",
    "Bernoulli": "probability.likelihoods",
    "CausalBernoulli": "probability.likelihoods",
    "ContinuousBernoulli": "probability.likelihoods",
    "DiscretizedLogistic": "probability.likelihoods",
    "Gaussian": "probability.likelihoods",
    "Bounded": "probability.likelihoods",
    "CategoricalValues": "probability.likelihoods",
    "Masked": "probability.likelihoods",
    "StandardNormal": "probability.priors",
    "ConditionalNormal": "probability.priors",
    "Unconditional": "conditions",
    "KnownPart": "conditions",
    "Categorical": "conditions",
    "Continuous": "conditions",
    "Tags": "conditions",
    "Periodic": "conditions",
    "Encoded": "conditions",
    "Optional": "conditions",
    "Joint": "conditions",
    "Image": "conditions",
    "Signal": "conditions",
    "MLP": "networks",
    "Conv": "networks",
    "Baseline": "models.baseline",
    "TopDown": "networks",
    "ELBO": "probability.objectives",
    "IWAE": "probability.objectives",
    "DReG": "probability.objectives",
    "Hybrid": "probability.objectives",
    "GSNN": "probability.objectives",
    "Warmup": "probability.schedules",
    "Cyclical": "probability.schedules",
    "RunConfig": "runs.config",
    "train": "runs.train",
    "load_data": "data.sources",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'keras_cvae' has no attribute '{name}'")
    return getattr(import_module(f"keras_cvae.{_EXPORTS[name]}"), name)


def __dir__():
    return [*globals(), *__all__]


# `keras.saving.load_model` finds a class only once its module is imported. The command alone waits:
# `cvae --help` and Tab completion must not take the seconds that importing Keras does.
if not _command:
    import keras_cvae.models.cvae
    import keras_cvae.models.semisupervised  # noqa: F401
