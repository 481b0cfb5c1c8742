"""Alarms to a web server: signed, and tried again."""

import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence

from mgts_trt.errors import MgtsError
from mgts_trt.urls import without_login
from mgts_trt.watching.delivery import ROOM, Delivery

SIGNATURE = "X-MGTS-Signature"
"""Header that holds `sha256=` and the HMAC-SHA256 of the body, in hexadecimal."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each further attempt."""

_TIMEOUT = 10.0
"""Seconds that a server may say nothing."""
_LATER = (408, 425, 429)
"""Refusals that may end; other 4xx will not."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without its body: it counts as refused."""

    def redirect_request(self, *_: object) -> None:
        return None


class Webhook(Delivery):
    """Posts bodies to a URL.

    Args:
        url: Of the receiver, http or https.
        secret: Signs each body; empty signs none.
        pauses: Seconds before each further attempt.
        room: Bodies that wait.

    Raises:
        MgtsError: The URL is none of http or https.
    """

    def __init__(self, url: str, secret: bytes, *, pauses: Sequence[float] = PAUSES, room: int = ROOM) -> None:
        if not url.startswith(("http://", "https://")):
            raise MgtsError(f"{without_login(url)} is no receiver of alarms. Name a URL that begins with https://.")
        self._url, self._secret, self._pauses = url, secret, tuple(pauses)
        self._open = urllib.request.build_opener(_NoRedirect).open
        super().__init__("the webhook", room=room)

    def deliver(self, body: bytes) -> bool:
        """See `Delivery`."""
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        for pause in (0.0, *self._pauses):
            if self.stop.wait(pause):
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
