"""The pages are true: quoted code, links, translations."""

import re

import pytest

import handbook
from handbook import DOCS, ROOT

PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page):
    """What a link may point to on a page."""
    return {handbook.heading_id(h) for h in re.findall(r"^#+ (.*)$", page.read_text(), re.M)}


@pytest.mark.parametrize("page", [DOCS / "theory.md", DOCS / "zh" / "theory.md"], ids=str)
def test_equations_link_to_the_line_that_computes_them(page):
    quotes = handbook.quotes(page)
    assert len(quotes) == page.read_text().count("](../" + "../" * (page.parent != DOCS) + "src/")
    assert len(quotes) > 10
    for line, name, link in quotes:
        source = handbook.source_of(name, (page.parent / link).resolve())
        assert source, f"{page.name}: no {name} in {link}"
        assert line in [part.strip() for part in source.splitlines()], f"{name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_what_is_there(page):
    for path, anchor in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in anchors(there), f"{page.name}: no heading {path}#{anchor}"


@pytest.mark.parametrize(("english", "chinese"), list(handbook.translations()), ids=str)
def test_a_translation_is_of_the_page_as_it_is(english, chinese):
    assert handbook.noted(chinese) == handbook.fingerprint(english), (
        f"{english.name} was changed after its translation. Translate what changed, then run "
        "`python tools/handbook.py translated`."
    )
    runs = ("python", "sh")
    assert handbook.blocks(chinese, *runs) == handbook.blocks(english, *runs)


def test_the_walk_throughs_are_of_the_code_as_it_is():
    lines, files = [], {}
    for block in handbook.blocks(DOCS / "design.md", "diff"):
        for line in block.splitlines():
            if line.startswith("+++ b/"):
                lines = files.setdefault(line.removeprefix("+++ b/"), [])
            else:
                lines.append(line[1:])
    assert len(files) > 10
    for name, quoted in files.items():
        text = (ROOT / name).read_text().splitlines()
        assert [line for line in quoted if line not in text] == [], name
