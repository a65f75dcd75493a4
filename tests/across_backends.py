"""One backend's share of test_across_backends, in a process of its own.

`across_backends.py FOLDER BACKEND...` trains and saves a model that has every kind of condition
and one of a table, waits until its input ends, which says that every backend has, loads those that
the named backends saved and writes down what they answer.
"""

import sys
from pathlib import Path

import keras_cvae as cvae  # isort: skip  # chooses the backend
import keras
import numpy as np
import pandas as pd

N, SHAPE = 32, (4, 5, 1)
ASKED = {"class": "b", "age": [48, 55], "hour": 23}


def every_kind():
    """A condition with a part of each kind, and values of which every fifth is missing."""
    signal = keras.Input((5, 1))
    network = keras.Model(signal, keras.layers.Dense(2)(keras.layers.Flatten()(signal)))
    parts = {
        "class": cvae.Categorical(["a", "b", "c"], "embedding", 3),
        "tags": cvae.Tags(["p", "q"]),
        "age": cvae.Continuous(2),
        "hour": cvae.Periodic(24),
        "look": cvae.Image((4, 4, 1), cvae.MLP((4,))),
        "signal": network,
    }
    rng, lost = np.random.default_rng(1), np.arange(N) % 5 == 0
    values = {
        "class": np.where(lost, -1, np.arange(N) % 3),
        "tags": [None if gone else ["p"] for gone in lost],
        "age": np.where(lost[:, None], np.nan, rng.normal(50, 9, (N, 2))),
        "hour": np.ma.masked_array(rng.random(N) * 24, lost),
        "look": rng.random((N, 4, 4)),
        "signal": rng.normal(size=(N, 5, 1)),
    }
    return cvae.Joint(parts, dropout=0.2), values


def rows():
    """A table: text, whole numbers with gaps, numbers."""
    rng = np.random.default_rng(2)
    kind, number = rng.choice(["a", "b"], N), rng.integers(0, 4, N)
    number = pd.Series(number, dtype="Int64").where(rng.random(N) > 0.2)
    return pd.DataFrame({"kind": kind, "number": number, "x": rng.normal(size=N)})


def save(folder, x):
    table = cvae.TableCVAE(hidden=8, layers=1, epochs=1, batch_size=16, seed=0)
    table.fit(rows(), verbose=0).save(folder / f"table-{keras.backend.backend()}.cvae")
    condition, y = every_kind()
    arguments = {"prior": "conditional", "backbone": cvae.Conv((4,), 8), "seed": 0}
    model = cvae.ConditionalVAE(SHAPE, condition, [2, 1], **arguments)
    model.compile()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(folder / f"kinds-{keras.backend.backend()}.keras")


def load(folder, x, z, backends):
    for backend in backends:
        table = cvae.TableCVAE.load(folder / f"table-{backend}.cvae")
        drawn, log_p = table.sample(N, kind="a", seed=0), table.log_prob(rows())
        np.savez(
            folder / f"table-{backend}-on-{keras.backend.backend()}.npz",
            log_prob=log_p,
            proba=table.predict_proba(rows(), "kind"),
            x=drawn["x"],
            number=drawn["number"].astype("float64"),
            loss=-log_p.mean(),
        )
        model, y = cvae.load(folder / f"kinds-{backend}.keras"), every_kind()[1]
        np.savez(
            folder / f"kinds-{backend}-on-{keras.backend.backend()}.npz",
            encoder=model.encode(x, y),
            decoder=model.decode(z, y),
            prior=model.sample_prior(ASKED, 4, seed=0),
            generated=model.generate(ASKED, 4, seed=0, guidance=2.0),
            without=model.generate(None, 4, seed=0),
            loss=model.evaluate(x, y, verbose=0)[0],
        )


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        keras.utils.set_random_seed(0)
        tensorflow.config.experimental.enable_op_determinism()  # Keras then does without XLA
    folder, backends = Path(sys.argv[1]), sys.argv[2:]
    rng = np.random.default_rng(0)
    x = (rng.random((N, *SHAPE)) < 0.3).astype("float32")
    z = rng.normal(size=(N, 3)).astype("float32")
    save(folder, x)
    print("saved", flush=True)
    sys.stdin.read()
    load(folder, x, z, backends)
