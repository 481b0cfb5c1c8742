import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import av
import pytest

from mgts_trt.gallery.indexing.diagnosis import why_silent


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A web server that says the same to everybody: host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def why(url: str) -> tuple[str, bool]:
    """What is told where PyAV cannot open this."""
    with pytest.raises((av.FFmpegError, ValueError)) as failed:
        av.open(url, timeout=5.0)
    return why_silent(url, failed.value)


@pytest.mark.parametrize(
    ("login", "status", "told", "refused"),
    [
        ("", 401, "it wants a user name and a password", True),
        ("zoe:s3cret@", 401, "its user name or password is wrong", True),
        ("zoe:s3%2Fcret@", 403, "it does not let this user in", True),
        ("zoe:s3cret@", 404, "there is nothing of this path", False),
        ("zoe:s3cret@", 429, "too many viewers", False),
        ("", 200, "something answers there, but sends no video that can be read", False),
        ("", 500, "its server is out of order", False),
    ],
)
def test_what_a_web_server_answers(login: str, status: int, told: str, refused: bool) -> None:
    with answering(status) as host:
        said = why(f"http://{login}{host}/live?pin=7")
    assert told in said[0]
    assert said[1] == refused


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"RTSP/1.0\r\n", b"RTSP/1.0 x\r\n"])
def test_who_is_no_rtsp_server(answer: bytes, hearing: Callable[[bytes], str]) -> None:
    assert why(f"rtsp://{hearing(answer)}/live")[0].startswith("something answers there")


@pytest.fixture
def hearing() -> Iterator[Callable[[bytes], str]]:
    """A server that gives everybody the same bytes and hangs up: host and port."""
    servers: list[socket.socket] = []

    def serve(server: socket.socket, answer: bytes) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # it has hung up first
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        Thread(target=serve, args=(server, answer), daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("protocol", ["rtsp", "rtsps", "rtmp", "http", "https"])
def test_nobody_answers(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert why(f"{protocol}://zoe:s3cret@127.0.0.1:{port}/")[0] == "nobody answers there (connection refused)"


def test_where_nobody_can_be_asked() -> None:
    assert why("nonsense://127.0.0.1:5000")[0] == "nothing comes from there, or no video"
    assert "nobody answers" in why("rtsp://127.0.0.1:99999/")[0]
    assert why("rtsp://nowhere.invalid/")[0] == "its host is not known, or the network is down"
