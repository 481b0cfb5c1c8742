"""The service's door, before any byte of a body is read: who may come in, how many, how much, for how long."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection

import anyio
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mgts_trt.service.auditing import Auditor
from mgts_trt.service.body import Body, too_large, too_slow
from mgts_trt.service.counters import Metrics
from mgts_trt.service.identity import CALLER, Identity
from mgts_trt.service.limits import Limits
from mgts_trt.service.permissions import demand_of, route_of
from mgts_trt.service.refusal import Refusal, answer
from mgts_trt.service.turnstile import Turnstile, Visit

logger = logging.getLogger("mgts_trt.service")

KNOWN = "mgts_trt.known"
"""In a request's scope: whether it bears a key, or needs none."""
GONE = 499
"""Status in `/metrics` of requests whose client went away, as nginx has it."""

_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        limits: Of requests.
        turnstile: Counts them.
        metrics: Told of each.
        auditor: Records what is done.
        identity: Whose a request is. Where there are no keys, it must come from this machine's own pages or from no
            page at all.
        hosts: Names the service goes by where no key guards it: a name of the attacker's own that resolves to this
            machine (DNS rebinding) is none of them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        turnstile: Turnstile,
        metrics: Metrics,
        auditor: Auditor,
        identity: Identity,
        hosts: Collection[str],
    ) -> None:
        self._app, self._limits, self._turnstile, self._metrics = app, limits, turnstile, metrics
        self._identity, self._auditor = identity, auditor
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, KNOWN: False}
        if scope["method"] == "HEAD":  # as GET; the server leaves the body out, since it still knows what was asked
            scope["method"] = "GET"
        start = time.perf_counter()
        body = Body(receive, self._limits.body, expected=_has_body(Headers(scope=scope)))
        reply = _Reply(send, body)
        self._turnstile.running += 1
        try:
            await self._serve(scope, body, reply)
        finally:
            self._turnstile.running -= 1
            route = route_of(scope["path"])
            self._metrics.requests.labels(route, str(reply.status or GONE)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - start)

    async def _serve(self, scope: Scope, body: Body, reply: "_Reply") -> None:
        takes_body = scope["method"] != "GET"
        visit = Visit(self._turnstile, body, self._limits.requests)
        reply.before_end = visit.leave
        try:
            if self._turnstile.closing:
                raise _closing()
            scope[CALLER] = caller = await self._identity.find(scope)
            scope[KNOWN] = caller is not None
            self._check(scope, takes_body)
            if takes_body:
                visit.enter()
            await self._auditor.begin(scope)
            reply.before_start = lambda status: self._auditor.end(scope, status)
            await self._run(scope, body, reply)
        except Refusal as refusal:
            visit.leave()
            self._metrics.rejected.labels(refusal.reason).inc()
            await self._answer(refusal, scope, body, reply)
        finally:
            visit.leave()

    def _check(self, scope: Scope, takes_body: bool) -> None:
        headers = Headers(scope=scope)
        if not self._identity.needed:
            self._check_origin(headers)
        self._check_role(scope)
        if not takes_body:
            return
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limits.body:
            raise too_large(self._limits.body)

    @staticmethod
    def _check_role(scope: Scope) -> None:
        demand, caller = demand_of(scope["method"], scope["path"]), scope[CALLER]
        if demand == "nothing":
            return
        if caller is None:
            raise Refusal(401, "This service needs a key. Send it in the header X-API-Key.", "key")
        if demand != "any key" and not caller.may(demand):
            roles = " and ".join(sorted(caller.roles))
            raise Refusal(
                403, f"This takes a key with the role {demand}, and this one has {roles}. Ask for another.", "role"
            )

    def _check_origin(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            raise Refusal(
                403,
                f"This service does not go by the name {_name(host)[:100]!r}. Use the address it was started on, or "
                "start it with a key.",
                "host",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refusal(403, "This request comes from another web page, and no key says that it may.", "origin")

    async def _run(self, scope: Scope, body: Body, reply: "_Reply") -> None:
        """Run the application until it is done or the client has gone.

        Raises:
            Refusal: 408, its place is needed; 504, the time is up; and no answer has begun.
        """
        work = asyncio.ensure_future(self._app(scope, body, reply))
        ends = (work, asyncio.ensure_future(body.gone()), asyncio.ensure_future(body.displaced.wait()))
        try:
            await asyncio.wait(ends, timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            late = not any(task.done() for task in ends)
        finally:
            for task in ends:
                task.cancel()
            outcome, *_ = await asyncio.gather(*ends, return_exceptions=True)
        if isinstance(outcome, Exception):
            logger.error("%s %s failed", scope["method"], route_of(scope["path"]), exc_info=outcome)
        if body.displaced.is_set() and not reply.status:
            raise too_slow()
        if late and not reply.status:
            raise Refusal(
                504,
                f"The request took longer than {self._limits.seconds:g} seconds. Send less at a time, or try later.",
                "time",
            )

    async def _answer(self, refusal: Refusal, scope: Scope, body: Body, reply: "_Reply") -> None:
        response: Response = answer(refusal.status_code, refusal.detail, refusal.headers)
        with anyio.move_on_after(self._limits.seconds):
            await response(scope, body, reply)


class _Reply:
    """An answer on its way out: with the headers every answer has, and closing the connection if it comes early.

    Attributes:
        status: Of the answer; 0 before it begins.
        before_start: Called with the status before the answer begins; what it refuses with is answered instead.
        before_end: Called before the last of the answer goes out, perhaps twice: who has it all may ask again at once.
    """

    def __init__(self, send: Send, body: Body) -> None:
        self._send, self._body = send, body
        self.status = 0
        self.before_start: Callable[[int], Awaitable[None]] = _nothing
        self.before_end: Callable[[], None] = lambda: None
        self._early = self._replaced = False

    async def __call__(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            try:
                await self.before_start(message["status"])
            except Refusal as refusal:
                self._replaced = True
                response = answer(refusal.status_code, refusal.detail, refusal.headers)
                await response({"type": "http"}, self._body, self._pass)
                return
        await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._early = self._body.pending
            headers = MutableHeaders(scope=message)
            for name, value in _POLICY.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            if self._early:
                headers["Connection"] = "close"
        elif not message.get("more_body", False):
            if self._early:
                # The client has all of the answer with this; what follows the pause closes the connection.
                await self._send({**message, "more_body": True})
                self.before_end()
                await self._body.drop()
                message = {"type": "http.response.body", "body": b""}
            self.before_end()
            self._body.answered = True
        await self._send(message)


async def _nothing(status: int) -> None:
    pass


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _name(host: str) -> str:
    """A Host header without the port, lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _closing() -> Refusal:
    return Refusal(503, "The service is shutting down. Try again in a while.", "closing", {"Retry-After": "10"})
