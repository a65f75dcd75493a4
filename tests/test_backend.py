import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_cvae import backend
from paths import ROOT


def choose(home, before="", **environment):
    """What `choose_backend` chooses in a new process, or the last line of its error."""
    clean = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "KERAS_HOME")}
    script = f"""
import importlib.util, os, sys
{before}
spec = importlib.util.spec_from_file_location("rule", {str(ROOT / "src/keras_cvae/backend.py")!r})
rule = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rule)
rule.choose_backend()
print(os.environ.get("KERAS_BACKEND"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean | {"KERAS_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]


def write(home, **changes):
    config = {
        "floatx": "float32",
        "epsilon": 1e-07,
        "backend": "tensorflow",
        "image_data_format": "channels_last",
    }
    (home / "keras.json").write_text(json.dumps(config | changes))


def test_without_a_choice_it_is_jax(tmp_path):
    assert choose(tmp_path) == "jax"


def test_the_file_that_keras_writes_is_no_choice(tmp_path):
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", "import keras"], env=environment, check=True)
    assert (tmp_path / "keras.json").exists()
    assert choose(tmp_path) == "jax"


def test_an_edited_file_is_a_choice(tmp_path):
    write(tmp_path, backend="jax", epsilon=1e-6)
    assert choose(tmp_path) == "None"  # left to Keras, which reads the file
    write(tmp_path, backend="nonsense")
    assert "'nonsense' (from keras.json) does not exist" in choose(tmp_path)


def test_the_variable_wins_over_the_file(tmp_path):
    write(tmp_path, backend="nonsense")
    assert choose(tmp_path, KERAS_BACKEND="jax") == "jax"
    assert "'cntk' (from KERAS_BACKEND) does not exist" in choose(tmp_path, KERAS_BACKEND="cntk")


@pytest.mark.parametrize("text", ["not json", "[]", ""])
def test_a_broken_file_is_no_choice(tmp_path, text):
    (tmp_path / "keras.json").write_text(text)
    assert choose(tmp_path) == "jax"


def test_keras_already_imported_is_a_choice(tmp_path):
    assert choose(tmp_path, before="sys.modules['keras'] = None") == "None"


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_a_backend_that_is_not_installed(tmp_path, backend):
    if importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is installed here")
    error = choose(tmp_path, KERAS_BACKEND=backend)
    assert f"ImportError: The Keras backend '{backend}' (from KERAS_BACKEND)" in error
    assert f"pip install {backend}" in error


def command(script, **environment):
    """The last line that a script prints in the process of a command called cvae."""
    script = f"import sys; sys.argv[0] = 'cvae'\nfrom keras_cvae import backend\n{script}"
    inherited = {name: text for name, text in os.environ.items() if "CACHE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_the_command_imports_a_light_keras_and_all_the_rest_later():
    answer = command(
        "backend.choose_backend(); backend.prepare_command(); import keras, sys\n"
        "light = not {'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "import sklearn.base, matplotlib.pyplot\n"
        "print(light, keras.Model.__name__)"
    )
    assert answer == "True Model"


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND", "jax") != "jax", reason="JAX's cache")
def test_the_command_keeps_compiled_programs_in_the_cache_folder(tmp_path):
    script = (
        "backend.prepare_command(); import jax; jax.jit(lambda x: x + 1)(1.0)\n"
        "print(jax.config.jax_compilation_cache_dir)"
    )
    users = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}  # not this machine's own
    kept = Path(command(script, **users))
    assert kept.is_relative_to(tmp_path)
    assert len(list(kept.iterdir())) >= 1
    own = tmp_path / "own"
    assert command(script, JAX_COMPILATION_CACHE_DIR=str(own)) == str(own)
    assert len(list(own.iterdir())) >= 1
    none = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "none")}
    command(script, JAX_ENABLE_COMPILATION_CACHE="0", **none)
    assert not (tmp_path / "none").exists()


def test_the_cache_folder_is_the_systems(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert backend.cache_folder() == tmp_path / "keras-cvae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert backend.cache_folder().parts[-2:] == (".cache", "keras-cvae")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert backend.cache_folder().parts[-3:] == ("Library", "Caches", "keras-cvae")
