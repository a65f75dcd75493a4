"""A model as an HTTP server: `create_app` makes it, `serve` runs it."""

from keras_cvae.serve.app import create_app
from keras_cvae.serve.limits import Limits
from keras_cvae.serve.running import check_installed, serve

__all__ = ["Limits", "check_installed", "create_app", "serve"]
