"""How requests are computed: together or one by one, within the time that they may take."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from fastapi import HTTPException

from keras_cvae.inference.steps import Work
from keras_cvae.serve.batching import Batcher
from keras_cvae.serve.limits import BusyError, Limits

LARGE = 100_000  # numbers above which an answer is written in a thread


class Answering:
    """The ways to an answer.

    Args:
        limits: The bounds.
        batcher: What computes small requests together; None where there is nothing like it.
    """

    def __init__(self, limits: Limits, batcher: Batcher | None):
        self.limits, self.batcher = limits, batcher
        self.ready = False
        self._lane = ThreadPoolExecutor(1, "lane")
        self._pending, self._waking = 0, False
        self._first: Work | None = None

    def open(self) -> None:
        """Have answers brought to the loop that is running, those of a step all at once."""
        if self.batcher is not None:
            self.batcher.deliver = asyncio.get_running_loop().call_soon_threadsafe

    async def batched(self, work: Work) -> np.ndarray:
        """Compute work in one step with that of others.

        Raises:
            BusyError: Too much waits.
        """
        assert self.batcher is not None
        self._first = self._first or work
        loop = asyncio.get_running_loop()
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self.batcher.add(work, future)
        if not self._waking:  # once all that has come by now is read: one step for all of it
            self._waking = True
            loop.call_soon(self._wake)
        return await future

    def _wake(self) -> None:
        assert self.batcher is not None
        self._waking = False
        self.batcher.wake()

    async def alone(self, call: Callable[[], Any]) -> Any:
        """Call a function in the one thread for what takes long.

        Raises:
            BusyError: Too much waits.
        """
        if self._pending >= self.limits.queue:
            raise BusyError(
                f"{self._pending} requests of this kind wait, and there may be "
                f"{self.limits.queue}. Try again later."
            )
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._lane, call)
        finally:
            self._pending -= 1

    async def warm(self, examples: list[Callable[[], Any]]) -> None:
        """Compile what requests will need, so that the first ones do not pay for it.

        Each example is answered once; the step of the first that is computed in batches is compiled
        for all sizes of these.

        Args:
            examples: Each makes a coroutine that answers one.
        """
        for example in examples:
            try:
                await example()
            except Exception:  # a request like it would be told
                logging.getLogger(__name__).exception("An example could not be answered.")
        if self._first is not None and self.batcher is not None:
            await asyncio.to_thread(self.batcher.warm, self._first)
        self.ready = True

    def close(self) -> None:
        """Finish what is under way."""
        if self.batcher is not None:
            self.batcher.close()
        self._lane.shutdown()


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


async def answer(content: Callable[[], dict[str, Any]], size: int = 0) -> bytes:
    """Write an answer as JSON, in which what is not finite is null."""

    def written() -> bytes:
        return orjson.dumps(content(), option=orjson.OPT_SERIALIZE_NUMPY)

    return await asyncio.to_thread(written) if size > LARGE else written()
