import socket

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.server import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_answers_are_sent_at_once(host: str) -> None:
    """With Nagle's algorithm a kept-alive connection's answers wait for acknowledgements."""
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
