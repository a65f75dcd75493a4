"""Every block of code on every page runs, and so does the wheel in an empty environment."""

import re
import shlex
import subprocess
import sys
import venv

import matplotlib
import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import handbook
from handbook import DOCS, ROOT

PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if "zh" not in page.parts),
]
PAGES = [page for page in PAGES if handbook.blocks(page, "python", "sh")]
EVERY = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
COMMAND = re.compile(r"^(?: {4})?(cvae .*)$|`(cvae [^`\n]+)`", re.MULTILINE)

# What the words of each tutorial say of what it prints and draws, of the names that it leaves.
CLAIMS = {
    "complete_a_picture": lambda n: n["np"].array_equal(
        n["completed"][0][n["held"]], n["digits"][0][n["held"]]
    ),
    "draw_a_two": lambda n: n["losses"][-1] < n["losses"][0] - 10 and right(n["sevens"], 7) == 1,
    "inference": lambda n: min(n["held_out"].chi_square()) > 0.001,
    "missing_labels": lambda n: (
        n["right"].mean() > 0.9 and n["right"][n["sure"]].mean() > n["right"].mean()
    ),
    "my_pictures": lambda n: n["data"].class_names == ("circle", "stroke"),
    "notebook": lambda n: (
        n["without"]["loss"] - n["with_label"]["loss"] > 2.3
        and right(n["cvae"].generate(2, 50, seed=0), 2) > 0.9
    ),
    "numbers_and_angles": lambda n: (
        n["off"].mean() < 2 and abs(n["measured"][:, 1].mean() - 1.2) < 0.05
    ),
    "outliers": lambda n: (
        (n["found"]["normal"] < 0.05).mean() < 0.12 < 0.99 < (n["found"]["noise"] < 0.05).mean()
    ),
    "own_networks": lambda n: (
        n["truth"]
        > n["laplace"].log_prob(n["test"], n["at"], 50).mean
        > n["gaussian"].log_prob(n["test"], n["at"], 50).mean
    ),
    "several_machines": lambda n: n["found"].mean > -24,
    "ship": lambda n: n["written"].difference <= 1e-5 and n["served"].shape == (10, 28, 28, 1),
    "table": lambda n: (
        n["rare"].leaves.all() and abs(n["rare"].calls.mean() - n["real"].calls.mean()) < 0.5
    ),
}


def right(pictures, label):
    """The share of 8x8 pictures that a classifier takes for that digit."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    x, y = load_digits(return_X_y=True)
    judge = SVC(gamma=0.001).fit(x, y)
    return (judge.predict(16 * pictures.reshape(-1, 64).clip(0, 1)) == label).mean()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with the small table that pages speak of."""
    import pandas as pd

    rng = np.random.default_rng(0)
    age, rich = rng.integers(18, 80, 400), rng.random(400) < 0.3
    table = pd.DataFrame({"age": age, "income": np.where(rich, ">50K", "<=50K")})
    table["sex"] = rng.choice(["Female", "Male"], 400)
    table["education"] = rng.choice(["Bachelors", "Masters", "Doctorate"], 400)
    table.to_csv(tmp_path / "adult.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_page_are_understood(page):
    from keras_cvae.cli.main import app

    for found in COMMAND.findall(page.read_text()):
        _, name, *words = shlex.split("".join(found), comments=True)
        if name.startswith("-"):
            continue
        try:
            words = ["2" if word == "N" else word for word in words]
            get_command(app).commands[name].make_context(name, words)
        except Exception as error:
            # "`cvae train` does this", "`cvae train --seeds` does that"
            if type(error).__name__ not in ("MissingParameter", "BadOptionUsage"):
                raise


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
@pytest.mark.parametrize("script", handbook.TUTORIALS, ids=lambda script: script.stem)
def test_a_tutorial_runs_and_what_it_says_is_true(script, folder, monkeypatch):
    from keras_cvae.probability.likelihoods.base import LIKELIHOODS

    monkeypatch.setattr(LIKELIHOODS, "classes", dict(LIKELIHOODS.classes))  # one adds its own
    matplotlib.use("agg")
    printed, names = handbook.run_tutorial(script)
    assert [bool(text) for text in printed] == [bool(t) for t in handbook.recorded(script)]
    assert CLAIMS[script.stem](names)
    for picture in handbook.OUTPUT.glob(f"{script.stem}-*.png"):
        assert (folder / picture.name.removeprefix(f"{script.stem}-")).exists()


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
