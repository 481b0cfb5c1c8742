import socket
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from tests.helpers.running_service import Running, picture, post, serving, status_of

KEY = "a-key-of-some-length"
WITH_KEY = f"X-API-Key: {KEY}"
CHUNK = bytes(65536)


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Running:
    """One that is short of everything."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "key").write_text(KEY + "\n")
    with serving(folder, "--key-file", folder / "key", "--max-mib", 2, "--queue", 2, "--timeout", 3) as running:
        yield running


@pytest.fixture
def wire(service: Running) -> socket.socket:
    """A bare connection."""
    with socket.create_connection((service.host, service.port), timeout=30) as connection:
        yield connection


def read_answer(wire: socket.socket) -> bytes:
    """What comes until the other side closes."""
    answer = b""
    try:
        while data := wire.recv(65536):
            answer += data
    except ConnectionResetError:
        pass
    return answer


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/metrics", None, 401), ("/metrics", "wrong", 401), ("/metrics", "ÿ", 401), ("/metrics", KEY, 200),
        ("/people/x/thumbnail", None, 401), ("/nothing", None, 401),
        ("/", None, 200), ("/healthz", None, 200), ("/openapi.json", None, 200), ("/docs", None, 200),
    ],
)  # fmt: skip
def test_key(service: Running, path: str, key: str | None, status: int) -> None:
    headers = {} if key is None else {"X-API-Key": key.encode("latin-1")}
    with service.client() as client:
        assert client.get(path, headers=headers).status_code == status
        if path == "/healthz":
            assert client.get(path).json()["key_needed"] is True


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/"])
def test_a_wrong_key_is_answered_late_everywhere(service: Running, path: str) -> None:
    """A guess must not be quicker, or tell more, at an address that needs no key."""
    with service.client() as client:
        start = time.monotonic()
        assert client.get(path, headers={"X-API-Key": "wrong"}).status_code == 401
        assert time.monotonic() - start >= 1


def test_without_a_gallery_there_is_nothing_to_search(service: Running) -> None:
    with service.client(**{"X-API-Key": KEY}) as client:
        response = client.post("/search", files={"image": picture((0, 0))})
        assert response.status_code == 404
        assert "--gallery" in response.json()["error"]
        assert client.get("/healthz").json()["gallery"] is None


@pytest.mark.parametrize(
    "headers", [(f"Content-Length: {200 * 2**20}",), ("Transfer-Encoding: chunked",)], ids=["stated", "unstated"]
)
def test_200_mb_are_refused_before_they_are_read(service: Running, wire: socket.socket, headers: tuple) -> None:
    before = service.rss()
    wire.sendall(post("/detect", b"", WITH_KEY, *headers, length=-1).partition(b"--b")[0])
    chunked = "chunked" in headers[0]
    start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    wire.sendall(b"%x\r\n%s\r\n" % (len(start), start) if chunked else start)
    sent = 0
    try:
        while sent < 200 * 2**20:
            wire.sendall(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK) if chunked else CHUNK)
            sent += len(CHUNK)
    except OSError:  # it hangs up
        pass
    answer = read_answer(wire)
    assert status_of(answer) == 413
    assert b"larger than 2 MiB" in answer
    assert b"connection: close" in answer.lower()
    assert sent < 20 * 2**20
    assert service.rss() - before < 30


def test_a_wrong_key_is_told_before_the_body_is_read(service: Running, wire: socket.socket) -> None:
    wire.sendall(post("/detect", b"", "X-API-Key: wrong", length=1_000_000))
    assert status_of(read_answer(wire)) == 401


def test_slow_clients_are_hung_up_on(service: Running) -> None:
    """One sends no head, one half a head, one half a body: all are gone after the time a request has."""
    whole = post("/detect", picture((0, 0)), WITH_KEY)
    connections = [socket.create_connection((service.host, service.port), timeout=30) for _ in range(3)]
    for connection, part in zip(connections, (b"", whole[:20], whole[:-20]), strict=True):
        connection.sendall(part)
    start = time.monotonic()
    answers = [status_of(read_answer(connection)) for connection in connections]
    assert answers == [0, 0, 504]
    assert time.monotonic() - start > 2
    with service.client(**{"X-API-Key": KEY}) as client:
        assert client.post("/detect", files={"image": picture((0, 0))}).status_code == 200
