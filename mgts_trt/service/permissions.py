"""What each route demands of who asks, in one place; and what `/metrics` calls it."""

import re
from typing import Literal, TypeAlias

from mgts_trt.access.key_file import Role

Demand: TypeAlias = Role | Literal["nothing", "any key"]

DEMANDS: dict[str, Demand] = {
    "GET /": "nothing",
    "GET /page": "nothing",  # the page's files, which say nothing about pictures or people
    "GET /docs": "nothing",
    "GET /openapi.json": "nothing",
    "GET /healthz": "nothing",  # and says how much the gallery holds to who bears a key alone
    "GET /readyz": "nothing",
    "GET /metrics": "any key",
    "POST /detect": "search",
    "POST /embed": "search",
    "POST /search": "search",
    "GET /people": "search",
    "GET /people/{id}/thumbnail": "search",
    "GET /people/{id}/scene": "search",
    "GET /sightings": "search",
    "GET /sightings/{id}": "search",
    "GET /sightings/{id}/people": "search",
    "GET /sightings/{id}/thumbnail": "search",
    "GET /cameras": "search",
    "GET /sources": "search",
    "GET /v2": "any key",
    "GET /v2/health/live": "nothing",
    "GET /v2/health/ready": "nothing",
    "GET /v2/models/{model}": "any key",
    "GET /v2/models/{model}/ready": "nothing",
    "POST /v2/models/{model}/infer": "search",
    "GET /v2/models/{model}/versions/{version}": "any key",
    "GET /v2/models/{model}/versions/{version}/ready": "nothing",
    "POST /v2/models/{model}/versions/{version}/infer": "search",
    "POST /index": "index",
    "DELETE /sources": "forget",
    "POST /forget": "forget",
    "POST /recall": "admin",  # against the wish of whoever asked to be forgotten
}
"""By method and route. A route that is not here is not served: a test asks for each."""

_PATHS = frozenset(route.partition(" ")[2] for route in DEMANDS)
_WITH_NAMES = {path: re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", path)) for path in sorted(_PATHS) if "{" in path}
"""Paths in which somebody or something is named."""
_OF_ONE = re.compile(r"/(people|sightings)/[^/]+(/[a-z]+)?")
"""Paths of somebody, or of a sighting, by their ids."""


def route_of(path: str) -> str:
    """A path as `/metrics` names it: few enough names, whatever strangers ask for."""
    if path in _PATHS and path not in _WITH_NAMES:
        return path
    if path == "/docs/style.css" or path.startswith("/page/"):
        return "/page"
    return next((name for name, form in _WITH_NAMES.items() if form.fullmatch(path)), "other")


def id_in(path: str) -> str | None:
    """The id of a person or sighting that a path names."""
    return path.split("/")[2] if _OF_ONE.fullmatch(path) else None


def demand_of(method: str, path: str) -> Demand:
    """What a request demands. What no route takes, any key may ask for, and is told so."""
    return DEMANDS.get(f"{method} {route_of(path)}", "any key")
