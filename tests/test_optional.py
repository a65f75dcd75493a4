"""Without what is optional: everything else works, and says what to install for the rest."""

import os
import subprocess
import sys

import pytest

OPTIONAL = ("pandas", "pyarrow", "onnx", "jax2onnx", "onnxruntime", "fastapi", "uvicorn")
OPTIONAL += ("prometheus_client",)
WITHOUT = f"import sys\nsys.modules |= dict.fromkeys({OPTIONAL})\n"  # None: as if not installed


def without(script, cwd, *words):
    """Run Python where nothing optional is installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + script, *map(str, words)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200", "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )


COMMANDS = """
import contextlib
from keras_cvae.cli import main

for words in sys.argv[1].split(";"):
    sys.argv = ["cvae", *words.split()]
    with contextlib.suppress(SystemExit):
        main.main()
    print("----", file=sys.stderr)

import keras_cvae

for name in ("keras_cvae.TableCVAE", "keras_cvae.export(keras_cvae.load('small.keras'), 'm.onnx')"):
    try:
        eval(name)
    except ImportError as error:
        print(error, "----", sep="\\n", file=sys.stderr)
"""


@pytest.mark.further
def test_every_command_and_name_works_or_says_what_to_install(small, tmp_path):
    small(x_shape=(4, 4, 1)).save(tmp_path / "small.keras")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    typed = {
        "--help": "",
        "presets": "",
        "info digits": "",
        "generate small.keras -c 2 -o two.png": "",
        "studio small.keras -o page.html": "",
        "train rows.csv": "keras-cvae[tables]",
        "info rows.csv": "keras-cvae[tables]",
        "export small.keras -o m.onnx": "keras-cvae[export]",
        "serve small.keras": "keras-cvae[serve]",
    }
    said = without(COMMANDS, tmp_path, ";".join(typed))
    assert "Traceback" not in said.stderr, said.stderr
    *answers, table, export, end = said.stderr.split("----\n")
    assert "pip install 'keras-cvae[tables]'" in table
    assert "pip install 'keras-cvae[export]'" in export
    assert not end
    for (words, needed), answer in zip(typed.items(), answers, strict=True):
        assert ("Error" in answer) == bool(needed), (words, answer)
        assert needed in answer, (words, answer)
    assert (tmp_path / "two.png").is_file()
    assert (tmp_path / "page.html").is_file()
