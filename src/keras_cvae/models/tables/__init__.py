"""A model of a table: every column can be drawn, and every column can be the condition."""

from keras_cvae.models.tables.model import TableCVAE

__all__ = ["TableCVAE"]
