"""Every block of code on every page runs, and so does the wheel in an empty environment."""

import re
import runpy
import shlex
import subprocess
import sys
import venv

import matplotlib
import numpy as np
import pytest
from typer.testing import CliRunner

import handbook
from handbook import DOCS, ROOT

PAGES = [ROOT / "README.md", DOCS / "usage.md", *sorted((DOCS / "howto").glob("*.md"))]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with the small table that pages speak of."""
    import pandas as pd

    rng = np.random.default_rng(0)
    age, rich = rng.integers(18, 80, 400), rng.random(400) < 0.3
    table = pd.DataFrame({"age": age, "income": np.where(rich, ">50K", "<=50K")})
    table["hours"] = rng.integers(20, 60, 400)
    table.to_csv(tmp_path / "adult.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, folder):
    from keras_cvae.cli.main import app

    names = {}
    if page.parent.name == "howto" and page.stem != "index":
        exec("\n".join(handbook.blocks(page.parent / "index.md", "python")), names)
    for code in handbook.blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)
    for line in "\n".join(handbook.blocks(page, "sh")).splitlines():
        command, *words = shlex.split(line, comments=True) or [""]
        if command:
            assert command == "cvae", line
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.slow
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.stem)
def test_a_tutorial_runs(script, folder):
    matplotlib.use("agg")
    runpy.run_path(str(script), run_name="__main__")


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", ROOT],
        check=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert wheel.name.startswith(f"keras_cvae-{version[1]}-")
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    pins = ROOT / "constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", pins, wheel], check=True)
    clean = {"PATH": str(python.parent), "HOME": str(tmp_path)}
    drawn = subprocess.run(
        [python.parent / "cvae", "generate", "mnist-dense", "-c", "2", "-o", "two.png"],
        cwd=tmp_path,
        env=clean,
        check=True,
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "two.png").exists(), drawn.stdout
