"""A model as an HTTP server: `serve` runs it, `create_app` makes the application."""

from keras_cvae.serve.limits import Limits
from keras_cvae.serve.running import check_installed, create_app, serve

__all__ = ["Limits", "check_installed", "create_app", "serve"]
