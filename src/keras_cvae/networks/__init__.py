"""Bodies of networks: what the layers between data, condition and latent look like."""

from keras_cvae.networks.backbone import BACKBONES, Backbone
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.residual import Residual
from keras_cvae.networks.topdown import TopDown

__all__ = ["BACKBONES", "MLP", "Backbone", "Conv", "Residual", "TopDown"]
