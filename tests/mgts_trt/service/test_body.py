import asyncio
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.body import Body
from mgts_trt.service.limits import SLOW_BYTES, SLOW_SECONDS
from mgts_trt.service.refusal import Refusal


def body_of(*parts: bytes, limit: int = 10 * SLOW_BYTES) -> Body:
    messages = [{"type": "http.request", "body": part, "more_body": i + 1 < len(parts)} for i, part in enumerate(parts)]

    async def receive() -> dict:
        return messages.pop(0)

    return Body(receive, limit, expected=True)


@pytest.mark.parametrize(("size", "moves"), [(1, False), (SLOW_BYTES - 1, False), (SLOW_BYTES, True)])
def test_headway_is_counted_in_bytes_not_in_parts(size: int, moves: bool) -> None:
    body = body_of(bytes(size), b"end")
    body.since = time.monotonic() - SLOW_SECONDS - 1
    assert body.slow
    asyncio.run(body())
    assert body.slow is not moves


def test_a_fast_start_does_not_make_up_for_a_stop() -> None:
    body = body_of(bytes(5 * SLOW_BYTES), *[b"x"] * 3, b"end")
    asyncio.run(body())
    body.since -= SLOW_SECONDS + 1
    for _ in range(3):
        asyncio.run(body())
    assert body.slow


def test_whole_is_told_once_and_before_the_application_sees_it() -> None:
    told = []
    body = body_of(b"a", b"b")
    body.on_whole = lambda: told.append(body.pending)
    asyncio.run(body())
    assert (told, body.pending) == ([], True)
    asyncio.run(body())
    assert (told, body.pending) == ([False], False)


def test_too_large_is_refused_before_it_is_whole() -> None:
    body = body_of(bytes(11), b"end", limit=10)
    body.on_whole = lambda: pytest.fail("it was to be refused")
    with pytest.raises(Refusal) as refused:
        asyncio.run(body())
    assert refused.value.status_code == 413
