"""Why a live stream shows nothing: asked of its server, since a decoder does not tell."""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from urllib.parse import SplitResult, urlsplit

_PATIENCE = 3.0
"""Seconds to wait for an answer."""

_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}


def why_silent(url: str) -> str:
    """Half a sentence that says why a stream cannot be opened; without user name and password.

    It asks without them, so that a camera that locks after wrong passwords is brought no closer to it.
    """
    try:
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.scheme in ("http", "https"):
            return _of_status(_http_status(bare), parts)
        if parts.scheme not in _PORTS:
            return "nothing comes from there, or no video"
        with socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), _PATIENCE) as there:
            return _of_status(_rtsp_status(there, bare) if parts.scheme == "rtsp" else None, parts)
    except TimeoutError:
        return "nobody answers there"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, socket.gaierror):
            return "its host is not known, or the network is down"
        if isinstance(reason, ssl.SSLError):
            return "its certificate or encryption is not accepted"
        told = (reason.strerror if isinstance(reason, OSError) else None) or "no connection"
        return f"nobody answers there ({told.lower()})"


def _http_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _rtsp_status(connection: socket.socket, url: str) -> int | None:
    """Of a DESCRIBE; None if there is none, or what answers is no RTSP server."""
    connection.settimeout(_PATIENCE)
    connection.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
    line = connection.makefile("rb").readline(256).split()
    return int(line[1]) if len(line) > 1 and line[0].startswith(b"RTSP/") and line[1].isdigit() else None


def _of_status(status: int | None, parts: SplitResult) -> str:
    if status in (401, 403):
        given = parts.username is not None
        return "its user name or password is wrong" if given else "it wants a user name and a password"
    if status in (404, 410, 454):
        return "there is nothing of this path"
    return "something answers there, but sends no video that can be read"
