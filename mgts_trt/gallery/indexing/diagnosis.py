"""Why a live stream cannot be opened, in words: by FFmpeg's error, and else by a call at its door."""

import errno
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

_PATIENCE = 3.0
"""Seconds to wait for somebody to take the call."""

_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}


class Silence(NamedTuple):
    """Why a stream cannot be opened."""

    why: str
    """Half a sentence, without user name and password."""
    refused: bool = False
    """Whether it is its login that was not accepted."""


def why_silent(url: str, error: Exception) -> Silence:
    """What an error of PyAV at the opening of a stream means.

    Its server is not asked again with user name and password: a camera that locks after wrong ones is brought no
    closer to it.
    """
    import av.error as ffmpeg

    parts = urlsplit(url)
    if isinstance(error, ffmpeg.HTTPUnauthorizedError):
        given = "@" in parts.netloc
        return Silence("its user name or password is wrong" if given else "it wants a user name and a password", True)
    if isinstance(error, ffmpeg.HTTPForbiddenError):
        return Silence("it does not let this user in, or nobody for a while after wrong passwords", True)
    if isinstance(error, ffmpeg.HTTPNotFoundError):
        return Silence("there is nothing of this path")
    if isinstance(error, ffmpeg.HTTPServerError):
        return Silence("its server is out of order, or has no room for another viewer (5xx)")
    if isinstance(error, ffmpeg.HTTPClientError):
        return Silence("its server refuses it, as some do when there are too many viewers (4xx)")
    if isinstance(error, ffmpeg.ProtocolNotFoundError) or parts.scheme not in _PORTS:
        return Silence("nothing comes from there, or no video")
    if getattr(error, "errno", None) == errno.EPROTONOSUPPORT:
        return Silence("it does not send by this transport; choose the other with --rtsp-transport tcp or udp")
    return Silence(_at_its_door(url))


def _at_its_door(url: str) -> str:
    """Whether somebody takes a call there."""
    try:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), _PATIENCE):
            return "something answers there, but sends no video that can be read"
    except TimeoutError:
        return "nobody answers there"
    except socket.gaierror:
        return "its host is not known, or the network is down"
    except (OSError, ValueError) as error:
        told = (error.strerror if isinstance(error, OSError) else None) or "no connection"
        return f"nobody answers there ({told.lower()})"
