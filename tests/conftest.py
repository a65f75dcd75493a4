"""What all tests share: the backend, seeds, small data and small models."""

import functools
import gc
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from paths import ROOT

# Compiling is nine tenths of the time on JAX; many tests compile the same small model.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Most programs here run but twice: optimising them is half of the time of all tests. `make test`
# runs in another process, as users do, what is marked `optimized`; `make test-all` every test.
QUICKLY = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"
if QUICKLY:
    # One thread compiles a program: the other worker needs the other core.
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

# Where in Python each operation comes from is not needed here, and takes half of lowering.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# Programs and graphs are many and stay: to look through all of them takes a tenth of the time.
gc.set_threshold(100_000, 50, 100)

# A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every machine and in every run; `--hypothesis-profile=thorough` tries more.
settings.register_profile(
    "few",
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("few"), max_examples=300)
settings.load_profile("few")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What is kept for users of this machine is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collectstart(collector):
    """Import the package before Keras, so that the tests run on the backend that it chooses.

    Here rather than above: the process that hands the tests to two others imports neither.
    """
    import_backend()


@functools.cache
def import_backend():
    import keras_cvae  # noqa: F401

    import keras  # isort: skip

    if keras.backend.backend() == "jax":
        one_unknown_size()
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        # Keras then does without XLA, which takes minutes to compile what runs twice here.
        keras.utils.set_random_seed(0)
        tensorflow.config.experimental.enable_op_determinism()


def one_unknown_size():
    """Let Keras build all layers for the same unknown number of examples.

    It makes up another each time, which JAX has not seen: no trace of before is used again.
    """
    from keras.src.backend.jax import core

    sizes = functools.cache(core.jax_export.symbolic_shape)
    core.jax_export = SimpleNamespace(
        symbolic_shape=lambda text, constraints: sizes(text, constraints=tuple(constraints))
    )


def pytest_sessionfinish():
    """Look through all objects once; pytest would five times, for a second each."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish():
    """What was imported stays: no test looks through it for what could be forgotten."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Numbers that agree to the bit in the programs of users need not agree in others."""
    import keras

    if QUICKLY and keras.backend.backend() == "jax":
        skip = pytest.mark.skip(reason="optimized: JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs it")
        for item in items:
            if item.get_closest_marker("optimized"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights and shuffling in every test, whatever ran before."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """Forty binary vectors `(40, 6)` of three classes `(40,)`; the class shows in x."""
    y = np.arange(40) % 3
    return (rng.random((40, 6)) < 0.2 + 0.3 * y[:, None]).astype("float32"), y.astype("int32")


@pytest.fixture(scope="session")
def small():
    """Build a small compiled model of `data`; keywords replace its arguments."""
    import keras

    import keras_cvae

    def build(compiled=True, **kwargs):
        arguments = {"x_shape": (6,), "condition": 3, "latent_dim": 2, "seed": 1}
        arguments["backbone"] = keras_cvae.MLP((8,), "tanh")
        model = keras_cvae.ConditionalVAE(**arguments | kwargs)
        if compiled:
            model.compile(keras.optimizers.Adam(0.01))
        return model

    return build


@pytest.fixture(scope="session")
def mnist_path():
    """Path of the real MNIST as `.npz`."""
    path = Path(os.environ.get("KERAS_CVAE_MNIST", ROOT.parent / "shared/data/mnist.npz"))
    if not path.is_file():
        pytest.skip(f"needs the real MNIST at {path}; set KERAS_CVAE_MNIST to a mnist.npz")
    return path


@pytest.fixture(scope="session")
def mnist(mnist_path):
    """The arrays of the real MNIST: x_train, y_train, x_test, y_test."""
    with np.load(mnist_path) as arrays:
        return dict(arrays)
