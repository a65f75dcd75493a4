"""The server of a table."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from keras_cvae.models.tables import TableCVAE
from keras_cvae.serve import Limits, create_app


def test_rows_under_conditions():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"kind": rng.choice(["cat", "dog"], 64), "age": rng.integers(0, 4, 64)})
    table = TableCVAE(hidden=8, layers=1, epochs=1, seed=0).fit(rows, verbose=0)
    with TestClient(create_app(table, limits=Limits(draws=8), warm=False)) as client:

        def post(path, **body):
            return client.post(f"/v1/{path}", json=body)

        drawn = post("rows", n=5, seed=1, conditions={"kind": "cat", "age": {"low": 2}}).json()
        assert [row["kind"] for row in drawn["rows"]] == ["cat"] * 5
        assert all(row["age"] >= 2 for row in drawn["rows"])
        expected = table.sample(5, {"kind": "cat", "age": (2, None)}, seed=1)
        assert drawn["rows"] == expected.to_dict("records")
        scored = post("log_prob", rows=drawn["rows"]).json()["log_prob"]
        np.testing.assert_allclose(scored, table.log_prob(expected), rtol=1e-4)
        for body, words in (
            ({"conditions": {"kind": "cow"}}, "Column 'kind' has no category"),
            ({"conditions": {"kin": "cat"}}, "Column 'kin' is not there"),
            ({"conditions": {"age": {"from": 1}}}, "a range, with 'low' and 'high'"),
            ({"n": 9}, "8"),
        ):
            answer = post("rows", **body)
            assert answer.status_code == 422
            assert words in answer.json()["detail"]
        assert [one["name"] for one in client.get("/v1/model").json()["columns"]] == ["kind", "age"]
        assert post("generate", condition="cat").status_code == 404
