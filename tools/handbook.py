"""What the pages under `docs/` are made of: translations, quoted code, blocks that run.

    python tools/handbook.py translated        # every Chinese page is up to date: note its source
    python tools/handbook.py tutorials [NAME]  # run them, and keep what they print and draw

A Chinese page `docs/zh/PAGE.md` begins with a comment that holds the hash of `docs/PAGE.md`; the
tests fail where the English page was changed since. So does `README.zh-CN.md` for `README.md`.
"""

import ast
import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTE = re.compile(r"<!-- translated from [\w./-]+ at (\w+) -->\n")
QUOTE = re.compile(r"(?:In code: |代码：)`(.+)` \(\[`([\w.]+)`\]\(([^)]+)\)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
OUTPUT = DOCS / "tutorials" / "output"  # what each script printed and drew when it was recorded
CELL = "# %%"


class Quote(NamedTuple):
    """A line of code on a page: its text, the function's name, and its file as linked."""

    line: str
    name: str
    link: str


class Cell(NamedTuple):
    """A part of a tutorial: code, or a text in Markdown; the line that it begins at."""

    is_code: bool
    text: str
    line: int


def translations() -> Iterator[tuple[Path, Path]]:
    """Each translated page: the English one, and the Chinese one."""
    yield ROOT / "README.md", ROOT / "README.zh-CN.md"
    for chinese in sorted((DOCS / "zh").rglob("*.md")):
        yield DOCS / chinese.relative_to(DOCS / "zh"), chinese


def fingerprint(page: Path) -> str:
    """What tells one version of a page from another."""
    return hashlib.sha256(page.read_bytes()).hexdigest()[:16]


def noted(page: Path) -> str | None:
    """The version of its source that a translation says it was made from."""
    found = NOTE.match(page.read_text())
    return found and found[1]


def quotes(page: Path) -> list[Quote]:
    """The lines of code that a page says compute its equations."""
    return [Quote(*found) for found in QUOTE.findall(page.read_text())]


def source_of(name: str, path: Path) -> str | None:
    """The source of the function, the method or the class of that qualified name, or None."""
    text = path.read_text()
    body = ast.parse(text).body
    found = None
    for part in name.split("."):
        found = next((node for node in body if getattr(node, "name", None) == part), None)
        if found is None:
            return None
        body = getattr(found, "body", [])
    return ast.get_source_segment(text, found) if found else None


def heading_id(words: str) -> str:
    """What a heading is linked to by, as GitHub makes it and as the site has it."""
    return re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")


def blocks(page: Path, *languages: str) -> list[str]:
    """The page's blocks of code in these languages, in order."""
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def note_translations() -> None:
    """Write into every Chinese page which version of the English one it is of."""
    for english, chinese in translations():
        note = f"<!-- translated from {english.name} at {fingerprint(english)} -->\n"
        chinese.write_text(note + NOTE.sub("", chinese.read_text(), count=1))


def cells(script: Path) -> list[Cell]:
    """The cells of a `py:percent` script."""
    found, line = [], 2
    for part in re.split(rf"^(?={CELL})", script.read_text(), flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        is_code = "[markdown]" not in head
        text = body if is_code else re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append(Cell(is_code, text, line))
        line += part.count("\n")
    return found


def run_tutorial(script: Path) -> tuple[list[str], dict[str, Any]]:
    """Run a tutorial in this process: what each of its cells printed, and the names it leaves."""
    import keras_cvae  # noqa: F401  before Keras

    import keras  # isort: skip

    keras.utils.set_random_seed(0)
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    printed = []
    for cell in cells(script):
        out = io.StringIO()
        if cell.is_code:
            code = compile("\n" * (cell.line - 1) + cell.text, str(script), "exec")
            with contextlib.redirect_stdout(out):
                exec(code, names)
        printed.append(out.getvalue())
    return printed, names


def recorded(script: Path) -> list[str]:
    """What each cell of a tutorial printed when it was recorded."""
    return (OUTPUT / f"{script.stem}.txt").read_text().split(f"{CELL}\n")[1:]


def record_tutorials(names: list[str]) -> None:
    """Run the tutorials of these names, or all, and keep what they print and draw for the site."""
    OUTPUT.mkdir(exist_ok=True)
    for script in TUTORIALS:
        if names and script.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"MPLBACKEND": "agg"}
            ran = [sys.executable, "-W", "ignore", __file__, "run", str(script)]
            done = subprocess.run(ran, cwd=folder, env=environment, stdout=subprocess.PIPE)
            if done.returncode:
                sys.exit(f"{script.name} failed.")
            for old in OUTPUT.glob(f"{script.stem}-*.png"):
                old.unlink()
            (OUTPUT / f"{script.stem}.txt").write_bytes(done.stdout)
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, OUTPUT / f"{script.stem}-{picture.name}")
        print(script.name, flush=True)


if __name__ == "__main__":
    task, *names = sys.argv[1:] or [""]
    if task == "translated":
        note_translations()
    elif task == "tutorials":
        record_tutorials(names)
    elif task == "run":
        print(end="".join(f"{CELL}\n{text}" for text in run_tutorial(Path(names[0]))[0]))
    else:
        sys.exit(__doc__)
