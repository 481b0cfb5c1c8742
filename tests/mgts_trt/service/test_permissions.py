import re
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from fastapi import FastAPI
from starlette.routing import Mount, Route

from mgts_trt.service.api_page import describe
from mgts_trt.service.app import make_routes
from mgts_trt.service.permissions import DEMANDS, demand_of, route_of


def app() -> FastAPI:
    return make_routes(SimpleNamespace(metrics=None))


def requests(app: FastAPI) -> set[tuple[str, str]]:
    """Method and a path of every route there is."""
    described = {(method.upper(), path) for path, item in describe(app)["paths"].items() for method in item}
    others = {(method, route.path) for route in app.routes if isinstance(route, Route) for method in route.methods}
    mounts = {("GET", f"{route.path}/app.js") for route in app.routes if isinstance(route, Mount)}
    return {
        (method, re.sub(r"{[a-z]+}", "0f-1", path)) for method, path in described | others | mounts if method != "HEAD"
    }


def without_role(app: FastAPI) -> set[str]:
    """Routes for which nothing says what they demand."""
    return {f"{method} {path}" for method, path in requests(app) if f"{method} {route_of(path)}" not in DEMANDS}


def test_every_route_demands_something_and_has_a_name_in_the_metrics() -> None:
    made = app()
    assert without_role(made) == set()
    assert {f"{method} {route_of(path)}" for method, path in requests(made)} == set(DEMANDS)


@pytest.mark.parametrize(("method", "path"), [("post", "/people"), ("get", "/erase"), ("put", "/sightings/{id}/name")])
def test_a_route_without_a_role_is_found(method: str, path: str) -> None:
    made = app()
    getattr(made, method)(path)(lambda: None)
    assert without_role(made) == {f"{method.upper()} {path.replace('{id}', '0f-1')}"}


def test_only_the_page_the_description_and_what_says_nothing_is_open() -> None:
    assert {route for route, demand in DEMANDS.items() if demand == "nothing"} == {
        "GET /", "GET /page", "GET /docs", "GET /openapi.json", "GET /healthz", "GET /readyz",
        "GET /v2/health/live", "GET /v2/health/ready", "GET /v2/models/{model}/ready",
        "GET /v2/models/{model}/versions/{version}/ready",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/x", "/peoples", "/sources/1", "/docs/x", "//", "/index.php", "/page", "/page/../x"])
def test_strangers_make_no_names_and_open_no_doors(path: str) -> None:
    assert route_of(path) in ("other", "/page")
    assert demand_of("POST", path) == "any key"
    assert demand_of("GET", path) == ("nothing" if path.startswith("/page") else "any key")
