"""The estimators: scikit-learn's own checks, and what its users do with them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from keras_cvae.sklearn import CVAEClassifier, CVAEDensity, CVAESampler, CVAETransformer

SMALL = {"latent_dim": 2, "hidden": 8, "epochs": 2, "num_samples": 4, "random_state": 0}
# Mini-batches differ when an example is repeated or left out, whatever its weight.
WEIGHTS = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "mini-batches",
)


@pytest.mark.slow
@parametrize_with_checks(
    [
        CVAEClassifier(**SMALL | {"epochs": 60, "latent_dim": 0, "learning_rate": 0.01}),
        CVAEDensity(**SMALL),
        CVAETransformer(**SMALL),
        CVAESampler(2, 8, epochs=2, random_state=0),
    ],
    expected_failed_checks=lambda estimator: WEIGHTS,
)
@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(300, centers=3, n_features=4, cluster_std=1.0, random_state=0)
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def classifier(blobs):
    return CVAEClassifier(2, 16, batch_size=64, num_samples=16, random_state=0).fit(*blobs)


def test_bayes_rule_classifies(classifier, blobs):
    X, y = blobs
    assert classifier.score(X, y) > 0.95
    p = classifier.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert classifier.classes_.tolist() == ["a", "b", "c"]
    assert classifier.error_rate_ < 0.1


def test_examples_that_only_calibrate_are_a_part_of_them():
    with pytest.raises(ValueError, match="calibration: received 2, expected a share"):
        CVAEClassifier(calibration=2).fit(np.eye(4), [0, 1, 0, 1])


def test_weights_count_in_the_shares_of_the_classes(blobs):
    X, y = blobs
    few = CVAEClassifier(0, 8, epochs=1, calibration=0, random_state=0)
    few.fit(X, y, sample_weight=np.where(y == "a", 2.0, 1.0))
    np.testing.assert_allclose(few.class_prior_, [0.5, 0.25, 0.25])
    assert (few.temperature_, few.error_rate_) == (1.0, 0.0)
    with pytest.raises(ValueError, match="sample_weight"):
        few.fit(X, y, sample_weight=[1.0])


def test_pickles_predict_the_same(classifier, blobs):
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(blobs[0]), classifier.predict_proba(blobs[0]))


@pytest.mark.further
def test_grids_pipelines_and_cross_validation(blobs):
    X, y = blobs
    small = CVAEClassifier(0, 8, learning_rate=0.02, random_state=0)
    pipe = make_pipeline(StandardScaler(), small)
    grid = GridSearchCV(pipe, {"cvaeclassifier__epochs": [1, 60]}, cv=2, refit=False).fit(X, y)
    assert grid.best_params_ == {"cvaeclassifier__epochs": 60}
    assert grid.best_score_ > 0.8


def test_a_density_is_in_the_units_of_the_data():
    rng = np.random.default_rng(0)
    X = rng.normal([5.0, -2.0], [10.0, 0.1], (800, 2))
    density = CVAEDensity(1, 16, batch_size=100, random_state=0).fit(X)
    truth = -0.5 * ((X - [5.0, -2.0]) / [10.0, 0.1]) ** 2 - np.log([10.0, 0.1]) - 0.919
    assert density.score_samples(X).mean() == pytest.approx(truth.sum(axis=1).mean(), abs=0.15)
    assert density.score(X) == pytest.approx(density.score_samples(X).sum())
    drawn = density.sample(500, random_state=0)
    np.testing.assert_allclose(density._standard(drawn).mean(axis=0), 0.0, atol=0.2)
    assert density.score_samples([[500.0, 3.0]])[0] < density.score_samples(X).min()


def test_a_line_is_one_number_and_comes_back():
    t = np.random.default_rng(0).normal(size=200)
    X = np.outer(t, [3.0, -1.0, 20.0]) + np.array([5.0, 0.0, -100.0])
    odd = np.vstack([X, [[900.0, 900.0, 900.0]]])
    coder = CVAETransformer(1, 16, epochs=60, learning_rate=0.02, random_state=0)
    z = coder.fit(odd, sample_weight=[1.0] * 200 + [0.0]).transform(X)
    assert z.shape == (200, 1)
    assert abs(np.corrcoef(z[:, 0], t)[0, 1]) > 0.95
    error = np.square(coder.inverse_transform(z) - X).mean(axis=0)
    assert (error < 0.2 * X.var(axis=0)).all()
    assert coder.get_feature_names_out().tolist() == ["cvaetransformer0"]


def test_what_has_not_learned_is_pickled_too():
    again = pickle.loads(pickle.dumps(CVAETransformer(3, epochs=7)))
    assert (again.latent_dim, again.epochs) == (3, 7)


@pytest.mark.slow
def test_codes_and_back():
    X = load_digits().data
    coder = CVAETransformer(8, 64, random_state=0).fit(X)
    z = coder.transform(X)
    assert z.shape == (len(X), 8)
    back = coder.inverse_transform(z)
    assert np.square(back - X).mean() < 0.6 * X.var(axis=0).mean()
    assert coder.get_feature_names_out().tolist() == [f"cvaetransformer{i}" for i in range(8)]


def test_rare_classes_are_enlarged(blobs):
    X, y = blobs
    rare = np.concatenate([np.flatnonzero(y != "c"), np.flatnonzero(y == "c")[:20]])
    X, y = X[rare], y[rare]
    sampler = CVAESampler(2, 16, random_state=0)
    more, labels = sampler.fit_resample(X, y)
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == {
        "a": 100,
        "b": 100,
        "c": 100,
    }
    np.testing.assert_array_equal(more[: len(X)], X)
    center = X[y == "c"].mean(axis=0)
    np.testing.assert_allclose(more[len(X) :].mean(axis=0), center, atol=1.5)
    for how, labels, message in (
        ({"d": 3}, y, "received the class 'd'"),
        ("minority", y, "sampling_strategy: received 'minority'. Expected 'auto', or a mapping"),
        ("auto", np.where(y == "c", None, y), "y: received 20 missing values"),
        ("auto", y[1:], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=message):
            CVAESampler(epochs=1, sampling_strategy=how).fit_resample(X, labels)


def test_frames_of_any_columns_are_enlarged():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": rng.choice(["red", "blue"], 200), "y": rng.integers(0, 9, 200)})
    labels = pd.Series(["often"] * 160 + ["rare"] * 40, name="label", dtype="category")
    sampler = CVAESampler(hidden=16, epochs=3, random_state=0, sampling_strategy={"rare": 100})
    table = pytest.importorskip("pyarrow").table(dict(frame))
    more, new = sampler.fit_resample(table, labels)  # of any library
    assert new.value_counts().to_dict() == {"often": 160, "rare": 100}
    assert new.name == "label"
    assert new.dtype == labels.dtype
    assert more.columns.tolist() == ["colour", "y"]
    assert (more.dtypes == frame.dtypes).all()
    assert set(more["colour"]) == {"red", "blue"}
