"""A request's body on its way in: how much of it there is, how fast it comes, and whether it is whole."""

import asyncio
import time
from collections.abc import Callable

import anyio
from starlette.types import Message, Receive

from mgts_trt.service.limits import MIB, SLOW_BYTES, SLOW_SECONDS
from mgts_trt.service.refusal import Refusal

LINGER = 1.0
"""Seconds for which a body that is not wanted is read on and dropped: a client that is still sending when the
connection closes may lose the answer."""


class Body:
    """A request's body on its way in, counted.

    Args:
        receive: Of the server.
        limit: Bytes.
        expected: Whether the request's head announces one.

    Attributes:
        answered: Set when the last of the answer goes out; the server then tells of a disconnection there was not.
        since: When the last `SLOW_BYTES` of it were complete, `time.monotonic()`: the longer ago, the slower it comes.
        displaced: Set where it is to make way for another.
        on_whole: Called when the last of it is here, before the application sees that; may raise a refusal.
    """

    def __init__(self, receive: Receive, limit: int, *, expected: bool) -> None:
        self._receive, self._limit, self._expected = receive, limit, expected
        self._size = self._counted = 0
        self._whole = asyncio.Event()
        self.answered = False
        self.since = time.monotonic()
        self.displaced = asyncio.Event()
        self.on_whole: Callable[[], None] = lambda: None

    @property
    def pending(self) -> bool:
        """Whether more of it is to come."""
        return self._expected and not self._whole.is_set()

    @property
    def slow(self) -> bool:
        """Whether its last bytes took too long for it to keep a place that others need."""
        return time.monotonic() - self.since > SLOW_SECONDS

    async def __call__(self) -> Message:
        """The next part, as ASGI has it.

        Raises:
            Refusal: 413, it is too large; or 429, see `Visit`.
        """
        if self._whole.is_set():
            await asyncio.Event().wait()  # for the client to go away: `gone` sees it, and this is cancelled
        message = await self._next()
        if self._size > self._limit:
            raise too_large(self._limit)
        if self._whole.is_set() and message["type"] == "http.request":
            self.on_whole()
        return message

    async def gone(self) -> None:
        """Return when the client goes away before it has its answer."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.answered:
            await asyncio.Event().wait()

    async def drop(self) -> None:
        """Read on for a while, for nothing."""
        most = self._size + self._limit
        with anyio.move_on_after(LINGER):
            while self._size < most and not self._whole.is_set():
                await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size - self._counted >= SLOW_BYTES:
            self._counted, self.since = self._size, time.monotonic()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._whole.set()
        return message


def too_large(limit: int) -> Refusal:
    """The refusal of a body by its size."""
    return Refusal(413, f"The request is larger than {limit / MIB:g} MiB. Send smaller or fewer pictures.", "bytes")


def too_slow() -> Refusal:
    """The refusal of a body that others had to wait for."""
    return Refusal(
        408,
        f"The request came at less than {SLOW_BYTES / 1024 / SLOW_SECONDS:g} KiB a second while others waited for its "
        "place. Send it again, smaller or over a faster line.",
        "slow",
    )
