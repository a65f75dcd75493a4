"""Pixels where they belong, files whole or absent, errors in the caller's words."""

import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from PIL import Image
from sklearn.datasets import load_digits

from keras_cvae.figures import charts, lines, sheets, style, tables, terminal, writing


@pytest.fixture(scope="module")
def digits():
    """(20, 8, 8, 1) in [0, 1]."""
    return (load_digits().images[:20, ..., None] / 16).astype("float32")


def drawn(figure: Figure) -> np.ndarray:
    """The (H, W, 3) array a figure of images holds."""
    return np.asarray(figure.axes[0].images[0].get_array())


def read(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def tile(image, scale: int) -> np.ndarray:
    """The colour tile that an (h, w, 1) float image becomes."""
    return np.rint(image * 255).astype("uint8").repeat(scale, 0).repeat(scale, 1).repeat(3, 2)


def within_page(figure: Figure) -> bool:
    """Whether nothing sticks out of the page."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


# --- sheets of images -----------------------------------------------------------------------------


def test_image_grid_fills_rows_and_leaves_the_rest_white(digits):
    canvas = drawn(sheets.image_grid(digits[:5], columns=3))
    assert canvas.shape == (64 * 2 + 2, 64 * 3 + 4, 3)
    np.testing.assert_array_equal(canvas[:64, 66:130], tile(digits[1], 8))
    np.testing.assert_array_equal(canvas[66:, :64], tile(digits[3], 8))
    assert (canvas[66:, 132:] == 255).all()
    assert (canvas[64:66] == 255).all()


def test_image_grid_takes_rows_and_columns(digits):
    images = digits[:6].reshape(2, 3, 8, 8, 1)
    figure = sheets.image_grid(
        images,
        row_labels=[0, 1],
        column_labels=["a", "$b$", "a name too long for a tile"],
        title="T",
        caption="A caption. " * 20,
    )
    np.testing.assert_array_equal(drawn(figure), drawn(sheets.image_grid(digits[:6], columns=3)))
    assert {"0", "1", "a", "$b$", "T"} <= set(words(figure))
    assert within_page(figure)


def test_saved_sheets_keep_every_pixel(digits, tmp_path):
    figure = sheets.image_grid(digits[:2], row_labels=["row"], title="title", caption="caption")
    writing.save(figure, tmp_path / "grid.png")
    page = read(tmp_path / "grid.png")[..., :3]
    canvas = drawn(figure)
    height, width = canvas.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(page, (height, width), axis=(0, 1))
    exact = (windows[..., ::7, ::7] == canvas.transpose(2, 0, 1)[:, ::7, ::7]).all((2, 3, 4))
    assert exact.sum() == 1
    (y,), (x,) = exact.nonzero()
    np.testing.assert_array_equal(page[y : y + height, x : x + width], canvas)


def test_uint8_bool_and_clipped_floats_draw_alike():
    image = np.zeros((1, 4, 4, 1))
    image[:, 1:3] = 1
    reference = drawn(sheets.image_grid(image))
    for same in (image.astype(bool), (image * 255).astype("uint8"), image * 9 - 4, image == 1):
        np.testing.assert_array_equal(drawn(sheets.image_grid(same)), reference)


def test_large_images_keep_their_pixels():
    figure = sheets.image_grid(np.zeros((8, 256, 256, 3)))
    assert drawn(figure).shape[1] == 8 * 256 + 7 * 2
    assert figure.get_figwidth() < 8


def test_reconstructions_stand_below_their_originals(digits):
    figure = sheets.reconstructions(digits, 1 - digits)
    canvas = drawn(figure)
    np.testing.assert_array_equal(canvas[:64, 66:130], tile(digits[1], 8))
    np.testing.assert_array_equal(canvas[66:130, 66:130], tile(1 - digits[1], 8))
    np.testing.assert_array_equal(canvas[-130:-66, :64], tile(digits[10], 8))
    assert words(figure).count("model") == 2


def test_manifold_reads_like_a_plot(digits):
    images = digits.reshape(4, 5, 8, 8, 1)
    figure = sheets.manifold(images, [-1, 0, 1, 2], column_values=np.linspace(0.1, 0.9, 5))
    canvas, side = drawn(figure), drawn(figure).shape[0] // 4
    assert canvas.shape == (4 * side, 5 * side, 3)
    np.testing.assert_array_equal(canvas[-side:, :side], tile(images[0, 0], side // 8))
    np.testing.assert_array_equal(canvas[:side, :side], tile(images[-1, 0], side // 8))
    np.testing.assert_array_equal(canvas[-side:, -side:], tile(images[0, -1], side // 8))
    heights = {t.get_text(): t.get_position()[1] for t in figure.axes[0].texts}
    assert heights["2.0"] < heights["−1.0"]  # y grows downwards on a sheet
    assert heights["2.0"] == side / 2
    assert {"0.1", "0.9", "$z_1$", "$z_2$"} <= set(heights)
    assert within_page(figure)


def test_a_sweep_of_one_dimension_has_one_axis(digits):
    figure = sheets.manifold(
        digits[:4][None], [0.0], column_values=np.arange(4.0), axis_labels=("$z_1$", "")
    )
    assert [text for text in words(figure) if "z_" in text] == ["$z_1$"]


def test_manifold_ticks_do_not_collide(digits):
    figure = sheets.manifold(np.tile(digits[0], (40, 40, 1, 1, 1)), np.linspace(-3, 3, 40) / 700)
    labels = [t for t in figure.axes[0].texts if t.get_ha() == "center" and "$" not in t.get_text()]
    boxes = [text.get_window_extent() for text in labels]
    assert len(boxes) > 3
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


@pytest.mark.parametrize("values", [[0, 1, 2], [1, 0], [0, 0], [0, np.nan], 1.0])
def test_manifold_refuses_values_that_are_not_an_axis(digits, values):
    with pytest.raises(ValueError, match="values must be 2 ascending numbers"):
        sheets.manifold(digits[:4].reshape(2, 2, 8, 8, 1), values)


def test_transition_wraps_and_names_key_frames(digits):
    figure = sheets.transition(digits, labels={0: "from", -1: "to"})
    canvas = drawn(figure)
    np.testing.assert_array_equal(canvas[:64, 65:129], tile(digits[1], 8))
    np.testing.assert_array_equal(canvas[-64:, :64], tile(digits[10], 8))
    assert words(figure) == ["from", "to"]
    texts = ["a", *[None] * 18, "b"]
    assert words(sheets.transition(digits, labels=texts)) == ["a", "b"]
    with pytest.raises(ValueError, match=r"frames 0 to 19. Received: \[20\]"):
        sheets.transition(digits, labels={20: "x"})


def test_rows_that_belong_together_have_room_below_them(digits):
    rows = digits.reshape(4, 5, 8, 8, 1)
    canvas = drawn(sheets.image_grid(rows, together=2, row_labels=[*"abcd"]))
    extra = canvas.shape[0] - drawn(sheets.image_grid(rows)).shape[0]
    assert extra > 5
    np.testing.assert_array_equal(canvas[66:130, :64], tile(digits[5], 8))
    np.testing.assert_array_equal(canvas[-64:, :64], tile(digits[15], 8))
    assert (canvas[130 : 130 + extra] == 255).all()


def test_a_last_row_of_reconstructions_may_be_short(digits):
    canvas = drawn(sheets.reconstructions(digits[:13], digits[:13]))
    assert (canvas[-64:, -64:] == 255).all()
    np.testing.assert_array_equal(canvas[-64:, 5 * 66 : 5 * 66 + 64], tile(digits[12], 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: sheets.image_grid(x[0]), r"\(n, h, w, c\) or \(rows, columns, h, w, c\)"),
        (lambda x: sheets.image_grid(x[..., 0]), r"Received: shape \(20, 8, 8\)"),
        (lambda x: sheets.image_grid(x.repeat(2, -1)), "c = 1 .grey. or 3 .colour."),
        (lambda x: sheets.image_grid(x[:0]), "must not be empty"),
        (lambda x: sheets.image_grid(x * np.nan), "must be finite"),
        (lambda x: sheets.image_grid((x * 16).astype(int)), "Received: dtype int64"),
        (lambda x: sheets.image_grid(x, columns=0), "columns must be a whole number"),
        (lambda x: sheets.image_grid(x, columns=5, row_labels="ab"), "sequence of 4 labels"),
        (lambda x: sheets.image_grid(x[None], columns=5), "columns must be None or 20"),
        (lambda x: writing.save_tiles(x, "x.png", gap=-1), "gap must be 0 or more. Received: -1"),
        (lambda x: sheets.reconstructions(x, x[1:]), "same shape"),
        (lambda x: terminal.terminal_row(x[0]), r"images must have shape \(n, h, w, c\)"),
        (lambda x: terminal.terminal_row(x, width=0), "width must be a whole number"),
    ],
)
def test_bad_images_are_named(digits, call, message):
    with pytest.raises(ValueError, match=message):
        call(digits)


# --- charts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(0).normal(size=(300, 2))


def test_latent_plane_colours_each_point_by_its_class(codes):
    labels = np.arange(300) % 12
    figure = charts.latent_plane(codes, labels, [f"${k}" for k in range(12)], caption="c")
    axes = figure.axes[0]
    found = {}
    for dots in axes.collections:
        for point, color in zip(dots.get_offsets().data, dots.get_facecolors(), strict=True):
            found[tuple(point)] = tuple(color[:3])
    colors = [found[tuple(point)] for point in codes]
    assert len(set(colors)) == 10  # classes 10 and 11 differ by shape
    assert len(axes.collections) == 2
    assert all(len({colors[i] for i in range(k, 300, 12)}) == 1 for k in range(12))
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [f"${k}" for k in range(12)]
    assert axes.get_aspect() == 1
    assert within_page(figure)
    assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))


def test_latent_plane_without_and_with_continuous_labels(codes):
    assert charts.latent_plane(codes, None, None).axes[0].get_legend() is None
    values = np.where(np.arange(300) < 10, np.nan, codes[:, 0])
    axes = charts.latent_plane(codes, values, "weight").axes[0]
    assert axes.child_axes[0].get_ylabel() == "weight"
    assert [len(dots.get_offsets()) for dots in axes.collections] == [10, 290]
    assert within_page(charts.latent_plane(codes[:1], [0], ["only"]))
    hundred = charts.latent_plane(codes, np.arange(300) % 100, [f"class {k}" for k in range(100)])
    assert within_page(hundred)


def test_latent_plane_refuses_what_it_cannot_draw(codes):
    with pytest.raises(ValueError, match=r"z must have shape \(n, 2\)"):
        charts.latent_plane(codes[:, :1], None, None)
    with pytest.raises(ValueError, match=r"0 to 1, for 2 class_names\. Received: 0 to 2"):
        charts.latent_plane(codes, np.arange(300) % 3, ["a", "b"])
    with pytest.raises(ValueError, match="300 class indices or floats"):
        charts.latent_plane(codes, np.zeros((300, 2)), None)
    with pytest.raises(ValueError, match="finite"):
        charts.latent_plane(codes * np.inf, None, None)


def test_latent_plane_of_numbers_that_are_all_missing_has_no_scale(codes):
    figure = charts.latent_plane(codes, np.full(300, np.nan), "age")
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match=r"class_names must be one name a class. Received: 'ab'"):
        charts.latent_plane(codes, np.arange(300) % 2, "ab")


def test_long_names_below_bars_are_slanted():
    names = [f"a rather long name {i}" for i in range(6)]
    for labels, turned in ((names, 40), (list("abcdef"), 0)):
        (axes,) = charts.bars(np.arange(6.0), labels=labels).axes
        assert {text.get_rotation() for text in axes.get_xticklabels()} == {turned}


def test_charts_of_nothing_and_of_parts_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"values must be \(n,\) finite numbers. Received: shape"):
        charts.bars([1.0, np.nan])
    with pytest.raises(ValueError, match=r"groups must add up to 2 values. Received: \[1\]"):
        charts.bars([1.0, 2.0], groups=[1])
    with pytest.raises(ValueError, match="curves must hold at least one curve"):
        charts.reliability({})
    curve = {"confidence": [0.5], "accuracy_in_bin": [0.5, 1.0], "count": [3]}
    with pytest.raises(ValueError, match="The parts of 'a' must have one length"):
        charts.reliability({"a": curve})
    with pytest.raises(ValueError, match=r"pairs of arrays \(n, length, channels\). Received: 1"):
        lines.signals({"a": (np.zeros((2, 9)), np.zeros((2, 9)))})


def test_channels_of_signals_are_named_above_the_first_row():
    pair = (np.zeros((2, 9, 2)), np.ones((1, 9, 2)))
    figure = lines.signals({"a": pair, "b": pair})
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "channel 1",
        "channel 2",
        "",
        "",
    ]


def test_history_of_huge_losses_is_written_shortly():
    assert words(charts.history({"loss": [3e6, 2.5e6]})) == ["2.5e+06"]


def test_history_survives_a_giant_first_epoch_and_names_it():
    loss = [54_000.0, *np.linspace(130, 100, 19)]
    figure = charts.history(
        {"loss": loss, "val_loss": np.linspace(128, 101.25, 20), "accuracy": []}
    )
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert 90 < low < 100
    assert 130 < high < 140
    assert axes.get_xlabel() == "epoch\nabove: 54000 at epoch 1"
    assert words(figure) == ["101.2"]
    assert axes.get_ylabel() == "nats per example"


def test_history_draws_three_panels_and_short_runs():
    curves = {key: [3.0, 2.0] for key in ("loss", "reconstruction", "kl")}
    figure = charts.history(curves, caption="c", title="t")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Reconstruction", "KL"]
    assert words(figure) == ["2.00"] * 3
    assert figure.axes[0].get_legend() is None
    assert words(charts.history({"val_kl": [1.5]})) == ["1.50"]


def test_history_marks_the_epoch_that_was_kept():
    (axes,) = charts.history({"loss": [3.0, 1.0, 2.0, 2.5]}, kept=2).axes
    assert list(axes.lines[-1].get_xdata()) == [2, 2]


def test_no_text_of_a_history_lies_on_another():
    high = [3e6, *np.linspace(13_000, 12_345, 59)]
    curves = {
        key: high for name in ("loss", "reconstruction", "kl") for key in (name, f"val_{name}")
    }
    figure = charts.history(curves, kept=40, caption="What is shown.")
    figure.canvas.draw()
    boxes = [
        text.get_window_extent()
        for axes in figure.axes
        for text in (*axes.texts, axes.title, axes.xaxis.label, *axes.get_yticklabels())
        if text.get_text()
    ]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_history_says_when_a_curve_breaks():
    nan = float("nan")
    figure = charts.history({"loss": [3, 2, nan], "val_loss": [3.0, 2.5, nan], "kl": [nan] * 3})
    assert words(figure) == ["2.50, then not finite", "no finite value"]


def test_history_refuses_what_is_none():
    with pytest.raises(ValueError, match=r"Received: \['accuracy'\]"):
        charts.history({"accuracy": [1.0]})
    with pytest.raises(ValueError, match="one number an epoch"):
        charts.history({"loss": [1.0, 2.0], "val_loss": [1.0]})
    with pytest.raises(ValueError, match="one number an epoch"):
        charts.history({"loss": []})


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.further
@pytest.mark.parametrize("suffix", ["png", "PDF", "svg"])
def test_save_is_deterministic_and_leaves_only_its_file(digits, tmp_path, suffix):
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        writing.save(sheets.image_grid(digits[:3], caption="c"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


def test_unknown_suffixes_write_nothing(digits, tmp_path):
    figure = Figure()
    for write in (
        lambda p: writing.save(figure, p),
        lambda p: writing.save_image(digits[0], p),
        lambda p: writing.save_tiles(digits, p),
        lambda p: writing.animate(digits, p),
    ):
        for name in ("x.tiff", "x"):
            with pytest.raises(ValueError, match=r"must end in one of \.\w+, .*Received: .*x"):
                write(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="folder"):
        writing.save(figure, tmp_path / "missing" / "x.png")
    assert not list(tmp_path.iterdir())


def test_save_image_and_tiles_are_raw_pixels(digits, tmp_path):
    writing.save_image(digits[0], tmp_path / "one.png", scale=3)
    np.testing.assert_array_equal(read(tmp_path / "one.png"), tile(digits[0], 3)[..., 0])
    writing.save_tiles(digits[:5], tmp_path / "tiles.png", gap=1)
    tiles = read(tmp_path / "tiles.png")
    assert tiles.shape == (2 * 64 + 1, 3 * 64 + 2)
    np.testing.assert_array_equal(tiles[65:, :64], tile(digits[3], 8)[..., 0])
    assert (tiles[65:, 130:] == 255).all()
    colour = np.random.default_rng(0).random((3, 5, 7, 3))
    writing.save_tiles(colour, tmp_path / "c.webp", columns=3, scale=1, gap=0)
    expected = np.rint(np.concatenate(list(colour), 1) * 255)
    np.testing.assert_array_equal(read(tmp_path / "c.webp"), expected)
    writing.save_tiles(digits[:1], tmp_path / "single.png")
    assert read(tmp_path / "single.png").shape == (160, 160)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
@pytest.mark.parametrize("channels", [1, 3])
def test_animations_hold_every_frame_and_loop(digits, tmp_path, suffix, channels):
    frames = digits[:6].repeat(channels, -1)
    path = tmp_path / f"x.{suffix}"
    writing.animate(frames, path, milliseconds=50)
    with Image.open(path) as movie:
        assert movie.size == (160, 160)
        assert movie.n_frames == 6
        assert movie.info["loop"] == 0
        for k in range(6):
            movie.seek(k)
            frame = np.asarray(movie.convert("RGB")).astype(int)
            assert abs(frame - tile(digits[k], 20)).max() <= 1
    assert list(tmp_path.iterdir()) == [path]


# --- terminals ------------------------------------------------------------------------------------


def test_terminal_shades():
    ramp = np.linspace(0, 1, 5).reshape(1, 1, 5, 1).repeat(2, 1)
    assert terminal.terminal_row(ramp, width=5) == " ░▒▓█"
    lines = terminal.terminal_row(np.ones((1, 28, 28, 1))).split("\n")
    assert lines == ["█" * 28] * 14
    small = terminal.terminal_row(np.zeros((1, 8, 8, 3))).split("\n")
    assert [len(line) for line in small] == [16] * 8


def test_terminal_colours_are_the_pixels():
    image = np.array([[[[255, 0, 0]], [[0, 0, 255]]]], "uint8")
    text = terminal.terminal_row(image, width=1, color=True)
    assert text == "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m"


def test_terminal_row_stands_side_by_side(digits):
    plain = terminal.terminal_row(digits[:3], labels=["a", "b", "c"], gap=3)
    lines = plain.split("\n")
    assert [len(line) for line in lines] == [3 * 16 + 2 * 3] * 9
    assert lines[-1].split() == ["a", "b", "c"]
    first = terminal.terminal_row(digits[:1]).split("\n")
    assert [line[:16] for line in lines[:8]] == first
    colored = terminal.terminal_row(digits[:3], gap=3, color=True)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", colored).split("\n")
    assert bare == [("▀" * 16 + "   ") * 2 + "▀" * 16] * 8


def test_letters_of_other_scripts_are_drawn_where_a_font_is_installed(tmp_path):
    names = style.FONTS
    assert names[0] == "DejaVu Sans"
    assert set(names) <= set(get_font_names())
    if len(names) > 1:  # a missing glyph is a warning, which is an error here
        codes = np.random.default_rng(0).normal(size=(20, 2))
        figure = charts.latent_plane(codes, np.arange(20) % 2, ["中国 旅行", "München"])
        writing.save(figure, tmp_path / "plane.svg")


@pytest.mark.parametrize("low", [0.0, 24.0])  # of two values, or of one that never varies
def test_marginals_show_what_is_drawn_between_two_values(rng, low):
    real = np.where((rng.random(500) < 0.3) & (low == 0), 1.0, low)
    drawn = np.concatenate([real[:250], rng.normal(low + 0.5, 0.1, 250)])

    def bars(synthetic):
        figure = tables.marginals({"v": real}, {"v": synthetic}, {"v": 0.5})
        return [patch.get_data() for patch in figure.axes[0].patches]

    (known, edges, _), (new, *_) = bars(drawn)
    ((own,),) = np.nonzero((edges[:-1] < low) & (low < edges[1:]))
    middle = (edges[:-1] > low + 0.2) & (edges[1:] < low + 0.8)
    assert known[own] == np.mean(real == low)
    assert known[middle].sum() == 0
    assert new[own] < 0.9 * known[own]
    assert new[middle].sum() > 0.45
    np.testing.assert_array_equal(*(shares for shares, *_ in bars(real)))
