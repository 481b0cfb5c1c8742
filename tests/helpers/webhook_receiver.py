"""A web server that takes what is posted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mgts_trt.watching.webhook import SIGNATURE


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
