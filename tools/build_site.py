"""Build the site: the handbook in English and Chinese, the reference, the command's pages.

    python tools/build_site.py [build/site]

The sources are pages of Markdown under `docs/` that GitHub shows as they are. Here links to code
become links to its text, formulas become MathML, scripts become pages with what they printed, and
the command's pages are made of its own help. A link that leads nowhere is an error.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ.setdefault("KERAS_CVAE_LAZY", "1")

from latex2mathml.converter import convert

import handbook
import keras_cvae
from handbook import DOCS, ROOT

NAV = {
    "en": [
        ("Home", "index.md"),
        ("Theory", "theory.md"),
        ("In use", ["usage.md", "leaving.md", "tables.md"]),
        ("How-to", "howto"),
        ("Tutorials", "tutorials"),
        ("Results", "results"),
        ("Reference", "reference"),
        ("Design", ["design.md", "code.md", "CONTRIBUTING.md", "CHANGELOG.md"]),
        ("中文", "zh/index.html"),
    ],
    "zh": [
        ("首页", "index.md"),
        ("理论", "theory.md"),
        ("常见问题", "howto"),
        ("English", "../index.html"),
    ],
}


def as_mathml(text: str) -> str:
    """Formulas between dollars as MathML, which browsers show without a script."""

    def written(found: re.Match[str], display: str) -> str:
        formula = found[1].strip().replace(r"\log ", r"\log\, ")
        shown = convert(formula, display=display).replace("\n", "")
        shown = shown.replace("<mi>&#x00045;</mi>", '<mi mathvariant="normal">E</mi>')  # a mean
        # Markdown takes a line that begins with <math> for a block of its own.
        return f"<span>{shown}</span>" if display == "inline" else shown

    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(
            r"\$\$(.+?)\$\$", lambda m: written(m, "block"), parts[i], flags=re.DOTALL
        )
        parts[i] = re.sub(r"\$([^$\n]+?)\$", lambda m: written(m, "inline"), parts[i])
    return "".join(parts)


def anchor(name: str) -> str:
    """The heading of a function on the page of code."""
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-")


class Pages:
    """The sources of one language, as the site's generator takes them."""

    def __init__(self, language: str, folder: Path):
        self.language, self.folder = language, folder
        self.root = DOCS / "zh" if language == "zh" else DOCS
        self.quoted: dict[str, tuple[str, str]] = {}

    def write(self) -> None:
        """Write all pages, and the pictures that they show."""
        for page in sorted(self.root.rglob("*.md")):
            if self.language == "zh" or "zh" not in page.relative_to(DOCS).parts:
                self.add(page.relative_to(self.root), page.read_text(), page.parent)
        home = ROOT / ("README.zh-CN.md" if self.language == "zh" else "README.md")
        self.add(Path("index.md"), home.read_text(), ROOT)
        if self.language == "zh":
            return
        for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
            self.add(Path(name), (ROOT / name).read_text(), ROOT)
        for picture in sorted([*DOCS.rglob("*.png"), *DOCS.rglob("*.svg")]):
            self.copy(picture, picture.relative_to(DOCS))
        self.copy(ROOT / "CITATION.cff", Path("CITATION.cff"))
        self.copy(ROOT / "LICENSE", Path("LICENSE"))
        for script in handbook.TUTORIALS:
            self.add(Path("tutorials") / f"{script.stem}.md", tutorial(script), script.parent)
        self.add(Path("reference/api.md"), reference(), DOCS / "reference")
        self.add(Path("reference/command.md"), commands(), DOCS / "reference")

    def add(self, name: Path, text: str, base: Path) -> None:
        """Write a page whose links are relative to the folder `base` of the repository."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = handbook.NOTE.sub("", text, count=1)
        for line, function, link in handbook.QUOTE.findall(text):
            source = (base / link).resolve()
            self.quoted[function] = (str(source.relative_to(ROOT)), line)
        parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
        for i in range(0, len(parts), 2):
            parts[i] = re.sub(
                r"(\[`?([\w.]*)[^\]]*\])\(([^)\s]+)\)",
                lambda m: f"{m[1]}({self.link(m[3], m[2], base, name.parent)})",
                parts[i],
            )
            parts[i] = re.sub(
                r"^(#+ )([^{\n]+)$",
                lambda m: f"{m[1]}{m[2]} {{#{handbook.heading_id(m[2])}}}",
                parts[i],
                flags=re.MULTILINE,
            )
        path.write_text(as_mathml("".join(parts)))

    def link(self, target: str, words: str, base: Path, where: Path) -> str:
        """Where a link of the repository leads to on the site."""
        path, _, heading = target.partition("#")
        if not path or "://" in path:
            return target
        there = (base / path).resolve()
        zh = self.language == "zh"
        if there.is_relative_to(ROOT / "src"):
            to, heading = Path("code.md"), anchor(words)
        elif there in (ROOT / "README.md", ROOT / "README.zh-CN.md"):
            to = Path("zh/index.md" if there.stem.endswith("CN") else "index.md")
        elif there.is_relative_to(DOCS):
            to = there.relative_to(DOCS)
            to = to.with_suffix(".md") if to.suffix == ".py" else to
        else:
            to = there.relative_to(ROOT)
        here = Path("zh") / where if zh else where
        written = Path(os.path.relpath(to, here))
        if zh != ("zh" in to.parts[:1]) and written.suffix == ".md":  # of the other site
            written = written.with_suffix(".html")
        return f"{written}{'#' * bool(heading)}{heading}"

    def copy(self, source: Path, name: Path) -> None:
        """Copy a picture as it is."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.folder / name)

    def code(self, quoted: dict[str, tuple[str, str]]) -> None:
        """The functions that pages quote, with the quoted lines marked."""
        text = ["# Code\n\nThe functions that the theory page quotes; the quoted line is marked.\n"]
        for name, (path, line) in sorted(quoted.items()):
            source = handbook.source_of(name, ROOT / path) or ""
            lines = source.splitlines()
            marked = 1 + next(i for i, text in enumerate(lines) if text.strip() == line)
            text.append(f"\n## {name} {{#{anchor(name)}}}\n\n`{path}`\n")
            text.append(f'\n```python hl_lines="{marked}"\n{source}\n```\n')
        (self.folder / "code.md").write_text("".join(text))

    def config(self) -> Path:
        """Write the generator's configuration; returns its path."""

        def entries(items: object) -> list[str]:
            if isinstance(items, str):
                found = sorted((self.folder / items).glob("*.md"))
                found.sort(key=lambda page: page.stem != "index")
                return [str(page.relative_to(self.folder)) for page in found]
            return list(items)  # type: ignore[call-overload]

        nav = []
        for title, item in NAV[self.language]:
            if isinstance(item, str) and item.endswith((".md", ".html")):
                nav.append(f'{{ "{title}" = "{item}" }}')
            else:
                nav.append(f'{{ "{title}" = [{", ".join(f"{e!r}" for e in entries(item))}] }}')
        text = CONFIG.format(
            source=self.folder.name,
            site=f"site-{self.language}",
            language=self.language,
            nav=",\n  ".join(nav),
            src=ROOT / "src",
        )
        path = self.folder.parent / f"{self.language}.toml"
        path.write_text(text)
        return path


