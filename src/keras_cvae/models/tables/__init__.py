"""A model of a table: every column can be drawn, and every column can be the condition."""

import keras_cvae.data.tables  # noqa: F401  first, for it says what to install
from keras_cvae.models.tables.model import TableCVAE

__all__ = ["TableCVAE"]
