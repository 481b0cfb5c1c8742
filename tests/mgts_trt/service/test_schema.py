"""Requests made of `/openapi.json`: whatever is sent, the answer is one that the description tells of."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")
pytest.importorskip("schemathesis", reason="needs the extra check")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks, negative_data_rejection, positive_data_acceptance
from schemathesis.generation import GenerationMode

from mgts_trt.access.audit_log import AuditLog
from mgts_trt.access.key_ring import KeyRing
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.gallery import Frame, Gallery, Space, entry_of
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.service.app import make_app
from mgts_trt.service.core import Service
from mgts_trt.service.limits import Limits
from mgts_trt.service.permissions import DEMANDS
from tests.helpers.running_service import picture
from tests.helpers.tiny_bundle import make_tiny_bundle

KEY = "a-key-of-some-length"
EXAMPLES = 6
NOT_DESCRIBED = {"GET /", "GET /page", "GET /docs", "GET /openapi.json"}
PICTURE = picture((0, 1))


def with_pictures(context: Any, body: Any) -> Any:
    """Of random bytes none are a picture, so some become one."""
    if isinstance(body, dict):
        for name in {"image", "images", "not_image"} & set(body):
            if isinstance(body[name], list):
                body[name] = [PICTURE, *body[name][1:]] if body[name] else body[name]
            elif len(str(body[name])) % 2:
                body[name] = PICTURE
    return body


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("schema")
    bundle = Bundle.open(make_tiny_bundle(folder / "bundle"))
    load_all_checks()
    with (
        PersonSearch(bundle, mode="net", threads=1) as search,
        Gallery.create(folder / "gallery", Space.of(bundle, "net")) as gallery,
    ):
        for i in range(3):
            image = decode_image(picture((0, i), seed=i), "a picture")
            gallery.add([entry_of(image, Frame(f"{i}.png", 0, f"{i:064}"), search(image))])
        service = Service(search, gallery, limits=Limits(1 << 20, 10**6, 4, 8, 20.0), audit=AuditLog(folder / "log"))
        try:
            schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(service, keys=KeyRing(KEY)))
            schema.hook("map_body")(with_pictures)
            yield schema
        finally:
            service.close()


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", sorted(set(DEMANDS) - NOT_DESCRIBED))
def test_answers_are_those_that_are_described(api: Any, route: str, mode: Any) -> None:
    """Requests that fit the description, and such that do not, where a route takes anything."""
    method, _, path = route.partition(" ")
    operation = api[path][method]
    if mode == GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters or operation.body):
        return

    # No schema tells which texts are a filter, and which bytes a picture; and in a form a number is text.
    excluded = [positive_data_acceptance, *([negative_data_rejection] if operation.body else [])]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        case.call_and_validate(headers={"X-API-Key": KEY}, excluded_checks=excluded)

    ask()


def test_every_route_that_is_described_is_asked(api: Any) -> None:
    described = {f"{each.ok().method.upper()} {each.ok().path}" for each in api.get_all_operations()}
    assert described == set(DEMANDS) - NOT_DESCRIBED
