"""Networks: backbones (what the layers look like) and parts (what they compute for the CVAE)."""

from keras_cvae.networks.backbone import BACKBONES, Backbone
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.parts import GenerationNetwork, PriorNetwork, RecognitionNetwork
from keras_cvae.networks.topdown import TopDown

__all__ = [
    "BACKBONES",
    "MLP",
    "Backbone",
    "Conv",
    "GenerationNetwork",
    "PriorNetwork",
    "RecognitionNetwork",
    "TopDown",
]
