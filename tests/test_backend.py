import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def script(text, *, cwd=None, **environment):
    """The last line that a script prints, in a process without caches of compiled programs."""
    inherited = {name: text for name, text in os.environ.items() if "CACHE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", text],
        env=inherited | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.further
def test_importing_the_package_registers_every_class_that_a_file_may_name():
    answer = script(
        """
import keras_cvae
import keras

for name in keras_cvae.__all__:
    value = getattr(keras_cvae, name)
    if isinstance(value, type) and hasattr(value, "get_config"):
        registered = keras.saving.get_registered_object(f"keras_cvae>{name}")
        assert registered is value, name
print("done")
"""
    )
    assert answer == "done"


@pytest.mark.further
def test_a_lazy_import_waits_for_the_first_name(small, tmp_path):
    path = tmp_path / "model.keras"
    small().save(path)
    answer = script(
        f"""
import sys
import keras_cvae, keras_cvae.runs.run, keras_cvae.cli.main

assert keras_cvae.RunConfig().beta == 1
assert "keras" not in sys.modules
model = keras_cvae.load({str(path)!r})
print("keras" in sys.modules, type(model) is keras_cvae.ConditionalVAE)
""",
        KERAS_CVAE_LAZY="1",
    )
    assert answer == "True True"


def test_the_command_answers_without_keras_where_no_model_is_needed(tmp_path):
    answer = script(
        """
import os, sys
import keras_cvae_command

(open("taken", "w")).close()
for words in (
    "--help", "--version", "train --help", "presets", "train digits --preset notbook",
    "train digits --epochs 0", "train digits --out taken", "train digits --resume",
    "generate nowhere", "evaluate nowhere", "plot nowhere", "info nowhere", "trian",
    "quickstart --out taken", "train none.csv --dry-run", "generate nowhere -n 0",
    "generate nowhere --temperature -1",
):
    sys.argv[1:] = words.split()
    try:
        keras_cvae_command.main()
    except SystemExit as end:
        fine = (0, None) if words.endswith(("--help", "--version", "presets")) else (1, 2)
        assert end.code in fine, (words, end.code)
    assert not {"keras", "jax", "sklearn", "matplotlib"} & set(sys.modules), words
assert "KERAS_CVAE_LAZY" not in os.environ
print("done")
""",
        cwd=tmp_path,
    )
    assert answer == "done"


def test_the_command_imports_a_light_keras_and_all_the_rest_later(tmp_path):
    answer = script(
        """
import os, sys
os.environ["KERAS_CVAE_LAZY"] = "1"
from keras_cvae import backend

backend.choose_backend()
backend.import_light_keras()
assert not {"sklearn", "matplotlib"} & set(sys.modules)
backend.import_light_keras()  # again: nothing happens
import keras, matplotlib.figure, sklearn.base

backend.import_light_keras()
print(sys.modules["sklearn"].base is sklearn.base, keras.Model.__name__)
""",
        KERAS_HOME=str(tmp_path),
    )
    assert answer == "True Model"
    assert (tmp_path / "keras.json").exists()
    assert choose(tmp_path) == "jax"  # the file that Keras writes is no choice


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND", "jax") != "jax", reason="JAX's cache")
def test_the_command_keeps_compiled_programs_in_the_users_cache(tmp_path):
    text = """
import os
os.environ["KERAS_CVAE_LAZY"] = "1"
from keras_cvae import backend

backend.prepare_command()
import jax

jax.jit(lambda x: x + 1)(1.0)
print(jax.config.jax_compilation_cache_dir)
"""
    users = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}  # not this machine's own
    kept = Path(script(text, **users))
    assert kept.is_relative_to(tmp_path)
    assert "keras-cvae" in kept.parts
    assert len(list(kept.iterdir())) >= 1
    own = tmp_path / "own"
    assert script(text, JAX_COMPILATION_CACHE_DIR=str(own)) == str(own)
    assert len(list(own.iterdir())) >= 1
    none = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "none")}
    script(text, JAX_ENABLE_COMPILATION_CACHE="0", **none)
    assert not (tmp_path / "none").exists()


def test_ctrl_c_while_the_command_imports_what_it_needs_ends_in_words(monkeypatch, capsys):
    import keras_cvae_command
    from keras_cvae.cli import main

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "main", interrupted)
    monkeypatch.setattr(keras_cvae_command.os, "_exit", sys.exit)
    monkeypatch.delenv("KERAS_CVAE_LAZY", raising=False)
    with pytest.raises(SystemExit) as end:
        keras_cvae_command.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "\nStopped.\n"
