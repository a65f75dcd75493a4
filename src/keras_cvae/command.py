"""How the command is typed that runs in this process."""

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """The command's name where the shell finds it by that; else its path, as a shell takes it."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py" and path.parent.name == "keras_cvae":
        return shlex.join([_near(Path(sys.executable)), "-m", "keras_cvae"])
    if path.stem != "cvae" or not path.is_file():
        return "cvae"
    found = shutil.which("cvae")
    return "cvae" if found and path.samefile(found) else shlex.quote(_near(path))


def line(*words: object) -> str:
    """A command line to be typed: the command, then these words."""
    return f"{program()} {shlex.join(map(str, words))}"


def _near(path: Path) -> str:
    """The path as it is, or relative to where we are if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
