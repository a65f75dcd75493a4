"""Tables: what their columns are (`schema`), and columns as small integers and back (`codec`)."""

try:
    import pandas  # noqa: F401
except ImportError as error:
    raise ImportError("Tables need pandas: pip install 'keras-cvae[tables]'") from error
