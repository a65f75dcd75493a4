"""The page in a real browser, as somebody uses it."""

import base64
import io
import re

import keras
import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_cvae import trees
from keras_cvae.inference import drawing
from keras_cvae.inference.steps import Snapshot
from keras_cvae.studio import writing
from keras_cvae.studio.walking import some_conditions
from pages import made, parametrized, until

THREE = [(90, 70), (130, 50), (165, 75), (160, 110), (120, 128), (165, 150), (160, 190), (90, 195)]
SEVEN = [(80, 60), (170, 60), (120, 200)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Write the page of a model, once."""
    folder, written = tmp_path_factory.mktemp("pages"), {}

    def page(name):
        if name not in written:
            model = made(name)
            path = writing.write_page(model, folder / f"{name}.html", name=f"<{name}>")
            written[name] = path, model
        return written[name]

    return page


def stroke(page, points, selector=".pad"):
    box = page.locator(selector).bounding_box()
    places = [
        (box["x"] + x / 255 * box["width"], box["y"] + y / 255 * box["height"]) for x, y in points
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    settle(page)


def settle(page):
    """Wait until what was changed is shown."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def shown(page, selector=".tile canvas"):
    """What is on canvases, as text."""
    return page.eval_on_selector_all(selector, "all => all.map(one => one.toDataURL())")


def states(page, *names):
    return page.evaluate("names => names.map(name => studio.state[name])", list(names))


def canonical(y, row, condition):
    """A canonical condition as the page has it."""
    kind = condition["kind"]
    if kind == "none":
        return None
    if kind == "joint":
        return {name: canonical(y[name], row, part) for name, part in condition["parts"].items()}
    if kind == "optional":
        return canonical(y, row, condition["part"])
    if kind == "categorical":
        return {str(int(y[row])): 1}
    if kind == "tags":
        return np.flatnonzero(y[row] > 0.5).tolist()
    if kind == "known_part":
        flat = y[row].ravel()
        return {
            "known": (~np.isnan(flat)).astype(int).tolist(),
            "values": np.nan_to_num(flat).tolist(),
        }
    return np.atleast_1d(y[row]).tolist()


DAY = ("digits", "colour", "causal", "complete", "maps", "counts")


@pytest.mark.parametrize("name", parametrized(DAY))
def test_the_page_computes_what_keras_does(name, pages, opened):
    path, model = pages(name)
    page, n, rng = opened(path), 5, np.random.default_rng(7)
    about = page.evaluate("() => studio.model.about")
    y = some_conditions(model, n, rng)
    noise = rng.standard_normal((n, model.latent_dim)).astype("float32")
    inputs = {"noise": noise} | ({} if y is None else {"condition": y})
    x = Snapshot(model).whole(drawing.means, inputs, n).reshape(n, -1)
    found = page.evaluate(
        """([rows, noise]) => {
            const conditions = rows.map(row => row && row.known
                ? {known: row.known, values: Float32Array.from(row.values)} : row);
            return Array.from(studio.model.generate(conditions, Float32Array.from(noise)));
        }""",
        [[canonical(y, row, about["condition"]) for row in range(n)], noise.ravel().tolist()],
    )
    apart = np.abs(np.reshape(found, x.shape) - x).max() / max(1.0, x.std())
    assert apart < 0.01  # of rounded weights; those of float32 are exact to 2e-5


def test_log_p_is_that_of_the_library(pages, opened):
    path, model = pages("digits")
    page = opened(path)
    x = (np.random.default_rng(0).random((1, 28, 28, 1)) < 0.2).astype("float32")
    exact = model.log_prob(x, 4, num_samples=400, seed=0)
    nats, error = page.evaluate(
        "x => studio.model.logProb(Float32Array.from(x), {4: 1}, 400, 1)", x.ravel().tolist()
    )
    off = np.hypot(error, exact.standard_error[0])
    assert abs(nats - exact.log_prob[0]) < 5 * off + 0.01 * abs(nats)


@pytest.mark.further
@pytest.mark.parametrize("name", ["colour", "causal", "counts"])
def test_densities_are_those_of_the_library(name, pages, opened):
    path, model = pages(name)
    rng = np.random.default_rng(0)
    p = rng.normal(0, 1, (3, *model.likelihood.parameter_shape(model.x_shape))).astype("float32")
    uniforms = rng.random((3, *model.likelihood.uniforms_shape(model.x_shape))).astype("float32")
    distribution = model.likelihood.distribution(p)
    x = keras.ops.convert_to_numpy(distribution.sample(uniforms))
    exact = keras.ops.convert_to_numpy(distribution.log_prob(x))
    found = opened(path).evaluate(
        """([x, p]) => Array.from(
            studio.model.likelihood.logProb(Float32Array.from(x), Float32Array.from(p), 3))""",
        [x.ravel().tolist(), p.ravel().tolist()],
    )
    np.testing.assert_allclose(found, exact.ravel(), rtol=0.01)  # of rounded weights


@pytest.mark.further
def test_counts_are_drawn_as_the_library_draws_them(pages, opened):
    path, model = pages("counts")
    y = {"batch": [1], "size": [50.0]}
    exact = model.generate(y, 4000, seed=0, output="sample")
    found = opened(path).evaluate(
        """() => {
            const one = {batch: {1: 1}, size: [50]}, rows = [];
            for (let seed = 0; seed < 100; seed++) {
                const noise = Float32Array.from({length: 40 * studio.model.dim}, () => {
                    let sum = -6;
                    for (let k = 0; k < 12; k++) sum += Math.random();
                    return sum;
                });
                rows.push(...studio.model.generate(new Array(40).fill(one), noise, {sample: seed}));
            }
            return rows;
        }"""
    )
    found = np.reshape(found, exact.shape)
    assert np.array_equal(found, np.round(found))
    spread = np.sqrt(exact.var(axis=0) / len(exact))
    assert (np.abs(found.mean(axis=0) - exact.mean(axis=0)) < 7 * spread).all()
    assert np.allclose((found == 0).mean(axis=0), (exact == 0).mean(axis=0), atol=0.05)


def test_draw_and_all_classes_follow(pages, opened):
    path, _ = pages("digits")
    page = opened(path)
    before = shown(page)
    assert len(before) == 10
    stroke(page, THREE)
    first = shown(page)
    assert all(a != b for a, b in zip(before, first, strict=True))
    stroke(page, SEVEN)
    assert shown(page) != first
    page.click("text=Undo")
    settle(page)
    assert shown(page) == first
    until(page, "document.querySelector('.words').textContent.includes('log p(x | ')")
    assert re.search(r"The model reads \d", page.inner_text(".words"))
    page.select_option(".choice select", "8")  # it is a 7, says the user
    until(page, "document.querySelector('.words').textContent.includes('Read as 7')")
    assert page.locator(".tile.on").inner_text() == "7"
    page.click("text=Clear")
    settle(page)
    assert states(page, "strokes") == [[]]


def test_a_link_brings_the_same_picture_again(pages, opened):
    path, _ = pages("digits")
    page = opened(path)
    stroke(page, THREE)
    page.click(".tile >> nth=4")  # this hand, on the dial
    settle(page)
    page.keyboard.press("Tab")
    page.focus(".dial")
    for key in ("ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    settle(page)
    until(page, "location.hash.includes('y=5*0.7')")
    there = opened(page.url)
    assert shown(there, ".dial canvas") == shown(page, ".dial canvas")
    assert there.get_attribute(".dial", "aria-valuetext") == "70 % 5 + 30 % 6"
    there.click("#tab-hand")
    page.click("#tab-hand")
    settle(page), settle(there)
    assert shown(there) == shown(page)


def test_turn_mix_and_throw(pages, opened):
    path, _ = pages("digits")
    page = opened(path)
    page.keyboard.press("2")
    page.wait_for_selector(".dial")
    seen = {shown(page, ".dial canvas")[0]}
    box = page.locator(".dial").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(middle[0] + 0.42 * box["width"], middle[1], steps=5)
    page.mouse.up()
    settle(page)
    (weights,) = states(page, "y")
    assert set(weights) == {"2", "3"}  # a quarter of ten classes
    seen.add(shown(page, ".dial canvas")[0])
    page.get_by_label("Mix with").select_option(label="8")
    settle(page)
    (weights,) = states(page, "y")
    assert weights["8"] == 0.5
    assert sum(weights.values()) == pytest.approx(1)
    seen.add(shown(page, ".dial canvas")[0])
    page.keyboard.press("Tab")
    page.click("[aria-label='Another seed']")
    settle(page)
    seen.add(shown(page, ".dial canvas")[0])
    assert len(seen) == 4


def test_wander_in_the_plane_and_along_directions(pages, opened):
    for name in ("plane", "digits"):
        page = opened(pages(name)[0])
        page.click("#tab-land")
        settle(page)
        start = shown(page, ".main")
        box = page.locator(".plane").bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 260, steps=3)
        page.mouse.up()
        settle(page)
        dragged = shown(page, ".main")
        page.focus(".plane")
        page.keyboard.press("ArrowRight")
        settle(page)
        assert len({*start, *dragged, *shown(page, ".main")}) == 3
        if name == "digits":
            page.locator(".ends input").first.fill("2.5")
            settle(page)
            assert shown(page, ".main") != dragged
        page.click("text=Back to the middle")
        settle(page)
        assert page.evaluate("() => studio.state.style.every(v => v === 0)")


@pytest.mark.further
def test_complete_with_a_brush(pages, opened):
    path, _ = pages("complete")
    page = opened(path)
    page.click("text=nothing")
    settle(page)
    kept = shown(page)
    assert len(kept) == 10
    assert len(set(kept)) == 1  # everything is known
    stroke(page, [(60, 60), (190, 60), (190, 190)])
    ways = shown(page)
    assert len(set(ways)) == 10
    hole = np.array(page.evaluate("() => Array.from(studio.state.hole)")).reshape(9, 8)
    assert 0 < hole.sum() < hole.size
    x = np.array(
        page.evaluate(
            "() => Array.from(studio.pictures([{known: studio.state.hole.map(v => 1 - v), "
            "values: new Float32Array(72).fill(0.25)}], new Float32Array(3)))"
        )
    ).reshape(9, 8)
    assert (x[hole == 0] == 0.25).all()
    assert (x[hole == 1] != 0.25).all()
    page.click("text=bottom half")
    until(page, "document.querySelector('.words').textContent.includes('known) ≈')")
    page.click(".tile >> nth=3")  # one of the ways becomes the picture
    settle(page)
    assert page.evaluate("() => studio.state.picture.length") == 72


def test_controls_of_named_conditions(pages, opened):
    path, _ = pages("colour")
    page = opened(path)
    page.click("#tab-dial")
    start = states(page, "y")[0]
    page.click(".chip:text-is('dog')")
    page.click(".chip:text-is('tail')")
    page.locator(".part:has(legend:text-is('age')) input[type=range]").fill("1.5")
    page.focus(".dial")
    page.keyboard.press("ArrowRight")
    settle(page)
    (y,) = states(page, "y")
    assert start["kind"] == {"0": 1}
    assert y == {"kind": {"1": 1}, "age": [1.5], "hour": [0.2], "marks": [1]}
    page.locator(".part:has(legend:text-is('kind'))").get_by_label("unknown").check()
    settle(page)
    assert states(page, "y")[0]["kind"] is None
    page.get_by_label("Guidance").fill("2")
    settle(page)
    until(page, "location.hash.includes('g=2')")
    again = opened(page.url)
    assert states(again, "y", "guidance") == [states(page, "y")[0], 2]
    begun = page.evaluate(  # as it would be if the run recommended a guidance
        """() => {
            const about = { ...studio.model.about, drawing: { guidance: 3 } };
            const model = Object.assign(Object.create(studio.model), { about });
            const other = new studio.constructor(model);
            return [other.state.guidance, other.state.temperature, other.write().includes("g=")];
        }"""
    )
    assert begun == [3, 1, False]
    assert shown(again, ".main") == shown(page, ".main")


@pytest.mark.further
def test_pictures_are_opened_and_saved(pages, opened, tmp_path):
    Image.new("RGB", (70, 50), (220, 30, 30)).save(tmp_path / "red.png")
    page = opened(pages("colour")[0])
    before = shown(page)
    page.set_input_files("input[type=file]", tmp_path / "red.png")
    until(page, "studio.state.picture !== null")
    settle(page)
    assert shown(page) != before
    with page.expect_download() as download:
        page.click("text=Save PNG")
    with Image.open(download.value.path()) as saved:
        assert saved.size[0] > 200


@pytest.mark.further
def test_a_photo_of_a_digit_is_centred_and_scaled_as_mnist_is(pages, opened, tmp_path):
    photo = Image.new("L", (300, 200), 235)
    ImageDraw.Draw(photo).line([(40, 20), (90, 20), (60, 120)], fill=30, width=9)
    photo.save(tmp_path / "seven.jpg")
    page = opened(pages("digits")[0])
    page.set_input_files("input[type=file]", tmp_path / "seven.jpg")
    until(page, "studio.state.picture !== null")
    x = np.reshape(page.evaluate("() => Array.from(studio.state.picture)"), (28, 28)) / 255
    rows = np.flatnonzero((x > 0.3).any(axis=1))
    assert 19 <= np.ptp(rows) + 1 <= 22  # 20 pixels, and what smoothing adds
    assert x.sum(axis=1) @ (np.arange(28) + 0.5) / x.sum() == pytest.approx(14, abs=0.4)
    assert x.sum(axis=0) @ (np.arange(28) + 0.5) / x.sum() == pytest.approx(14, abs=0.4)
    assert x[:2].max() < 0.05  # the paper is black, as in the data


@pytest.mark.parametrize("name", ["maps", "counts", "signal", "direct"])
def test_other_models_get_a_page_that_suits_them(name, pages, opened):
    path, model = pages(name)
    page = opened(path)
    page.keyboard.press("Escape")
    tabs = page.eval_on_selector_all(".tabs button", "all => all.map(one => one.id)")
    assert ("tab-hand" in tabs) == (len(model.x_shape) == 3)
    assert ("tab-land" in tabs) == bool(model.latent_dim)
    for tab in tabs:
        page.click(f"#{tab}")
        settle(page)
    picture = shown(page, ".main, .dial canvas")[-1]
    pixels = Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))).convert("RGBA")
    assert len(pixels.getcolors(1 << 20)) > 1


