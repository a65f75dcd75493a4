"""How JAX compiles the programs of tests."""

import contextlib
import os

import keras


@contextlib.contextmanager
def optimized():
    """Compile as for users what is built here: it computes for longer than that takes."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        quickly = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
        jax.config.update("jax_disable_most_optimizations", quickly)
