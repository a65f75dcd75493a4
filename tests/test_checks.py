import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from keras_cvae.checks import checked

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2]))


@given(st.data())
def test_numbers_are_taken_as_they_are(data):
    shape = data.draw(SHAPES)
    dtype = data.draw(st.sampled_from(["float64", "float32", "int16", "uint8", "bool"]))
    values = data.draw(
        arrays.arrays(
            dtype, (3, *shape), elements={"allow_nan": False} if dtype.startswith("f") else None
        ).filter(lambda v: np.all(np.abs(v.astype("float64")) < 1e38))
    )
    found = checked(values, shape)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, values.astype("float32"))
    if shape[-1] == 1:
        np.testing.assert_array_equal(checked(values[..., 0], shape), found)
    np.testing.assert_array_equal(checked(found, shape), found)


@pytest.mark.parametrize(
    ("values", "shape", "nan", "message"),
    [
        (np.array(["a", "b"]), (1,), False, "^It holds <U1 values, like a. Expected numbers.$"),
        (np.array([], object), (1,), False, "^It holds object values. Expected numbers.$"),
        (np.zeros(3), (2,), False, r"^It has the shape \(3,\). Expected \(n, 2\).$"),
        (np.zeros((3, 2)), (1,), False, r"Expected \(n, 1\) or \(n,\)"),
        (np.zeros(()), (), False, r"has the shape \(\)"),
        ([[1.0], [np.nan], [np.inf]], (1,), False, "NaN, .* in 2 of 3 examples, first in row 1. E"),
        ([[1.0], [np.nan], [np.inf]], (1,), True, "holds infinity .* in 1 of 3 .* row 2.*or NaN"),
        ([[1e39]], (1,), True, "numbers beyond single precision in 1 of 1"),
    ],
)
def test_anything_else_is_refused_in_one_wording(values, shape, nan, message):
    with pytest.raises(ValueError, match=message):
        checked(np.asarray(values), shape, "It", nan=nan)


def test_what_is_unknown_may_be_nan():
    np.testing.assert_array_equal(checked(np.array([1, np.nan]), (1,), nan=True), [[1], [np.nan]])
