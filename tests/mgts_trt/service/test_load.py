import asyncio
import contextlib
import re
import select
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from tests.helpers.running_service import Running, picture, post, serving, status_of

SMALL = post("/detect", picture((0, 0)))


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Running:
    with serving(tmp_path_factory.mktemp("load")) as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Running:
    """For a test that ends it."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A picture that takes a good part of a second: 25 megapixels."""
    return cv2.imencode(".png", np.zeros((5000, 5000, 3), np.uint8))[1].tobytes()


def metric(service: Running, name: str) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=30).text
    return float(re.search(rf"^{re.escape(name)} (.*)$", text, re.MULTILINE)[1])


def wait_until(holds) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def exchange(service: Running, request: bytes) -> int:
    reader, writer = await asyncio.open_connection(service.host, service.port)
    writer.write(request)
    answer = await reader.read(4096)
    writer.close()
    return status_of(answer)


def is_refused(service: Running) -> bool:
    """Whether a new request is turned away: with 503 while others finish, and by nobody once they have."""
    try:
        return asyncio.run(exchange(service, SMALL)) == 503
    except OSError:
        return True


async def leave(service: Running, request: bytes) -> None:
    """Send, and go away without waiting for an answer."""
    _, writer = await asyncio.open_connection(service.host, service.port)
    writer.write(request)
    await writer.drain()
    writer.close()


async def at_once(coroutines) -> list:
    return await asyncio.gather(*coroutines)


def test_storms_leave_it_as_it_was(service: Running, slow: bytes) -> None:
    with service.client() as client:
        assert client.post("/detect", files={"image": slow}).status_code == 200
    asyncio.run(at_once(exchange(service, SMALL) for _ in range(20)))
    before = service.rss()

    statuses = Counter(asyncio.run(at_once(exchange(service, SMALL) for _ in range(1000))))
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 64
    asyncio.run(at_once(leave(service, SMALL[: len(SMALL) // 2]) for _ in range(100)))
    asyncio.run(at_once(leave(service, SMALL) for _ in range(100)))

    wait_until(lambda: metric(service, "mgts_requests_in_progress") == 1)
    assert asyncio.run(exchange(service, SMALL)) == 200
    assert service.rss() - before < 60


def test_64_slow_bodies_hold_up_nobody(service: Running) -> None:
    slow = [socket.create_connection((service.host, service.port), timeout=60) for _ in range(64)]
    for connection in slow:
        connection.sendall(SMALL[:-40])
    wait_until(lambda: metric(service, "mgts_requests_in_progress") == 65)
    time.sleep(1.1)  # which makes them slow
    for at in range(-40, -30):
        for connection in slow:
            with contextlib.suppress(OSError):  # one that had to go
                connection.sendall(SMALL[at : at + 1])
        assert asyncio.run(exchange(service, SMALL)) == 200
    told, _, _ = select.select(slow, [], [], 30)
    assert {status_of(connection.recv(4096)) for connection in told} == {408}
    for connection in slow:
        connection.close()
    wait_until(lambda: metric(service, "mgts_requests_in_progress") == 1)


def test_who_has_gone_costs_no_inference(service: Running, slow: bytes) -> None:
    before = metric(service, "mgts_pictures_total")
    clients = [socket.create_connection((service.host, service.port), timeout=30) for _ in range(12)]
    for client in clients:
        client.sendall(post("/detect", slow))
    wait_until(lambda: metric(service, "mgts_queue_pictures") >= 6)
    for client in clients:
        client.close()
    wait_until(lambda: metric(service, "mgts_requests_in_progress") == 1)
    assert asyncio.run(exchange(service, SMALL)) == 200  # behind all that is still searched
    assert metric(service, "mgts_pictures_total") - before < 12
    assert metric(service, 'mgts_requests_total{route="/detect",status="499"}') >= 6


def test_sigterm_lets_running_requests_finish(mortal: Running, slow: bytes) -> None:
    answers = []

    def ask() -> None:
        with mortal.client() as client:
            answers.append(client.post("/detect", files={"image": slow}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: metric(mortal, "mgts_requests_in_progress") == 4)
    mortal.process.terminate()
    wait_until(lambda: is_refused(mortal))
    for thread in threads:
        thread.join()
    assert answers == [200, 200, 200]
    assert mortal.process.wait(20) == 0


def test_signals_that_are_ignored_do_not_end_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the service, as from a shell's script
    try:
        with serving(tmp_path) as service:
            for _ in range(2):
                service.process.send_signal(signal.SIGINT)
                assert httpx.get(f"{service.url}/healthz", timeout=30).status_code == 200
            assert service.terminate() == 0
    finally:
        signal.signal(signal.SIGINT, before)
