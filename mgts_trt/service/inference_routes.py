"""Routes of the Open Inference Protocol, version 2: clients of Triton and KServe work against the service unchanged."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import BaseModel, Field

from mgts_trt._typing import Image
from mgts_trt.open_inference.messages import HEADER, InferRequest, read_request, write_answer
from mgts_trt.open_inference.models import VERSION, ModelSpec, bundle_specs, people_arrays
from mgts_trt.open_inference.sent import boxes_of, picture_of
from mgts_trt.runtime.people import People
from mgts_trt.service.dispatcher import Job
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.routing import PICTURE_FAILURES, TheService, failures
from mgts_trt.version import __version__

router = APIRouter(prefix="/v2", tags=["inference protocol"])
_of_model = APIRouter()
"""Routes of one model, with its version in the address or without."""

_JSON = "application/json"
_BYTES = "application/octet-stream"


class Live(BaseModel):
    """That the service, or a model, is there."""

    name: str


class ServerFacts(BaseModel):
    """What answers."""

    name: str
    version: str
    extensions: list[str]


class TensorFacts(BaseModel):
    """A tensor of a model; −1 in its shape is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelFacts(BaseModel):
    """A model and its tensors. Of the inputs `image` and `file` one is sent."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class Output(TensorFacts):
    """An output: its elements in `data`, or as bytes behind the JSON."""

    parameters: dict[str, Any] | None = Field(
        default=None,
        description="binary_data_size: how many of the bytes behind; content_type: base64, of BYTES in data",
    )
    data: list[Any] | None = None


class Inferred(BaseModel):
    """The outputs that were asked for."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


@router.get("", responses=failures(401, 503))
async def server() -> ServerFacts:
    """What answers, and which extensions of the protocol it knows."""
    return ServerFacts(name="mgts-trt", version=__version__, extensions=["binary_tensor_data"])


@router.get("/health/live", responses=failures(503))
async def live() -> Live:
    """Whether the service is up. Needs no key."""
    return Live(name="mgts-trt")


@router.get("/health/ready", responses=failures(503))
async def ready(service: TheService) -> Live:
    """Whether the pipeline is warm. Needs no key."""
    _require_ready(service)
    return Live(name="mgts-trt")


def _model(
    service: TheService,
    model: Annotated[
        str, InPath(description="person_search or embed", json_schema_extra={"enum": ["person_search", "embed"]})
    ],
) -> ModelSpec:
    specs = bundle_specs(service.search.bundle, service.search.mode)
    if model not in specs:
        raise Refusal(404, f"There is no model {model[:80]!r}. The models are {' and '.join(specs)}.", "unknown")
    return specs[model]


def _require_version(
    version: Annotated[str, InPath(description="Of the model", json_schema_extra={"enum": [VERSION]})],
) -> None:
    if version != VERSION:
        raise Refusal(404, f"Models have the version {VERSION} alone, not {version[:20]!r}.", "unknown")


TheModel = Annotated[ModelSpec, Depends(_model)]


@_of_model.get("/ready", responses=failures(404, 503))
async def model_ready(service: TheService, model: TheModel) -> Live:
    """Whether a model is there and warm. Needs no key."""
    _require_ready(service)
    return Live(name=model.name)


@_of_model.get("", responses=failures(401, 404, 503))
async def model_facts(service: TheService, model: TheModel) -> ModelFacts:
    """A model's tensors."""
    inputs, outputs = (
        [TensorFacts(name=each.name, datatype=each.datatype, shape=list(each.shape)) for each in tensors]
        for tensors in (model.inputs, model.outputs)
    )
    platform = f"mgts_trt_{service.search.runtime.backend}"
    return ModelFacts(name=model.name, versions=[VERSION], platform=platform, inputs=inputs, outputs=outputs)


_INFER: dict[str, Any] = {
    "response_model": Inferred,
    "responses": {**PICTURE_FAILURES, **failures(404, 415)},
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {"schema": InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")},
                _BYTES: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
}


@_of_model.post("/infer", **_INFER)
async def infer(
    service: TheService,
    request: Request,
    model: TheModel,
    json_length: Annotated[str | None, Header(alias=HEADER, description="Of the JSON, where bytes follow it")] = None,
) -> Response:
    """Search a picture, or describe people in boxes of it.

    The picture is `image`, UINT8 [H, W, 3], RGB; or `file`, BYTES [1], the bytes of a picture's file.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "Requests are taken as they are, not compressed: send no Content-Encoding.", "protocol")
    asked = read_request(await request.body(), json_length, model)

    def finish(_: Image, people: People) -> Response:
        answer = write_answer(model, VERSION, asked, people_arrays(people, frozenset(asked.outputs)))
        if answer.json_length is None:
            return Response(answer.body, media_type=_JSON)
        return Response(answer.body, media_type=_BYTES, headers={HEADER: str(answer.json_length)})

    load = picture_of(asked.inputs, service.limits.pixels)
    return await service.run(Job(load, finish, boxes_of(asked.inputs, model)))


def _require_ready(service: TheService) -> None:
    if why_not := service.readiness.why_not:
        raise Refusal(503, why_not, "warming", {"Retry-After": "1"})


router.include_router(_of_model, prefix="/models/{model}")
router.include_router(_of_model, prefix="/models/{model}/versions/{version}", dependencies=[Depends(_require_version)])
