"""How requests are answered: computed together or one by one, in time or not at all."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import to_json

from keras_cvae.inference.steps import Work
from keras_cvae.serve.batching import Batcher
from keras_cvae.serve.limits import BusyError, Limits

JSON = "application/json"
LARGE = 100_000  # numbers above which an answer is written in a thread


class Answering:
    """The ways to an answer.

    Args:
        limits: The bounds.
        batcher: What computes small requests together; None where there is nothing like it.
    """

    def __init__(self, limits: Limits, batcher: Batcher | None):
        self.limits, self.batcher = limits, batcher
        self._lane = ThreadPoolExecutor(1, "lane")
        self._pending = 0

    async def batched(self, work: Work) -> np.ndarray:
        """Compute work in one step with that of others.

        Raises:
            BusyError: Too much waits, or it took too long.
        """
        assert self.batcher is not None
        return await self._in_time(asyncio.wrap_future(self.batcher.submit(work)))

    async def alone(self, call: Callable[[], Any]) -> Any:
        """Call a function in the one thread for what takes long.

        Raises:
            BusyError: Too much waits, or it took too long.
        """
        if self._pending >= self.limits.queue:
            raise BusyError(
                f"{self._pending} requests of this kind wait, and there may be "
                f"{self.limits.queue}. Try again later."
            )
        self._pending += 1
        try:
            loop = asyncio.get_running_loop()
            return await self._in_time(loop.run_in_executor(self._lane, call))
        finally:
            self._pending -= 1

    async def _in_time(self, waiting: Any) -> Any:
        try:
            return await asyncio.wait_for(waiting, self.limits.seconds)
        except TimeoutError:
            raise BusyError(
                f"It took more than {self.limits.seconds:g} seconds, which a request may take."
            ) from None

    def close(self) -> None:
        """Finish what is under way."""
        if self.batcher is not None:
            self.batcher.close()
        self._lane.shutdown()


class Direct(APIRoute):
    """A route whose body is read by pydantic itself, in half of the time that FastAPI takes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        kind = self.endpoint.__annotations__["request"]

        async def handle(request: Request) -> Response:
            if not request.headers.get("content-type", JSON).startswith(JSON):
                raise HTTPException(422, f"The body is no JSON: expected content-type {JSON}.")
            try:
                body = kind.model_validate_json(await request.body())
            except ValidationError as error:
                raise RequestValidationError(error.errors()) from None
            answered: Response = await self.endpoint(body)
            return answered

        return handle


@contextlib.contextmanager
def asked() -> Iterator[None]:
    """Answer what the library refuses with 422, in its words.

    Values of kinds that it never expects from Python, but that JSON has, are refused too.
    """
    try:
        yield
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    except (TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        raise HTTPException(
            422, "The request holds a value of a kind that this model does not take."
        ) from error


async def answer(content: Callable[[], dict[str, Any]], size: int = 0) -> Response:
    """Write an answer as JSON, in which what is not finite is null."""

    def written() -> bytes:
        return to_json(content(), inf_nan_mode="null")

    body = await asyncio.to_thread(written) if size > LARGE else written()
    return Response(body, media_type="application/json")
