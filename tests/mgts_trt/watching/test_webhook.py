import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.watching.webhook import SIGNATURE, Webhook


class Receiver:
    """Gives these answers, and then 200; with `gate`, each only once that is set."""

    def __init__(self, answers: list[int], gate: threading.Event | None = None) -> None:
        self.bodies: list[tuple[bytes, str | None]] = []
        self.asked = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.set()
                if gate:
                    gate.wait()
                code = answers.pop(0) if answers else 200
                receiver.bodies.append((body, self.headers[SIGNATURE]))
                self.send_response(code)
                self.send_header("Location", "/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@contextmanager
def receiving(answers: list[int], gate: threading.Event | None = None) -> Iterator[Receiver]:
    receiver = Receiver(answers, gate)
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


def test_it_is_signed_and_tried_again() -> None:
    with receiving([503, 500, 429]) as receiver:
        hook = Webhook(receiver.url, b"key", pauses=(0, 0, 0))
        hook.put(b"one")
        hook.put(b"two")
        hook.close(60)
    signed = {body: "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest() for body in (b"one", b"two")}
    assert receiver.bodies == [(b"one", signed[b"one"])] * 4 + [(b"two", signed[b"two"])]
    assert (hook.delivered, hook.lost) == (2, 0)


@pytest.mark.parametrize(("answers", "tries"), [([400], 1), ([302], 1), ([500] * 3, 3)])
def test_what_is_refused_is_counted(answers: list[int], tries: int) -> None:
    with receiving(list(answers)) as receiver:
        hook = Webhook(receiver.url, b"", pauses=(0, 0))
        hook.put(b"one")
        hook.close(60)
    assert receiver.bodies == [(b"one", None)] * tries
    assert (hook.delivered, hook.lost) == (0, 1)


def test_a_slow_receiver_holds_nobody_up() -> None:
    gate = threading.Event()
    with receiving([], gate) as receiver:
        hook = Webhook(receiver.url, b"", pauses=(), room=2)
        hook.put(b"0")
        assert receiver.asked.wait(60)
        for number in range(1, 6):  # returns at once, although nothing is taken
            hook.put(b"%d" % number)
        assert hook.lost == 3
        gate.set()
        hook.close(60)
    assert [body for body, _ in receiver.bodies] == [b"0", b"1", b"2"]
    assert (hook.delivered, hook.lost) == (3, 3)


def test_no_url() -> None:
    with pytest.raises(MgtsError, match="https://"):
        Webhook("file:///etc/passwd", b"")
