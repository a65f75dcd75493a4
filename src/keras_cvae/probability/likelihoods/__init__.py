"""p(x | z, y): how the decoder's output becomes a distribution of the data."""

from keras_cvae.probability.likelihoods.base import LIKELIHOODS, Likelihood
from keras_cvae.probability.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from keras_cvae.probability.likelihoods.causal import CausalBernoulli
from keras_cvae.probability.likelihoods.columns import Columns
from keras_cvae.probability.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from keras_cvae.probability.likelihoods.discrete import CategoricalValues
from keras_cvae.probability.likelihoods.gaussian import Bounded, Gaussian
from keras_cvae.probability.likelihoods.logistic import DiscretizedLogistic

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Bounded",
    "CategoricalValues",
    "CausalBernoulli",
    "Columns",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Likelihood",
    "NegativeBinomial",
    "Poisson",
    "ZeroInflated",
]
