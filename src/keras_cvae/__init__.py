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
    "ConditionalVAE": "model",
    "load": "model",
    "SemiSupervisedCVAE": "semisupervised",
    "Bernoulli": "likelihoods",
    "CausalBernoulli": "likelihoods",
    "ContinuousBernoulli": "likelihoods",
    "DiscretizedLogistic": "likelihoods",
    "Gaussian": "likelihoods",
    "Bounded": "likelihoods",
    "CategoricalValues": "likelihoods",
    "Masked": "likelihoods",
    "StandardNormal": "priors",
    "ConditionalNormal": "priors",
    "Unconditional": "conditions",
    "KnownPart": "conditions",
    "Categorical": "conditions",
    "Continuous": "conditions",
    "Tags": "conditions",
    "Periodic": "conditions",
    "Encoded": "conditions",
    "Optional": "conditions",
    "Joint": "conditions",
    "Image": "networks",
    "Signal": "networks",
    "MLP": "networks",
    "Conv": "networks",
    "Baseline": "networks",
    "TopDown": "networks",
    "ELBO": "objectives",
    "IWAE": "objectives",
    "DReG": "objectives",
    "Hybrid": "objectives",
    "GSNN": "objectives",
    "Warmup": "objectives",
    "Cyclical": "objectives",
    "RunConfig": "config",
    "train": "training",
    "load_data": "data",
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
    import keras_cvae.model
    import keras_cvae.semisupervised  # noqa: F401
