"""The application: a model behind HTTP, with bounds."""

import contextlib
import functools
import html
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import from_json, to_json

import keras_cvae
from keras_cvae.serve import arrays
from keras_cvae.serve.answering import Answering
from keras_cvae.serve.batching import Batcher
from keras_cvae.serve.limits import BusyError, Limits
from keras_cvae.serve.measuring import Bounded, Metrics
from keras_cvae.serve.schemas import Problem

PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "The request cannot be answered; it says why."},
    503: {"model": Problem, "description": "The server is busy, or it took too long."},
}


def create_app(
    model: Any,
    *,
    limits: Limits | None = None,
    page: Callable[[], str | None] | None = None,
    name: str = "model",
) -> FastAPI:
    """Make the application that answers for a model.

    What the library refuses is answered with 422 in its words. No request names a file that is
    opened, and nothing is unpickled.

    Args:
        model: A `ConditionalVAE`, or a `TableCVAE`. Its weights are taken now.
        limits: What a request may ask for.
        page: Makes the HTML to show at `/`, once it is asked for; None: a short one.
        name: What the model is called.
    """
    limits, metrics, table = limits or Limits(), Metrics(), not hasattr(model, "x_shape")
    batcher = None if table else Batcher(model, limits.at_once, limits.waiting, metrics.computed)
    answering = Answering(limits, batcher)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        answering.close()

    app = FastAPI(
        title=f"keras-cvae: {name}",
        version=keras_cvae.__version__,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEMS,
    )
    if table:
        from keras_cvae.serve import rows

        app.include_router(rows.routes(model, answering))
        facts = rows.about(model)
    else:
        app.include_router(arrays.routes(model, answering))
        facts = arrays.about(model)
    facts = {"name": name, "version": keras_cvae.__version__, "limits": asdict(limits)} | facts

    described = from_json(to_json(facts, inf_nan_mode="null"))

    @app.get("/v1/model", summary="What the model is, and what it takes.")
    def about() -> dict[str, Any]:
        return described

    @app.get("/healthz", summary="Whether the server answers.")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", summary="Counts and times, for Prometheus.", response_class=Response)
    def measured() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def start() -> str:
        return shown()

    @functools.cache
    def shown() -> str:
        return (page() if page else None) or _page(name, facts, app)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Any, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": " ".join(_words(one) for one in error.errors())}, 422)

    @app.exception_handler(BusyError)
    async def busy(_: Any, error: BusyError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})

    app.add_middleware(Bounded, limits=limits, metrics=metrics)
    app.state.answering = answering
    return app


def _words(error: Any) -> str:
    """What is wrong with a body, in the words that the library has for it."""
    place = [str(part) for part in error["loc"] if part != "body"]
    name = ".".join(place)
    match error["type"]:
        case "json_invalid":
            return f"The body is no JSON: {error['ctx']['error']}."
        case "missing":
            return f"{name or 'The body'} is missing."
        case "extra_forbidden":
            return f"Unknown field '{name}'."
    message = error["msg"].replace("Input should be", "expected").rstrip(".")
    received = json.dumps(error["input"], default=str)
    short = received if len(received) <= 60 else received[:57] + "..."
    return f"{name or 'The body'}: received {short}, {message}."


def _page(name: str, facts: dict[str, Any], app: FastAPI) -> str:
    """A page for people who come with a browser."""
    paths = "".join(
        f"<li><code>{html.escape(method.upper())} {html.escape(path)}</code> "
        f"{html.escape(about.get('summary', ''))}</li>"
        for path, methods in app.openapi()["paths"].items()
        for method, about in methods.items()
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title>"
        f"<h1>{html.escape(name)}</h1><ul>{paths}"
        "<li><code>GET /openapi.json</code> all of it, with examples</li></ul>"
    )
