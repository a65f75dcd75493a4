"""What holds of every spec, whatever is said: found by hypothesis."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from keras_cvae.conditions.spec import (
    CategoricalSpec,
    ConditionSpec,
    ContinuousSpec,
    EncodedSpec,
    ExposureSpec,
    ImageSpec,
    JointSpec,
    KnownPartSpec,
    NoneSpec,
    OptionalSpec,
    PeriodicSpec,
    SignalSpec,
    TagsSpec,
    from_json,
)
from keras_cvae.trees import count, repeat, take

NAMES = st.text("abcdefg ,:|=é7", min_size=1, max_size=4).filter(lambda name: name.strip() == name)
SIZES = st.integers(1, 3)
NUMBERS = st.floats(-1e6, 1e6, width=32)


@st.composite
def labels(draw) -> object:
    """So many, names, or whole numbers."""
    return draw(
        st.integers(1, 5)
        | st.lists(NAMES, min_size=1, max_size=5, unique=True)
        | st.lists(st.integers(-9, 99), min_size=1, max_size=5, unique=True)
    )


@st.composite
def masks(draw, shape) -> object:
    """Of which something is known, and something is not."""
    size = int(np.prod(shape))
    known = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    mask = np.array(known).reshape(shape)
    return None if mask.all() or not mask.any() else mask


SINGLE = st.one_of(
    st.builds(CategoricalSpec, labels()),
    st.builds(TagsSpec, labels()),
    st.builds(ContinuousSpec, SIZES),
    st.builds(PeriodicSpec, SIZES, st.floats(0.1, 1e3)),
    st.builds(EncodedSpec, st.tuples(SIZES, SIZES), st.sampled_from(["int32", "float32"])),
    st.builds(ImageSpec, st.tuples(SIZES, SIZES, SIZES), st.just(-1.0), st.floats(0.5, 300)),
    st.builds(SignalSpec, st.tuples(SIZES, SIZES)),
)
PARTS = SINGLE | st.builds(OptionalSpec, SINGLE) | st.builds(ExposureSpec)
SPECS = st.one_of(
    PARTS,
    st.builds(JointSpec, st.dictionaries(NAMES, PARTS, min_size=1, max_size=3)),
    st.tuples(SIZES, SIZES).flatmap(lambda s: st.builds(KnownPartSpec, st.just(s), masks(s))),
    st.just(NoneSpec()),
)


def conditions(spec: ConditionSpec, n: int) -> st.SearchStrategy:
    """What a user may say of n examples."""
    if isinstance(spec, JointSpec):
        return st.fixed_dictionaries({name: conditions(p, n) for name, p in spec.parts.items()})
    if isinstance(spec, OptionalSpec):
        known = conditions(spec.part, n)
        which = st.lists(st.booleans(), min_size=n, max_size=n)
        return st.builds(
            lambda values, gone: [None if g else v for v, g in zip(values, gone, strict=True)],
            known.map(list),
            which,
        )
    if isinstance(spec, CategoricalSpec):
        one = st.sampled_from(list(spec.labels)) | st.sampled_from(spec.names)
        mixture = st.sets(st.sampled_from(spec.names), min_size=1).map(
            lambda names: dict.fromkeys(sorted(names), 1 / len(names))
        )
        return st.lists(one, min_size=n, max_size=n) | st.lists(mixture, min_size=n, max_size=n)
    if isinstance(spec, TagsSpec):
        return st.lists(st.lists(st.sampled_from(spec.names)), min_size=n, max_size=n)
    elements = NUMBERS
    if isinstance(spec, ImageSpec):
        elements = st.floats(-1, spec.high)
    if isinstance(spec, ExposureSpec):
        elements = st.floats(1e-3, 1e9)
    if spec.dtype == "int32":
        elements = st.integers(0, 2**31 - 1)
    if isinstance(spec, KnownPartSpec):
        values = arrays.arrays("float32", (n, *spec.shape), elements=NUMBERS)
        first = np.zeros(spec.shape, bool)
        first.flat[0] = True  # something is unknown, which is what a condition needs
        hidden = first if spec.fixed is None else ~spec.fixed
        return values.map(lambda x: np.where(hidden, np.float32(np.nan), x))
    dtype = "int64" if spec.dtype == "int32" else "float64"
    return arrays.arrays(dtype, (n, *spec.shape), elements=elements)


SAID = st.tuples(SPECS.filter(lambda spec: not isinstance(spec, NoneSpec)), SIZES).flatmap(
    lambda both: st.tuples(st.just(both[0]), conditions(*both))
)


def assert_equal(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        for name in one:
            assert_equal(one[name], two[name])
    else:
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


@given(SPECS)
def test_a_spec_survives_json(spec):
    text = json.dumps(spec.to_json())
    again = from_json(json.loads(text))
    assert again == spec
    assert json.dumps(again.to_json()) == text
    assert again.summary() == spec.summary()


@given(SAID)
def test_what_is_canonical_stays_as_it_is(said):
    spec, given = said
    canonical = spec.prepare(given)
    again = spec.positional()  # as a data set says it: classes by position
    assert_equal(again.prepare(canonical), canonical)
    assert again.positional() == again


@given(SAID)
def test_a_spec_from_json_reads_the_same(said):
    spec, given = said
    assert_equal(
        from_json(json.loads(json.dumps(spec.to_json()))).prepare(given), spec.prepare(given)
    )


@given(SAID, st.integers(0, 99))
def test_one_is_read_as_it_is_among_many(said, which):
    spec, given = said
    canonical = spec.prepare(given)
    i = which % count(canonical)
    one = {n: v[i] for n, v in given.items()} if isinstance(given, dict) else given[i]
    found, _ = spec.prepare_any(one)
    assert_equal(found, take(canonical, slice(i, i + 1)))
    assert_equal(spec.for_each(one, 3), repeat(found, 3))


@given(SAID)
def test_rows_are_taken_repeated_and_counted(said):
    spec, given = said
    canonical = spec.prepare(given)
    n = count(canonical)
    twice = repeat(canonical, 2)
    assert count(twice) == 2 * n
    assert_equal(take(twice, slice(0, None, 2)), canonical)
    assert_equal(take(twice, np.arange(2 * n) % 2 == 1), canonical)
    assert_equal(take(canonical, np.arange(n)), canonical)


@given(SAID)
def test_what_occurs_has_the_shapes_that_were_announced(said):
    spec, given = said
    occurring = spec.occurring(spec.prepare(given))
    assert {trait: np.shape(met) for trait, met in occurring.items()} == spec.traits()
    spec.check_trained(spec.prepare(given), occurring)  # nothing is new


@given(SAID)
def test_a_way_begins_and_ends_where_it_should(said):
    spec, given = said
    end = take(spec.prepare(given), slice(1))
    way = spec.between(end, end, np.array([0.0, 0.5, 1.0], "float32"))
    parts = spec.parts if isinstance(spec, JointSpec) else {"": spec}
    for name, part in parts.items():
        first, whole = (end[name], way[name]) if name else (end, way)
        np.testing.assert_array_equal(part.missing(whole), repeat(part.missing(first), 3))
        if not part.missing(first).any():
            np.testing.assert_allclose(whole, repeat(first, 3), rtol=1e-5, atol=1e-4)


@given(st.data())
def test_every_way_to_name_a_class_means_the_same(data):
    spec = data.draw(st.builds(CategoricalSpec, labels()))
    k = data.draw(st.integers(0, spec.num_classes - 1))
    number = spec.labels[k] if isinstance(spec.labels[k], int) else k
    if all(isinstance(label, int) for label in spec.labels):
        assert spec.position(number) == k
    mixed = [np.eye(spec.num_classes)[k]] if spec.num_classes > 1 else [0]
    for one in (spec.names[k], np.str_(spec.names[k]), spec.labels[k]):
        assert spec.position(one) == k
        for many in ([one], np.array([one]), np.array([[one]]), np.array([one], object), (one,)):
            np.testing.assert_array_equal(spec.prepare(many), [k])
    for mixture in ({spec.names[k]: 1.0}, {spec.labels[k]: 1}):
        np.testing.assert_array_equal(spec.prepare_any(mixture)[0], mixed)
        np.testing.assert_array_equal(spec.prepare([mixture]), mixed)
