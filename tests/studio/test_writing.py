"""The page as a file: whole, small, and refused in words where it cannot be."""

import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest

from keras_cvae import MLP, Baseline, Bounded, ConditionalVAE
from keras_cvae.conditions import Encoded, Image, KnownPart
from keras_cvae.runs.config import presets
from keras_cvae.studio import UnplayableError, write_page, writing
from keras_cvae.studio.packing import pack
from pages import made

HALF = [1, 1, 0, 0]


def test_a_page_asks_no_one_for_anything(tmp_path):
    path = write_page(
        made("plane"),
        tmp_path / "page.html",
        name="A <b> & c",
        card={"a": "</script>"},
        drawing={"guidance": 2.0},
    )
    page = path.read_text()
    assert "<title>A &lt;b&gt; &amp; c</title>" in page
    assert page.count("</script>") == 3
    assert "default-src 'none'" in page
    text = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(
        r"https?://|@import|\bfetch\(|XMLHttpRequest|WebSocket|importScripts", text
    )
    about = json.loads(re.search(r'id="model">(.*?)</script>', page)[1])
    assert about["card"] == {"a": "</script>"}
    assert about["drawing"] == {"guidance": 2.0}
    assert about["difference"]["picture"] < 0.01


def test_a_page_of_the_dense_preset_has_at_most_3_mb():
    """By the number of its weights: the bits of each hardly depend on training."""
    config, rng = presets()["dense"].config, np.random.default_rng(0)
    wide, dim, groups = config["units"][0], config["latent_dim"], config["groups"]
    sizes = [
        (794, wide),
        (wide, wide),
        (wide, 2 * dim),
        (dim + 10, wide),
        (wide, wide),
        (wide, 784),
    ]
    sizes += [(10 + dim // groups * g, 128) for g in range(groups)] + [(128, 2 * dim)]
    arrays = [rng.standard_normal(size).astype("float32") for size in sizes]
    assert len(pack(arrays).text) + len(writing.script()) + 60_000 < 3e6


def test_the_script_has_one_scope_for_each_module_and_no_imports():
    script = writing.script()
    assert not re.search(r"^(import|export) ", script, re.M)
    scopes = re.findall(r"^const (\$\w+) = \(\(\) => \{$", script, re.M)
    assert len(set(scopes)) == len(scopes) > 10
    used = set(re.findall(r"= (\$\w+);$", script, re.M))
    assert used <= set(scopes)


def test_both_languages_say_the_same_things():
    english, chinese = writing._read("words.js").split("  zh: {")
    assert "  en: {" in english
    said = [re.findall(r"^    (\w+):", part, re.M) for part in (english, chinese)]
    assert said[0] == said[1]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_javascript(tmp_path):
    path = tmp_path / "studio.mjs"
    path.write_text(writing.script())
    checked = subprocess.run(["node", "--check", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: ConditionalVAE((4, 4, 2), None, 2, backbone=MLP((3,))), r"\(4, 4, 2\)"),
        (
            lambda: ConditionalVAE(
                (2,), None, 2, likelihood=Bounded(0.0, [1.0, 2.0]), backbone=MLP((3,))
            ),
            "bounds",
        ),
        (
            lambda: ConditionalVAE(
                (4,), KnownPart((4,), HALF, Baseline((4,), condition=KnownPart((4,), HALF))), 2
            ),
            "cannot play a known part with a guess",
        ),
        (
            lambda: ConditionalVAE((4,), Image((4, 4, 1), MLP((3,))), 2, backbone=MLP((3,))),
            "no control for a condition",
        ),
        (
            lambda: ConditionalVAE(
                (4,),
                Encoded(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])),
                2,
                backbone=MLP((3,)),
            ),
            "no control for a condition",
        ),
    ],
)
def test_what_a_page_cannot_play_is_refused_in_words(model, why, tmp_path):
    with pytest.raises(UnplayableError, match=why):
        write_page(model(), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"end in \.html"):
        write_page(made("plane"), tmp_path / "page.png")