CONFIG = """[project]
site_name = "keras-cvae"
docs_dir = "{source}"
site_dir = "{site}"
use_directory_urls = false
nav = [
  {nav}
]
[project.theme]
language = "{language}"
font = false
features = ["content.code.copy", "navigation.indexes", "navigation.top", "search.highlight"]
[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"
[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"
[project.markdown_extensions]
attr_list = {{}}
md_in_html = {{}}
toc.permalink = true
toc.toc_depth = 3
pymdownx.highlight.pygments_lang_class = true
pymdownx.superfences = {{}}
pymdownx.inlinehilite = {{}}
tables = {{}}
[project.plugins.mkdocstrings.handlers.python]
paths = ["{src}"]
[project.plugins.mkdocstrings.handlers.python.options]
docstring_style = "google"
show_source = false
show_root_heading = true
show_root_full_path = false
show_symbol_type_heading = false
members_order = "source"
merge_init_into_class = true
heading_level = 3
"""


def tutorial(script: Path) -> str:
    """A script of cells as a page: below each cell, what it printed and drew."""
    page = []
    for cell, printed in zip(handbook.cells(script), handbook.recorded(script), strict=True):
        text, printed = cell.text.strip().replace("  # isort: skip", ""), printed.strip("\n")
        page.append(f"```python\n{text}\n```\n" if cell.is_code else f"{text}\n")
        if printed:
            page.append(f'```text title="Output"\n{printed}\n```\n')
        for picture in re.findall(r'"([\w-]+\.png)"', cell.text):
            page.append(f"![{picture}](output/{script.stem}-{picture})\n")
    page.append(f"The script: `docs/tutorials/{script.name}`.\n")
    return "\n".join(page)


