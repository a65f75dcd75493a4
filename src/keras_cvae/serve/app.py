"""The application: a model behind HTTP, with bounds."""

import asyncio
import contextlib
import functools
import html
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import from_json, to_json

import keras_cvae
from keras_cvae.serve import arrays
from keras_cvae.serve.answering import Answering
from keras_cvae.serve.batching import Batcher
from keras_cvae.serve.door import Direct, Door
from keras_cvae.serve.limits import Limits
from keras_cvae.serve.measuring import Metrics
from keras_cvae.serve.schemas import Problem

PROBLEMS: dict[int | str, dict[str, Any]] = {
    408: {"model": Problem, "description": "The body took too long to come."},
    413: {"model": Problem, "description": "The body is too large."},
    415: {"model": Problem, "description": "The body is not said to be JSON."},
    422: {"model": Problem, "description": "The request cannot be answered; it says why."},
    503: {"model": Problem, "description": "The server is busy, or it took too long."},
}


def create_app(
    model: Any,
    *,
    limits: Limits | None = None,
    page: Callable[[], str | None] | None = None,
    name: str = "model",
    warm: bool = True,
) -> FastAPI:
    """Make the application that answers for a model.

    What the library refuses is answered with 422 in its words. No request names a file that is
    opened, and nothing is unpickled.

    Args:
        model: A `ConditionalVAE`, or a `TableCVAE`. Its weights are taken now.
        limits: What a request may ask for.
        page: Makes the HTML to show at `/`, once it is asked for; None: a short one.
        name: What the model is called.
        warm: Compile as soon as the server starts; until then `/healthz` says 503. Requests are
            answered meanwhile.
    """
    limits, metrics, table = limits or Limits(), Metrics(), not hasattr(model, "x_shape")
    batcher = None if table else Batcher(model, limits.at_once, limits.waiting, metrics.computed)
    answering = Answering(limits, batcher)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        answering.open()
        warming = asyncio.create_task(warmed()) if warm else None
        yield
        if warming is not None:
            warming.cancel()
        await asyncio.to_thread(answering.close)

    async def warmed() -> None:
        """Answer the examples that the schema shows."""
        routes = [route for route in router.routes if isinstance(route, Direct)]
        shown = [(route, route.example()) for route in routes]
        await answering.warm(
            [functools.partial(route.reply, body) for route, body in shown if body]
        )

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

        router, facts = rows.routes(model, answering), rows.about(model)
    else:
        router, facts = arrays.routes(model, answering), arrays.about(model)
    app.include_router(router)
    facts = {"name": name, "version": keras_cvae.__version__, "limits": asdict(limits)} | facts

    described = from_json(to_json(facts, inf_nan_mode="null"))

    @app.get("/v1/model", summary="What the model is, and what it takes.")
    def about() -> dict[str, Any]:
        return described

    @app.get("/healthz", summary="Whether the server answers, and has compiled what it needs.")
    def health() -> JSONResponse:
        ready = answering.ready or not warm
        return JSONResponse({"status": "ok" if ready else "compiling"}, 200 if ready else 503)

    @app.get("/metrics", summary="Counts and times, for Prometheus.", response_class=Response)
    def measured() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def start() -> str:
        return shown()

    @functools.cache
    def shown() -> str:
        return (page() if page else None) or _page(name, facts, app)

    app.add_middleware(Door, limits=limits, metrics=metrics, routes=router.routes)
    app.state.answering = answering
    return app


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
