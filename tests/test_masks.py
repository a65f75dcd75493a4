import numpy as np
import pytest

from keras_cvae import masks

SHAPE = (5, 6, 2)


def test_quadrants_make_up_the_picture():
    quadrants = [masks.known(q, SHAPE) for q in masks.NAMES[:4]]
    np.testing.assert_array_equal(sum(q.astype(int) for q in quadrants), 1)
    assert quadrants[2][2:, :3].all()  # bottom-left
    assert quadrants[2].sum() == 3 * 3 * 2


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("left", ("top-left", "bottom-left")),
        ("bottom", ("bottom-left", "bottom-right")),
        ("all but bottom-right", ("top-left", "top-right", "bottom-left")),
        ("Bottom_Left", ("bottom-left",)),
        ("1", ("bottom-left",)),
        ("2", ("top-left", "bottom-left")),
        ("3", ("top-left", "top-right", "bottom-left")),
    ],
)
def test_names_are_sets_of_quadrants(name, parts):
    expected = np.any([masks.known(part, SHAPE) for part in parts], axis=0)
    np.testing.assert_array_equal(masks.known(name, SHAPE), expected)


@pytest.mark.parametrize(
    ("mask", "shape"),
    [
        (np.ones((5, 6)), SHAPE),
        (np.ones((5, 6, 1), bool), SHAPE),
        (np.ones((5, 6, 2), int), SHAPE),
        (np.ones((7, 5, 6)), (7, *SHAPE)),
        (np.ones((7, 5, 6, 2)), (7, *SHAPE)),
    ],
)
def test_arrays_for_one_and_for_many(mask, shape):
    assert masks.known(mask, SHAPE).shape == shape
    assert masks.known(mask, SHAPE).dtype == bool


def test_vectors_have_arrays_too():
    assert masks.known([1, 0, 1], (3,)).tolist() == [True, False, True]
    assert masks.known(np.eye(3), (3,)).shape == (3, 3)


@pytest.mark.parametrize(
    ("mask", "shape", "message"),
    [
        ("botom-left", SHAPE, "Unknown mask 'botom-left'.*Did you mean 'bottom-left'"),
        ("left", (6,), "a part of a picture; x has the shape"),
        (np.ones((6, 5)), SHAPE, r"shape \(6, 5\). Expected \(5, 6, 2\) or \(5, 6\)"),
        (np.ones((2, 7, 5, 6, 2)), SHAPE, "Expected"),
        (np.full((5, 6), 0.5), SHAPE, "values other than 0 and 1"),
        (np.full((5, 6), "a"), SHAPE, "values other than 0 and 1"),
        (np.full((5, 6), 255), SHAPE, "values other than 0 and 1.*mask > 128"),
    ],
)
def test_what_is_no_mask_is_refused(mask, shape, message):
    with pytest.raises(ValueError, match=message):
        masks.known(mask, shape)


def test_random_masks_are_of_every_kind_and_reach_every_pixel(rng):
    drawn = masks.random(600, SHAPE, rng)
    assert drawn.shape == (600, *SHAPE)
    np.testing.assert_array_equal(drawn[..., 0], drawn[..., 1])
    share = drawn.mean(axis=0)
    assert share.min() > 0.3
    assert share.max() < 0.7
    assert len(np.unique(drawn.reshape(600, -1), axis=0)) > 300
    again = masks.random(600, SHAPE, np.random.default_rng(0))
    np.testing.assert_array_equal(again, masks.random(600, SHAPE, np.random.default_rng(0)))
    assert masks.random(3, (8,), rng).shape == (3, 8)


def test_holes_are_where_nothing_is_known(rng):
    x = rng.random((4, *SHAPE)).astype("float32")
    mask = masks.random(4, SHAPE, rng)
    holes = masks.holes(x, mask)
    np.testing.assert_array_equal(np.isnan(holes), ~mask)
    np.testing.assert_array_equal(holes[mask], x[mask])
    with pytest.raises(ValueError, match="Received 3 masks for 4 examples"):
        masks.holes(x, mask[:3])
