"""The door: requests are read within bounds, handed to who answers them, and counted."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable
from typing import Any

from fastapi import HTTPException
from fastapi.routing import APIRoute
from pydantic import ValidationError

from keras_cvae.serve.limits import BusyError, Limits
from keras_cvae.serve.measuring import Metrics

JSON = "application/json"
PATIENCE, DISCARDED = 5.0, 8  # seconds, and times the bound: what is left of a refused body
LAST = [(b"connection", b"close")]  # what is left of the body is not waited for


class Direct(APIRoute):
    """A route that FastAPI describes and the door answers.

    Its endpoint takes what pydantic makes of the body, and returns the body of the answer. That
    takes a quarter of the time of FastAPI's own way.
    """

    async def reply(self, body: bytes) -> bytes:
        """Answer a body.

        Raises:
            ValidationError: It is not what the endpoint takes.
            HTTPException: It is refused.
            BusyError: Too much waits.
        """
        kind = self.endpoint.__annotations__["request"]
        answered: bytes = await self.endpoint(kind.model_validate_json(body))
        return answered

    def example(self) -> bytes | None:
        """The body that the schema shows; None if it shows none."""
        shown = self.endpoint.__annotations__["request"].model_config.get("json_schema_extra")
        return json.dumps(shown["examples"][0]).encode() if shown else None


class Door:
    """Answers the direct routes, lets all else through, and counts.

    A body that is too large is refused before it is read, or as soon as that is seen; one that
    takes too long to come, or an answer that takes too long, is given up.

    Args:
        app: The application.
        limits: The bounds.
        metrics: Where to count.
        routes: The direct routes among these are answered here.
    """

    def __init__(self, app: Any, limits: Limits, metrics: Metrics, routes: Iterable[Any]):
        self.app, self.limits, self.metrics = app, limits, metrics
        self.direct = {route.path: route for route in routes if isinstance(route, Direct)}
        self._large = f"The body has more than {limits.body} bytes, which a request may have."

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self.direct.get(path) if scope["method"] == "POST" else None

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if route is None:
                await self.app(scope, receive, sending)
            else:
                status, body, headers = await self._answer(route, scope, receive)
                if status:
                    await _respond(send, status, body, headers)
        finally:
            known = getattr(route or scope.get("route"), "path", "other")
            self.metrics.answered(known, status, time.perf_counter() - started)

    async def _answer(self, route: Direct, scope: Any, receive: Any) -> tuple[int, bytes, Any]:
        """Status, body and further headers; a status of 0 if the client has gone."""
        came = False
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._body(scope, receive)
                if body is None:
                    return 0, b"", ()
                came = True
                return 200, await route.reply(body), ()
        except ValidationError as error:
            return _problem(422, " ".join(_words(one) for one in error.errors()))
        except HTTPException as error:
            if not came:
                await self._discard(scope, receive)
            return _problem(error.status_code, error.detail, () if came else LAST)
        except BusyError as error:
            return _problem(503, str(error), [(b"retry-after", b"1")])
        except TimeoutError:
            limit = f"more than {self.limits.seconds:g} seconds, which a request may take."
            if came:
                return _problem(503, f"It took {limit}", [(b"retry-after", b"1")])
            return _problem(408, f"The body took {limit}", LAST)

    async def _body(self, scope: Any, receive: Any) -> bytes | None:
        """Read the body, within bounds; None if the client goes before its end."""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self.limits.body:
                raise HTTPException(413, self._large)
            if name == b"content-type" and not value.lower().startswith(JSON.encode()):
                raise HTTPException(
                    415, f"The body is {value.decode('latin-1')}. Expected content-type: {JSON}."
                )
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self.limits.body:
                raise HTTPException(413, self._large)
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    async def _discard(self, scope: Any, receive: Any) -> None:
        """Let a body that is refused run out for a while: clients read no answer before that."""
        if any(name == b"expect" for name, _ in scope["headers"]):
            return  # it has not been sent yet
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self.limits.seconds, PATIENCE)):
                size, message = 0, await receive()
                while message.get("more_body") and size < DISCARDED * self.limits.body:
                    size += len(message.get("body", b""))
                    message = await receive()


async def _respond(send: Any, status: int, body: bytes, headers: Any) -> None:
    length = str(len(body)).encode()
    head = [(b"content-type", JSON.encode()), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _problem(status: int, detail: str, headers: Any = ()) -> tuple[int, bytes, Any]:
    return status, json.dumps({"detail": detail}).encode(), headers


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