def test_chinese_dark_and_phone(pages, opened):
    path, _ = pages("digits")
    page = opened(
        path,
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        locale="zh-CN",
        color_scheme="dark",
    )
    assert page.inner_text("#tab-hand") == "你的笔迹"
    for tab in ("hand", "dial", "land"):
        page.click(f"#tab-{tab}")
        settle(page)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(23, 22, 20)"
    page.click("text=English")
    assert page.inner_text("#tab-dial") == "Dial"
    page.click("text=About")
    assert "nothing is sent or fetched" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.click("[aria-label='Light or dark']")
    settle(page)
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != background


def test_a_finger_draws(pages, opened):
    path, _ = pages("digits")
    page = opened(path, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    before = shown(page)
    box = page.locator(".pad").bounding_box()
    client = page.context.new_cdp_session(page)
    for kind, place in (
        ("touchStart", 0.3),
        ("touchMove", 0.5),
        ("touchMove", 0.7),
        ("touchEnd", 0),
    ):
        at = {"x": box["x"] + place * box["width"], "y": box["y"] + place * box["height"]}
        client.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at] if place else []}
        )
    settle(page)
    assert shown(page) != before
    assert page.evaluate("() => scrollY") == 0


def test_the_keyboard_draws(pages, opened):
    page = opened(pages("digits")[0])
    page.focus(".pad")
    before = shown(page)
    for key in (" ", "ArrowDown", "ArrowDown", "ArrowDown", " "):
        page.keyboard.press(key)
    settle(page)
    assert shown(page) != before
    page.keyboard.press("u")
    settle(page)
    assert shown(page) == before


def test_garbage_in_a_link_does_no_harm(pages, opened):
    path, _ = pages("digits")
    garbage = "v=nothing&y=3*x~+++&seed=-4&t=99&e=@@&ink=AAAA&hole=!!&as=77777777"
    page = opened(f"{path.as_uri()}#{garbage}")
    assert page.locator(".tile").count() == 10
    stroke(page, SEVEN)
    assert page.evaluate("() => studio.pictures([studio.state.y]).every(isFinite)")


@pytest.mark.further
def test_conditions_are_counted_alike():
    y = some_conditions(made("colour"), 3, np.random.default_rng(0))
    assert trees.count(y) == 3
