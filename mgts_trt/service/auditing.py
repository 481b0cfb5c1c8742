"""What is recorded of requests: who did what with the gallery. Nothing leaves the service that is not recorded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qs

from fastapi import Depends, Request
from starlette.types import Scope

from mgts_trt.access.audit_log import AuditLog
from mgts_trt.errors import AuditError
from mgts_trt.service.identity import ADDRESS, CALLER
from mgts_trt.service.permissions import id_in, route_of
from mgts_trt.service.refusal import Refusal

DEED = "mgts_trt.deed"
"""In a request's scope: its `Deed`."""

logger = logging.getLogger("mgts_trt.service")


class Act(NamedTuple):
    """What a route does with the gallery."""

    what: str
    changes: bool = False
    """Whether it is recorded before it is begun, too."""


ACTS: dict[str, Act] = {
    "POST /search": Act("search"),
    "GET /people": Act("list people"),
    "GET /people/{id}/thumbnail": Act("see crop"),
    "GET /people/{id}/scene": Act("see scene"),
    "GET /sightings": Act("list sightings"),
    "GET /sightings/{id}": Act("see sighting"),
    "GET /sightings/{id}/people": Act("see sighting"),
    "GET /sightings/{id}/thumbnail": Act("see crop"),
    "GET /cameras": Act("list cameras"),
    "GET /sources": Act("list sources"),
    "POST /index": Act("index", changes=True),
    "DELETE /sources": Act("forget", changes=True),
    "POST /forget": Act("forget", changes=True),
    "POST /recall": Act("recall", changes=True),
}
"""By method and route. Routes that say nothing of the gallery's people are not here: a test names them."""


async def _nowhere(stage: str) -> None:
    """Of a service without a log."""


@dataclass
class Deed:
    """What a route tells of a request, to be recorded with it.

    Attributes:
        rows: How many people, sightings, cameras or sources it gave, added or erased.
        probes: SHA-256 of pictures and embeddings of the probe.
        subjects: See `AuditLog.record`.
        more: Further fields, in clear.
        tell: Records what is known by now, at a stage of its own, before the route goes on.
    """

    rows: int | None = None
    probes: list[str] = field(default_factory=list)
    subjects: dict[str, list[str]] = field(default_factory=dict)
    more: dict[str, object] = field(default_factory=dict)
    tell: Callable[[str], Awaitable[None]] = field(default=_nowhere)


def _deed(request: Request) -> Deed:
    deed: Deed | None = request.scope.get(DEED)
    return deed or Deed()


TheDeed = Annotated[Deed, Depends(_deed)]


class Auditor:
    """Records requests.

    A request that cannot be recorded is refused: the log is what an operator answers with, and a full disk must not be
    a way past it. What changes the gallery is recorded before it is begun; if its end cannot be recorded any more, the
    answer goes out all the same, since it is done.

    Args:
        log: Where; None: nowhere, there is no gallery.
    """

    def __init__(self, log: AuditLog | None) -> None:
        self._log = log

    async def begin(self, scope: Scope) -> None:
        """Before a request is worked on; its `Deed` is in the scope then.

        Raises:
            Refusal: 503, it cannot be recorded.
        """
        act = ACTS.get(f"{scope['method']} {route_of(scope['path'])}")
        if self._log is None or act is None:
            return
        subjects = {}
        if person := id_in(scope["path"]):
            subjects["person"] = [person]
        if sources := parse_qs(scope.get("query_string", b"").decode("latin-1")).get("source"):
            subjects["source"] = sources
        log = self._log

        async def tell(stage: str) -> None:
            await self._record(log, act, scope, stage=stage, sync=True)

        scope[DEED] = Deed(subjects=subjects, tell=tell)
        if act.changes:
            await self._record(self._log, act, scope, stage="begun", sync=True)

    async def end(self, scope: Scope, status: int) -> None:
        """Before an answer goes out.

        Raises:
            Refusal: 503, it cannot be recorded.
        """
        act = ACTS.get(f"{scope['method']} {route_of(scope['path'])}")
        if self._log is None or act is None or DEED not in scope:
            return
        if act.changes:
            stage = "done" if status < 400 else "failed"
            try:
                await self._record(self._log, act, scope, stage=stage, status=status, sync=True)
            except Refusal:
                return
        elif status < 400:
            await self._record(self._log, act, scope)

    async def _record(self, log: AuditLog, act: Act, scope: Scope, **more: Any) -> None:
        deed, caller = scope[DEED], scope[CALLER]
        who = {"by": "key", "name": caller.name} if caller.name else {"by": "anybody"}
        if scope.get(ADDRESS):
            who["address"] = scope[ADDRESS]
        told = {**more, **deed.more, "rows": deed.rows, "probes": deed.probes or None}
        try:
            await asyncio.to_thread(log.record, who, act.what, subjects=deed.subjects, **told)
        except AuditError as error:
            logger.error("%s", error)
            raise Refusal(
                503,
                "What is done with the gallery cannot be recorded now, so it is not done. The service's log says why.",
                "audit",
            ) from error
