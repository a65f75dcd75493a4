"""Networks: backbones (what the layers look like), parts (what they compute for the CVAE), and the
conditions that are built from a backbone."""

from keras_cvae.networks.backbone import BACKBONES, Backbone
from keras_cvae.networks.baseline import Baseline
from keras_cvae.networks.conv import Conv
from keras_cvae.networks.image import Image
from keras_cvae.networks.mlp import MLP
from keras_cvae.networks.parts import GenerationNetwork, PriorNetwork, RecognitionNetwork
from keras_cvae.networks.signal import Signal
from keras_cvae.networks.topdown import TopDown

__all__ = [
    "BACKBONES",
    "MLP",
    "Backbone",
    "Baseline",
    "Conv",
    "GenerationNetwork",
    "Image",
    "PriorNetwork",
    "RecognitionNetwork",
    "Signal",
    "TopDown",
]
