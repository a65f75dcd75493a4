"""A model as a web page to play with."""

from keras_cvae.studio.lowering import UnplayableError
from keras_cvae.studio.writing import page_text, write_page

__all__ = ["UnplayableError", "page_text", "write_page"]