def reference() -> str:
    """Every public name, by the folder that it comes from."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, module in keras_cvae._EXPORTS.items():
        groups[module.split(".")[0]].append(f"keras_cvae.{module}.{name}")
    groups["models"][1:1] = ["keras_cvae.models.training.Training", "keras_cvae.models.verbs.Verbs"]
    groups["models"].append("keras_cvae.models.tables.learning.Learning")
    groups["sklearn"] = ["keras_cvae.sklearn"]
    text = ["# Reference\n\nEvery public name; all but the estimators come from `keras_cvae`.\n"]
    text.append(
        "The examples are run by the tests, after `from keras_cvae import ConditionalVAE, ...` and "
        "`import numpy as np`; `model`, `x` and `y` are those of `ConditionalVAE`'s own.\n"
    )
    for group, names in groups.items():
        text.append(f"\n## {group}\n")
        text += [f"\n::: {name}\n" for name in names]
    return "".join(text)


def commands() -> str:
    """The pages of `cvae`, made of what `--help` is made of."""
    from typer.main import get_command

    from keras_cvae.cli.main import app

    group = get_command(app)
    text = [f"# The command `cvae`\n\n{group.help or ''}\n"]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        text.append(f"\n## cvae {name}\n\n{command.help}\n\n    cvae {name} {usage}\n")
        rows = []
        for parameter in command.params:
            if getattr(parameter, "hidden", False) or parameter.name == "help":
                continue
            flags = ", ".join(f"`{flag}`" for flag in parameter.opts + parameter.secondary_opts)
            words = " ".join((getattr(parameter, "help", "") or "").split())
            rows.append(f"| {flags} | {html.escape(words).replace('|', chr(92) + '|')} |")
        if rows:
            text.append("\n| argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(text)


class Links(HTMLParser):
    """Ids on a page, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the ids and links of one tag."""
        for name, value in attrs:
            if value and name == "id":
                self.ids.add(value)
            if value and (tag, name) in (("a", "href"), ("img", "src")):
                self.targets.append(value)


def broken(site: Path) -> list[str]:
    """Links of the site that lead to no page, no file or no heading of it."""
    pages: dict[Path, Links] = {}
    for page in site.rglob("*.html"):
        pages[page.resolve()] = Links()
        pages[page.resolve()].feed(page.read_text())
    wrong = []
    for page, links in pages.items():
        if page.name == "404.html":
            continue
        for target in links.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            there = (page.parent / unquote(url.path)).resolve() if url.path else page
            there = there / "index.html" if there.is_dir() else there
            heading = unquote(url.fragment)
            known = pages[there].ids if there in pages else set()
            if not there.exists() or (heading and there.suffix == ".html" and heading not in known):
                wrong.append(f"{page.relative_to(site.resolve())}: {target}")
    return sorted(set(wrong))


def main(site: str = "build/site") -> None:
    """Build both languages, then follow every link."""
    target = Path(site).resolve()
    work = target.parent / "site-source"
    for folder in (target, work):
        shutil.rmtree(folder, ignore_errors=True)
    languages = {name: Pages(name, work / name) for name in NAV}
    for pages in languages.values():
        pages.write()
    languages["en"].code({n: q for pages in languages.values() for n, q in pages.quoted.items()})
    for name, pages in languages.items():
        zensical = [sys.executable, "-m", "zensical", "build", "-f", str(pages.config())]
        subprocess.run(zensical, check=True, cwd=work, timeout=120)
        shutil.move(work / f"site-{name}", target / "zh" if name == "zh" else target)
    if wrong := broken(target):
        sys.exit("Links that lead nowhere:\n" + "\n".join(wrong))
    print(f"{target / 'index.html'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
