import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mgts_trt.gallery.indexing.diagnosis import why_silent


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says the same to everybody: host and port, and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("protocol", ["rtsp", "http"])
@pytest.mark.parametrize(
    ("login", "status", "told"),
    [
        ("", 401, "it wants a user name and a password"),
        ("zoe:s3cret@", 401, "its user name or password is wrong"),
        ("zoe:s3%2Fcret@", 403, "its user name or password is wrong"),
        ("zoe:s3cret@", 404, "there is nothing of this path"),
        ("", 200, "something answers there, but sends no video that can be read"),
        ("", 500, "something answers there, but sends no video that can be read"),
    ],
)
def test_what_a_server_answers(protocol: str, login: str, status: int, told: str) -> None:
    version = {"rtsp": "RTSP/1.0", "http": "HTTP/1.1"}[protocol]
    with answering(f"{version} {status} Something\r\nContent-Length: 0\r\n\r\n".encode()) as (host, asked):
        assert why_silent(f"{protocol}://{login}{host}/live?pin=7") == told
    assert asked
    assert not any(secret in request for request in asked for secret in (b"zoe", b"s3"))
    assert b"/live?pin=7" in asked[0]


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"RTSP/1.0\r\n", b"RTSP/1.0 x\r\n"])
def test_who_is_no_rtsp_server(answer: bytes) -> None:
    with answering(answer) as (host, _):
        assert why_silent(f"rtsp://{host}/live").startswith("something answers there")


@pytest.mark.parametrize("protocol", ["rtsp", "rtsps", "rtmp", "http", "https"])
def test_nobody_answers(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert why_silent(f"{protocol}://zoe:s3cret@127.0.0.1:{port}/") == "nobody answers there (connection refused)"


def test_where_nobody_can_be_asked() -> None:
    assert why_silent("udp://127.0.0.1:5000") == "nothing comes from there, or no video"
    assert "nobody answers" in why_silent("rtsp://127.0.0.1:99999/")
