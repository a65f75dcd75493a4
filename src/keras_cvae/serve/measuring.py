"""What is counted of requests, and how large they may be."""

import json
import time
from typing import Any

from fastapi import HTTPException
from prometheus_client import CollectorRegistry, Counter, Histogram

from keras_cvae.serve.limits import Limits

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts and times of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("cvae_requests", "Requests answered.", ["path", "status"], **given)
        self.seconds = Histogram(
            "cvae_request_seconds", "Time to an answer.", ["path"], buckets=SECONDS, **given
        )
        self.steps = Histogram(
            "cvae_step_rows", "Examples computed in one step.", buckets=ROWS, **given
        )
        self.joined = Histogram(
            "cvae_step_requests", "Requests answered by one step.", buckets=ROWS, **given
        )

    def computed(self, requests: int, rows: int) -> None:
        """Note a step."""
        self.joined.observe(requests)
        self.steps.observe(rows)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Note an answer."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)


class Bounded:
    """Refuses bodies that are too large before they are read, and counts what is answered.

    Args:
        app: The application.
        limits: The bounds.
        metrics: Where to count.
    """

    def __init__(self, app: Any, limits: Limits, metrics: Metrics):
        self.app, self.limits, self.metrics = app, limits, metrics
        self._said = f"The body has more than {limits.body} bytes, which a request may have."

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, read = time.perf_counter(), 500, 0

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def receiving() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limits.body:
                raise HTTPException(413, self._said)  # which FastAPI lets through as it reads
            return message

        try:
            if _length(scope) > self.limits.body:
                await self._refuse(sending)
            else:
                await self.app(scope, receiving, sending)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.metrics.answered(path, status, time.perf_counter() - started)

    async def _refuse(self, send: Any) -> None:
        body = json.dumps({"detail": self._said}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _length(scope: Any) -> int:
    """What the request says of the length of its body; 0 if nothing that can be read."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
