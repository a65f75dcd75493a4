"""Conditional VAEs as scikit-learn estimators: for pipelines, grids, cross-validation, pickles.

All of them standardise X, `(n, features)` numbers, take flat parameters, and give the same result
for the same `random_state`. For tables with text and dates see `TableCVAE`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import keras_cvae
from keras_cvae import errors
from keras_cvae.inference.importance import log_weights, observed
from keras_cvae.inference.results import class_posterior, fit_temperature
from keras_cvae.inference.steps import Snapshot, as_numpy

__all__ = ["CVAEClassifier", "CVAEDensity", "CVAESampler", "CVAETransformer"]

STEPS = 1000  # of training, about
MIN_EPOCHS = 20
ROWS = 128  # go through the networks together, always: then no row's result depends on the others


class _CVAE(BaseEstimator):
    """What the estimators share: parameters, standardisation, a model of p(x | y), pickling."""

    def __init__(
        self,
        latent_dim: int = 4,
        hidden: int = 128,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        num_samples: int = 100,
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_samples = num_samples
        self.random_state = random_state
        self.verbose = verbose

    def _learn(self, X: np.ndarray, y: np.ndarray | None = None, sample_weight: Any = None) -> None:
        """Standardise X, and train a model of p(x | y) on it; y are classes 0, 1, ..., or None."""
        import keras

        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if sample_weight is None:
            self._mean, scale = X.mean(axis=0), X.std(axis=0)
        else:  # what counts for nothing moves nothing
            self._mean = np.average(X, axis=0, weights=sample_weight)
            scale = np.sqrt(np.average((X - self._mean) ** 2, axis=0, weights=sample_weight))
        self._scale = np.where(scale > 0, scale, 1.0)
        classes = 0 if y is None else int(y.max()) + 1
        keras.utils.set_random_seed(seed)  # the order of the examples is Keras' own
        self.model_ = keras_cvae.ConditionalVAE(
            (X.shape[1],),
            classes if classes > 1 else None,
            self.latent_dim,
            likelihood=keras_cvae.Gaussian("learned"),
            backbone=keras_cvae.MLP((errors.whole("hidden", self.hidden),)),
            seed=seed,
        )
        self.model_.compile(keras.optimizers.Adam(self.learning_rate))
        history = self.model_.fit(
            self._standard(X),
            y if classes > 1 else None,
            batch_size=errors.whole("batch_size", self.batch_size),
            epochs=self._epochs(len(X)),
            sample_weight=sample_weight,
            verbose=self.verbose,
        )
        self.n_iter_ = len(history.epoch)
        self.history_ = dict(history.history)

    def _epochs(self, n: int) -> int:
        if self.epochs is not None:
            return errors.whole("epochs", self.epochs)
        return max(MIN_EPOCHS, round(STEPS * self.batch_size / n))

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=np.float64)

    def _standard(self, X: np.ndarray) -> np.ndarray:
        return ((X - self._mean) / self._scale).astype("float32")

    def _raw(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64) * self._scale + self._mean

    def _evidence(self, x: np.ndarray, y: int | None = None) -> Any:
        """Yield rows of standardised x, always `ROWS`, how many of them count, and q's evidence."""
        weights = Snapshot(self.model_)
        for start in range(0, len(x), ROWS):
            rows = np.resize(np.arange(start, min(start + ROWS, len(x))), ROWS)
            inputs: dict[str, Any] = {"x": x[rows]}
            if y is not None:
                inputs["condition"] = np.full(ROWS, y, "int32")
            inputs["evidence"] = weights(observed, inputs)
            yield inputs, min(ROWS, len(x) - start)

    def _log_prob(self, x: np.ndarray, y: int | None = None) -> np.ndarray:
        """Log p(x | y) of standardised x by importance sampling, `(n,)` nats.

        All rows share their noise, so that none depends on where it stands.
        """
        samples = errors.whole("num_samples", self.num_samples) if self.model_.latent_dim else 1
        noise = np.random.default_rng(0).standard_normal((samples, 1, self.model_.latent_dim))
        noise = np.broadcast_to(noise, (samples, ROWS, self.model_.latent_dim)).astype("float32")
        weights, found = Snapshot(self.model_), []
        for inputs, count in self._evidence(x, y):
            log_w = as_numpy(weights(log_weights, inputs | {"noise": noise}))
            log_p = np.logaddexp.reduce(log_w.astype(np.float64), axis=0) - np.log(samples)
            found.append(log_p[:count])
        return np.concatenate(found)

    def _class_log_prob(self, x: np.ndarray, classes: int) -> np.ndarray:
        """Log p(x | y) of standardised x for each class, `(n, classes)`."""
        given = range(classes) if classes > 1 else [None]
        return np.stack([self._log_prob(x, y) for y in given], axis=1)

    # A Keras model holds compiled functions, which cannot be pickled; the file of `save` can.

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                state.pop("model_").save(path)
                state["_saved_model"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved = state.pop("_saved_model", None)
        super().__setstate__(state)
        if saved is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                path.write_bytes(saved)
                self.model_ = keras_cvae.load(path)


class CVAEClassifier(ClassifierMixin, _CVAE):
    """Classifies by Bayes' rule on p(X | y), a conditional VAE of all classes.

        p(y | x) = p(y) p(x | y) / sum_y p(y) p(x | y)

    p(y) are the classes' shares in training. Sums over many features make the rule overconfident,
    so log p is divided by a temperature, and some examples are taken to be of no class that x can
    tell, p = (1 - e) p(y | x) + e p(y); both are fitted to examples that are held out.

    Args:
        latent_dim: Length of z; 0 is no latent, one Gaussian for each class.
        hidden: Width of the hidden layer of encoder and decoder.
        epochs: Passes over the data. None: as many as make about 1,000 steps, at least 20.
        batch_size: Examples per step.
        learning_rate: Of Adam.
        num_samples: Draws of z for each example and class.
        random_state: A whole number, a `RandomState`, or None for another result each time.
        verbose: As in Keras' `fit`.
        calibration: Share of the examples that is held out, to calibrate p(y | x); 0 does not.

    Attributes:
        classes_: The classes.
        temperature_: By which log p is divided.
        error_rate_: The share e of examples that x does not tell the class of.
        model_: The `ConditionalVAE`, of standardised X.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> flowers, kinds = load_iris(return_X_y=True)
        >>> classifier = CVAEClassifier(hidden=16, epochs=30, random_state=0).fit(flowers, kinds)
        >>> classifier.predict_proba(flowers[:2]).shape
        (2, 3)
    """

    def __init__(
        self,
        latent_dim: int = 4,
        hidden: int = 128,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        num_samples: int = 100,
        random_state: Any = None,
        verbose: int = 0,
        calibration: float = 0.1,
    ):
        super().__init__(
            latent_dim,
            hidden,
            epochs,
            batch_size,
            learning_rate,
            num_samples,
            random_state,
            verbose,
        )
        self.calibration = calibration

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CVAEClassifier:
        """Learn p(x | y) from X `(n, features)` and classes y `(n,)`."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, classes = np.unique(y, return_inverse=True)
        classes = classes.astype("int32")
        held = self._held_out(classes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        weight = np.ones(len(X)) if sample_weight is None else sample_weight
        share = np.bincount(classes, weight, minlength=len(self.classes_))
        self.class_prior_ = share / share.sum()
        rest = ~held
        self._learn(X[rest], classes[rest], None if sample_weight is None else sample_weight[rest])
        self.temperature_, self.error_rate_ = 1.0, 0.0
        if held.any():
            self._calibrate(self._joint(X[held]), classes[held])
        return self

    def _calibrate(self, joint: np.ndarray, classes: np.ndarray) -> None:
        """Fit temperature and error rate to the likelihood of classes that were held out."""

        def loss(at: np.ndarray) -> float:
            p = self._calibrated(joint, math.exp(at[0]), float(expit(at[1])))
            return -float(np.log(p[np.arange(len(classes)), classes]).mean())

        start = [math.log(fit_temperature(joint, classes)), logit(0.02)]
        at = minimize(loss, start, method="Nelder-Mead").x
        self.temperature_, self.error_rate_ = math.exp(at[0]), float(expit(at[1]))

    def _calibrated(self, joint: np.ndarray, temperature: float, error_rate: float) -> np.ndarray:
        p = class_posterior(joint, temperature)
        return (1.0 - error_rate) * p + error_rate * self.class_prior_

    def _held_out(self, classes: np.ndarray) -> np.ndarray:
        """Which examples only calibrate: of each class the same share, booleans."""
        share = errors.number("calibration", self.calibration)
        if share >= 1:
            raise ValueError(
                f"calibration: received {self.calibration!r}, expected a share of the examples, "
                "from 0 to below 1."
            )
        held = np.zeros(len(classes), bool)
        if not share or len(self.classes_) < 2:
            return held
        rng = np.random.default_rng(0)
        for k in range(len(self.classes_)):
            rows = rng.permutation(np.flatnonzero(classes == k))
            held[rows[: int(share * len(rows))]] = True
        return held if held.sum() >= 20 else np.zeros(len(classes), bool)  # too few to fit it

    def _joint(self, X: np.ndarray) -> np.ndarray:
        log_p = self._class_log_prob(self._standard(X), len(self.classes_))
        with np.errstate(divide="ignore"):  # all weights of a class may be zero
            return log_p + np.log(self.class_prior_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(y | x), `(n, classes)`."""
        joint = self._joint(self._checked(X))
        return self._calibrated(joint, self.temperature_, self.error_rate_)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each example, `(n,)`."""
        p = self.predict_proba(X)
        return self.classes_[p.argmax(axis=1)]


class CVAEDensity(DensityMixin, _CVAE):
    """The density of X, by importance sampling, and draws from it.

    Args:
        latent_dim: Length of z; 0 is no latent, one Gaussian.
        hidden: Width of the hidden layer of encoder and decoder.
        epochs: Passes over the data. None: as many as make about 1,000 steps, at least 20.
        batch_size: Examples per step.
        learning_rate: Of Adam.
        num_samples: Draws of z for each example.
        random_state: A whole number, a `RandomState`, or None for another result each time.
        verbose: As in Keras' `fit`.

    Attributes:
        model_: The `ConditionalVAE`, of standardised X; with classes in `fit`, conditioned on them.
        classes_: The classes, if there are any.

    Examples:
        >>> density = CVAEDensity(hidden=16, epochs=5, random_state=0).fit(flowers)
        >>> density.score_samples(flowers[:3]).shape, density.sample(2).shape
        ((3,), (2, 4))
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> CVAEDensity:
        """Learn p(x); y is not used."""
        X = validate_data(self, X, dtype=np.float64)
        self._learn(X, None, sample_weight)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Log p(x) of each example, `(n,)` nats."""
        X = self._checked(X)
        return self._log_prob(self._standard(X)) - np.log(self._scale).sum()

    def score(self, X: Any, y: Any = None) -> float:
        """The sum of log p(x) over the examples, nats."""
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw X, `(n_samples, features)`."""
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self._raw(self.model_.generate(n=n_samples, output="sample", seed=seed))


class CVAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _CVAE):
    """X as the mean of q(z | x), and back as the mean of p(x | z).

    Args:
        latent_dim: Length of z, the number of features that come out; at least 1.
        hidden: Width of the hidden layer of encoder and decoder.
        epochs: Passes over the data. None: as many as make about 1,000 steps, at least 20.
        batch_size: Examples per step.
        learning_rate: Of Adam.
        num_samples: Not used.
        random_state: A whole number, a `RandomState`, or None for another result each time.
        verbose: As in Keras' `fit`.

    Attributes:
        model_: The `ConditionalVAE`, of standardised X.

    Examples:
        >>> CVAETransformer(2, hidden=16, epochs=5, random_state=0).fit_transform(flowers).shape
        (150, 2)
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> CVAETransformer:
        """Learn to encode X; y is not used."""
        errors.whole("latent_dim", self.latent_dim)
        X = validate_data(self, X, dtype=np.float64)
        self._learn(X, None, sample_weight)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The mean of q(z | x), `(n, latent_dim)`."""
        X = self._checked(X)
        means = [
            as_numpy(inputs["evidence"].mean, count)
            for inputs, count in self._evidence(self._standard(X))
        ]
        return np.concatenate(means).astype(np.float64)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The mean of p(x | z), `(n, features)`, for z `(n, latent_dim)`."""
        check_is_fitted(self)
        return self._raw(self.model_.decode(np.asarray(X, "float32")))

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent_dim


class CVAESampler(_CVAE):
    """Makes rare classes as large as the largest by drawing examples of them.

    Has what the pipelines of imbalanced-learn ask for. A DataFrame may have columns of any kind: it
    is learned by a `TableCVAE` with y as one of its columns, and drawn under y.

    Args:
        latent_dim: Length of z, for arrays.
        hidden: Width of the hidden layers.
        epochs: Passes over the data. None: as many as make about 1,000 steps, at least 20.
        batch_size: Examples per step.
        learning_rate: Of Adam.
        random_state: A whole number, a `RandomState`, or None for another result each time.
        verbose: As in Keras' `fit`.
        sampling_strategy: "auto", or class -> how many examples it shall have.

    Attributes:
        classes_: The classes.
        model_: The `ConditionalVAE`, of standardised X; or `table_`, the `TableCVAE`.

    Examples:
        >>> rare = np.arange(150) < 60  # fifty of one kind, ten of another
        >>> more, which = CVAESampler(hidden=16, epochs=5, random_state=0).fit_resample(
        ...     flowers[rare], kinds[rare]
        ... )
        >>> np.bincount(which)
        array([50, 50])
    """

    def __init__(
        self,
        latent_dim: int = 4,
        hidden: int = 128,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        random_state: Any = None,
        verbose: int = 0,
        sampling_strategy: Any = "auto",
    ):
        super().__init__(
            latent_dim,
            hidden,
            epochs,
            batch_size,
            learning_rate,
            random_state=random_state,
            verbose=verbose,
        )
        self.sampling_strategy = sampling_strategy

    def fit(self, X: Any, y: Any) -> CVAESampler:
        """Learn p(x | y)."""
        if _is_frame(X):
            return self._fit_table(X, y)
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, classes = np.unique(y, return_inverse=True)
        self._learn(X, classes.astype("int32"))
        return self

    def _fit_table(self, X: Any, y: Any) -> CVAESampler:
        from keras_cvae.models.tables import TableCVAE

        self.classes_ = np.unique(np.asarray(y))
        self._target = _unused("y", X.columns)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.table_ = TableCVAE(
            hidden=self.hidden,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
        ).fit(X.assign(**{self._target: np.asarray(y)}), verbose=self.verbose)
        self.n_features_in_ = X.shape[1]
        self.feature_names_in_ = np.asarray(X.columns, object)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Learn p(x | y), and append draws of the classes that are to have more examples.

        Returns:
            X and y with the draws behind them, of the types that they came in; frames of other
            libraries as those of pandas.
        """
        if hasattr(X, "to_arrow") or hasattr(X, "to_pandas"):
            from keras_cvae.data.tables.frames import to_pandas

            X = to_pandas(X)
        check_consistent_length(X, y)
        labels, counts = np.unique(_known_classes(y), return_counts=True)
        y = y.iloc[:, 0] if _is_frame(y) else y
        have = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        wanted = self._wanted(have)
        self.fit(X, y)
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=len(have))
        parts, more = [], []
        for seed, (label, count) in zip(seeds, have.items(), strict=True):
            n = wanted.get(label, count) - count
            if n > 0:
                parts.append(self._draw(label, n, int(seed)))
                more.append(np.repeat(np.asarray([label]), n))
        return _appended(X, parts), _appended(y, more)

    def _wanted(self, have: dict[Any, int]) -> dict[Any, int]:
        """How many examples each class shall have."""
        if isinstance(self.sampling_strategy, str) and self.sampling_strategy == "auto":
            return dict.fromkeys(have, max(have.values()))
        if not isinstance(self.sampling_strategy, Mapping):
            raise ValueError(
                f"sampling_strategy: received {self.sampling_strategy!r}. Expected 'auto', or a "
                "mapping of classes to how many examples they shall have."
            )
        if unknown := [label for label in self.sampling_strategy if label not in have]:
            raise ValueError(
                f"sampling_strategy: received the class {unknown[0]!r}. Expected some of "
                f"{errors.listed(have)}."
            )
        return dict(self.sampling_strategy)

    def _draw(self, label: Any, n: int, seed: int) -> Any:
        if hasattr(self, "table_"):
            rows = self.table_.sample(n, {self._target: label}, seed=seed)
            return rows.drop(columns=self._target)
        y = int(np.searchsorted(self.classes_, label)) if len(self.classes_) > 1 else None
        return self._raw(self.model_.generate(y, n, output="sample", seed=seed))


def _known_classes(y: Any) -> np.ndarray:
    """The classes `(n,)`, of which none is missing."""
    import pandas as pd

    classes = column_or_1d(y)
    if missing := int(pd.isna(classes).sum()):
        raise ValueError(f"y: received {missing} missing values. Expected a class for each row.")
    return classes


def _is_frame(X: Any) -> bool:
    return hasattr(X, "assign") and hasattr(X, "columns")


def _unused(name: str, names: Any) -> str:
    while name in names:
        name += "_"
    return name


def _appended(values: Any, parts: list[Any]) -> Any:
    """Values with more of them behind, of the same type."""
    if _is_frame(values) or hasattr(values, "to_frame"):
        import pandas as pd

        series = [
            part if _is_frame(part) else pd.Series(part, name=values.name).astype(values.dtype)
            for part in parts
        ]
        return pd.concat([values, *series], ignore_index=True)
    return np.concatenate([np.asarray(values), *parts])
