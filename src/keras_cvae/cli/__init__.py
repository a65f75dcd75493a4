"""The command `cvae`: parse, then call the Python API."""
