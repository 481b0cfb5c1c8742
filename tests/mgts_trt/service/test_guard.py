import asyncio

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.auditing import Auditor
from mgts_trt.service.counters import Metrics
from mgts_trt.service.guard import Guard
from mgts_trt.service.identity import Identity
from mgts_trt.service.limits import Limits
from mgts_trt.service.turnstile import Turnstile


def test_a_place_is_free_before_the_answer_ends() -> None:
    """Otherwise as many clients as there are places, who ask again at once, are now and then turned away."""
    turnstile, sent = Turnstile(), []
    body = iter([{"type": "http.request", "body": b"x", "more_body": False}])

    async def app(scope, receive, send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"y"})

    async def receive() -> dict:
        for message in body:
            return message
        return await asyncio.Event().wait()

    async def send(message: dict) -> None:
        sent.append((message["type"], turnstile.working, turnstile.running))

    metrics = Metrics(mode="box", backend="none", waiting=lambda: 0, running=lambda: 0)
    guard = Guard(
        app,
        limits=Limits(100, 100, 1, 1, 5.0),
        turnstile=turnstile,
        metrics=metrics,
        auditor=Auditor(None),
        identity=Identity(None),
        hosts=["localhost"],
    )
    headers = [(b"host", b"localhost"), (b"content-length", b"1")]
    scope = {"type": "http", "method": "POST", "path": "/detect", "headers": headers}
    asyncio.run(guard(scope, receive, send))
    assert sent == [("http.response.start", 1, 1), ("http.response.body", 0, 1)]
    assert (turnstile.working, turnstile.running) == (0, 0)
