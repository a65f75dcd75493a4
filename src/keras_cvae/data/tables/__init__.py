"""Tables: what their columns are (`schema`), and columns as small integers and back (`codec`)."""

from keras_cvae.errors import to_install

try:
    import pandas  # noqa: F401
except ImportError as error:
    raise ImportError(f"Tables need pandas: {to_install('tables')}") from error
