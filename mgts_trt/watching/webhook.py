"""Alarms to a web server: signed, tried again, in a thread of their own."""

import hashlib
import hmac
import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence

from mgts_trt.errors import MgtsError
from mgts_trt.urls import without_login

SIGNATURE = "X-MGTS-Signature"
"""Header that holds `sha256=` and the HMAC-SHA256 of the body, in hexadecimal."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each further attempt."""

_ROOM = 100
"""Alarms that wait; further ones are not delivered."""
_TIMEOUT = 10.0
"""Seconds that a server may say nothing."""
_LATER = (408, 425, 429)
"""Refusals that may end; other 4xx will not."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without its body: it counts as refused."""

    def redirect_request(self, *_: object) -> None:
        return None


class Webhook:
    """Posts bodies to a URL, in order. Handing one over never waits.

    Args:
        url: Of the receiver, http or https.
        secret: Signs each body; empty signs none.
        pauses: Seconds before each further attempt.
        room: Bodies that wait.

    Attributes:
        delivered: Bodies that the receiver took.
        lost: Bodies that it did not take in all attempts, or for which there was no room.

    Raises:
        MgtsError: The URL is none of http or https.
    """

    def __init__(self, url: str, secret: bytes, *, pauses: Sequence[float] = PAUSES, room: int = _ROOM) -> None:
        if not url.startswith(("http://", "https://")):
            raise MgtsError(f"{without_login(url)} is no receiver of alarms. Name a URL that begins with https://.")
        self.delivered = self.lost = 0
        self._url, self._secret, self._pauses = url, secret, tuple(pauses)
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._queue: queue.Queue[bytes | None] = queue.Queue(room + 1)  # one place is for the end
        self._room, self._lock, self._stop = room, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def put(self, body: bytes) -> None:
        """Hand a body over; without room it is lost, and counted."""
        if self._queue.qsize() >= self._room:
            self._lose()
        else:
            self._queue.put_nowait(body)

    def close(self, patience: float = 10.0) -> None:
        """Deliver what waits, for so many seconds at most; what is left then is lost, and counted."""
        self._queue.put_nowait(None)
        self._thread.join(patience)
        self._stop.set()
        self._thread.join(_TIMEOUT + 1.0)

    def _run(self) -> None:
        while (body := self._queue.get()) is not None:
            if self._deliver(body):
                self.delivered += 1
            else:
                self._lose()

    def _lose(self) -> None:
        with self._lock:
            self.lost += 1

    def _deliver(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        for pause in (0.0, *self._pauses):
            if self._stop.wait(pause) or self._stop.is_set():
                return False
            try:
                request = urllib.request.Request(self._url, body, headers, method="POST")
                with self._open(request, timeout=_TIMEOUT):
                    return True
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500 and error.code not in _LATER:
                    return False
            except (OSError, ValueError, http.client.HTTPException):
                continue
        return False
