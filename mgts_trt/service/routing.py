"""What all routes declare."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, File, Request, UploadFile

from mgts_trt.service.core import Service
from mgts_trt.service.schemas import Failure


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for `/openapi.json`; where a key may be wrong, it may also lack the role."""
    if 401 in statuses:
        statuses = (*{*statuses, 403, 429},)
    return {status: {"model": Failure, "description": HTTPStatus(status).phrase} for status in sorted(statuses)}


Picture = Annotated[UploadFile, File(description="A JPEG, PNG, WebP, BMP or TIFF file")]
PICTURE_FAILURES = failures(400, 401, 403, 408, 413, 429, 503, 504)
