"""The endpoints of a `TableCVAE`."""

import json
import warnings
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter

from keras_cvae.serve.answering import Answering, answer, asked
from keras_cvae.serve.door import Direct
from keras_cvae.serve.schemas import RowProbs, Rows, requests


def routes(table: Any, answering: Answering) -> APIRouter:
    """The endpoints of a model of a table."""
    router = APIRouter(prefix="/v1", route_class=Direct)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = json.loads(_json(table.sample(1, seed=0)))
    examples = {"SampleRows": {"n": 3, "seed": 0}, "RowLogProb": {"rows": one}}
    kinds = requests(answering.limits, examples)

    @router.post("/rows", response_model=Rows, summary="Draw rows under conditions.")
    async def rows(
        request: kinds.SampleRows,  # type: ignore[name-defined]
    ) -> bytes:
        with asked():
            conditions = {name: _condition(value) for name, value in request.conditions.items()}

        def draw() -> Any:
            with asked(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return table.sample(request.n, conditions, seed=request.seed)

        frame = await answering.alone(draw)
        return await answer(lambda: {"rows": orjson.Fragment(_json(frame))}, frame.size)

    @router.post("/log_prob", response_model=RowProbs, summary="log p of rows in nats.")
    async def log_prob(
        request: kinds.RowLogProb,  # type: ignore[name-defined]
    ) -> bytes:
        def score() -> Any:
            import pandas as pd

            with asked(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return table.log_prob(pd.DataFrame(request.rows))

        found = await answering.alone(score)
        return await answer(lambda: {"log_prob": np.ascontiguousarray(found)})

    return router


def about(table: Any) -> dict[str, Any]:
    """What the model is, for `GET /v1/model`."""
    return {
        "columns": table.schema.model_dump(mode="json")["columns"],
        "latent_dim": table.latent_dim,
    }


def _condition(value: Any) -> Any:
    """What JSON says of a column as `TableCVAE.sample` takes it."""
    if isinstance(value, dict):
        if not value or set(value) - {"low", "high"}:
            raise ValueError(
                f"Received {value!r} for a column. Expected a range, with 'low' and 'high'."
            )
        return (value.get("low"), value.get("high"))
    return value


def _json(frame: Any) -> str:
    """Rows as JSON: empty cells are null, moments text."""
    text: str = frame.to_json(orient="records", date_format="iso")
    return text
