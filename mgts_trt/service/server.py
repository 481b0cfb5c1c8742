"""The process that serves: a socket, uvicorn, and an orderly end."""

import asyncio
import ipaddress
import logging
import socket
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import HANDLED_SIGNALS

from mgts_trt.access.key_ring import KeyRing
from mgts_trt.errors import MgtsError
from mgts_trt.machine.signals import is_ignored
from mgts_trt.service.app import make_app
from mgts_trt.service.core import Service

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

HEAD_SECONDS = 10.0
"""For a request's head to arrive, from the connection or from its own first byte; less if a request has less."""
_BACKLOG = 2048


def serve(
    service: Service,
    listener: socket.socket,
    *,
    keys: KeyRing | None = None,
    proxy: str | None = None,
    tracer: "Tracer | None" = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, unless one is ignored; then let running requests finish.

    While they do, new ones get 503. A second signal ends at once. Signals are heeded in the main thread alone.

    Args:
        service: It stays open.
        listener: From `listen`.
        keys: Of which requests must bear one in the header X-API-Key; None: nothing.
        proxy: Address of a proxy whose header X-Forwarded-For is believed.
        tracer: See `make_app`.
    """
    host = str(listener.getsockname()[0])
    hosts = ("localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host)
    app = make_app(service, keys=keys, hosts=hosts, proxy=proxy, tracer=tracer)
    config = _Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=int(service.limits.seconds) + 5,
    )
    config.head_seconds = min(HEAD_SECONDS, service.limits.seconds)
    _Server(config, service).run([listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Args:
        host: Name or address.
        port: 0 takes any that is free.

    Raises:
        MgtsError: There is no such address here, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)
        # Connections inherit it. asyncio would set it only for sockets made with the protocol TCP named, and this one
        # is not; an answer's body would then wait for the client to acknowledge its head, some 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise MgtsError(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Name another with --host and --port."
        ) from error


def is_loopback(host: str) -> bool:
    """Whether a host name or address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Config(uvicorn.Config):
    head_seconds = HEAD_SECONDS


class _Server(uvicorn.Server):
    """Turns new requests away before it stops to listen, and ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._turnstile = service.turnstile
        self._ignored = [number for number in HANDLED_SIGNALS if is_ignored(number)]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig in self._ignored:  # uvicorn handles it all the same
            return
        if self._turnstile.closing:
            self.should_exit = self.force_exit = True
        self._turnstile.closing = True

    async def on_tick(self, counter: int) -> bool:
        if self._turnstile.closing and not self._turnstile.running:
            self.should_exit = True
        return await super().on_tick(counter)


class _Protocol(H11Protocol):
    """Closes connections whose request's head does not arrive: uvicorn itself waits for it forever."""

    config: _Config
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    @property
    def _headless(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if not self._headless:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.config.head_seconds, self._give_up)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._headless:
            self.transport.close()
