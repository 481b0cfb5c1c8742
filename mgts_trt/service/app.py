"""The application: routes, page, and what becomes of errors."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mgts_trt.access.key_ring import KeyRing
from mgts_trt.errors import MgtsError
from mgts_trt.service import browsing, forgetting_routes, inference_routes, routes, searching, sighting_routes
from mgts_trt.service.api_page import STYLE, describe
from mgts_trt.service.api_page import page as reference_page
from mgts_trt.service.auditing import Auditor
from mgts_trt.service.core import Service
from mgts_trt.service.faults import fault_of
from mgts_trt.service.guard import Guard
from mgts_trt.service.identity import Identity
from mgts_trt.service.refusal import Refusal, answer
from mgts_trt.service.tracing import Traced
from mgts_trt.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

logger = logging.getLogger("mgts_trt.service")

ROUTERS = (
    routes.router,
    searching.router,
    browsing.router,
    sighting_routes.router,
    forgetting_routes.router,
    inference_routes.router,
)
"""Of all routes but the page's."""
PAGE = Path(__file__).parent / "page"
_ROUTING = {
    404: "There is nothing at this address. /docs lists what there is.",
    405: "This address takes another method. /docs says which.",
}


def make_app(
    service: Service,
    *,
    keys: KeyRing | None = None,
    hosts: Collection[str] = ("localhost",),
    proxy: str | None = None,
    tracer: "Tracer | None" = None,
) -> ASGIApp:
    """The service as an ASGI application, behind its guard.

    Args:
        service: What it serves; it stays open when the application ends.
        keys: See `Identity`.
        hosts: See `Guard`.
        proxy: See `Identity`.
        tracer: Traces requests; None traces nothing.
    """
    guarded = Guard(
        make_routes(service),
        limits=service.limits,
        turnstile=service.turnstile,
        metrics=service.metrics,
        auditor=Auditor(service.audit),
        identity=Identity(keys, proxy),
        hosts=hosts,
    )
    return guarded if tracer is None else Traced(guarded, tracer)


def make_routes(service: Service) -> FastAPI:
    """All routes, without a guard."""
    app = FastAPI(
        title="mgts-trt",
        version=__version__,
        summary="Person search: find people in pictures, and find them again in a gallery.",
        openapi_url=None,
        # FastAPI's own, from 0.165 on, tells whole addresses to whichever SDK this process has: Traced does not.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    described = describe(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(described)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(reference_page(described))

    @app.get("/docs/style.css", include_in_schema=False)
    async def docs_style() -> Response:
        return FileResponse(STYLE)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, OSError):  # FastAPI calls a disk that is full the client's fault
            logger.error("%s %s: an upload cannot be kept: %s", request.method, request.url.path, error.__cause__)
            service.metrics.rejected.labels("disk").inc()
            return answer(503, "Uploads cannot be kept now. The service's log says why.")
        if isinstance(error, Refusal):
            service.metrics.rejected.labels(error.reason).inc()
        sentence = _ROUTING.get(error.status_code, error.detail) if not isinstance(error, Refusal) else error.detail
        return answer(error.status_code, sentence, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        service.metrics.rejected.labels("field").inc()
        return answer(400, _sentence(error))

    @app.exception_handler(MgtsError)
    async def unable(request: Request, error: MgtsError) -> Response:
        fault = fault_of(error)
        if fault.status >= 500:
            logger.error("%s %s: %s", request.method, request.url.path, error)
        service.metrics.rejected.labels(fault.reason).inc()
        return answer(fault.status, fault.sentence or str(error))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return answer(500, "The service failed. Its log says why.")

    return app


def _sentence(error: RequestValidationError) -> str:
    """The first fault of a form, in words."""
    fault = error.errors()[0]
    # Of a field that is sent several times, its place among them follows.
    field = next((name for name in reversed(fault["loc"]) if isinstance(name, str)), "form")
    if fault["type"] == "missing":
        return f"The form field {field} is missing; send it as multipart/form-data."
    if "UploadFile" in fault["msg"]:
        return f"The form field {field} is a text, but a file is expected."
    return f"The form field {field} cannot be read: {fault['msg'][:200]}."
