"""Grafana's dashboard: its queries ask for what /metrics tells, and it is made as Grafana's own types say."""

import enum
import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")
pytest.importorskip("promql_parser", reason="needs promql-parser")
pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk")

import promql_parser
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard, heatmap, prometheus, statetimeline, table, timeseries
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mgts_trt.gallery.indexing.camera_metrics import CameraCollector
from mgts_trt.gallery.indexing.cameras import Cameras
from mgts_trt.gallery.indexing.sources import Source
from tests.helpers.paths import ROOT
from tests.helpers.running_service import picture, serving

BOARD = json.loads((ROOT / "deploy" / "grafana" / "mgts-trt.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [query["expr"] for panel in PANELS for query in panel["targets"]]
KINDS = {"heatmap": heatmap, "state-timeline": statetimeline, "table": table, "timeseries": timeseries}

OF_A_SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds to whatever it reads."""

Told = dict[str, set[str]]
"""Labels by the name of a metric."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """By a service that did a bit of everything, and for a camera."""
    folder = tmp_path_factory.mktemp("metrics")
    with serving(folder, "--gallery", folder / "gallery") as running, running.client() as client:
        client.post("/index", files=[("images", ("a.png", picture((0, 1))))]).raise_for_status()
        assert client.post("/detect", files=[("image", ("a.png", b"none"))]).status_code == 400
        text = client.get("/metrics").text
    cameras = Cameras()
    cameras.add(Source("rtsp://10.0.0.4/live", "stream", "door")).up(100.0)
    registry = CollectorRegistry()
    registry.register(CameraCollector(cameras))
    labels: Told = {}
    for each in (text, generate_latest(registry).decode()):
        for family in text_string_to_metric_families(each):
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def parts(query: Any) -> Iterator[Any]:
    """An expression and all that it is made of."""
    yield query
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (part := getattr(query, name, None)) is not None:
            yield from parts(part)
    for part in getattr(query, "args", None) or ():
        yield from parts(part)


def faults(text: str, told: Told) -> list[str]:
    """What a query asks for that nobody tells."""
    found = []
    query = promql_parser.parse(text.replace("$__rate_interval", "5m"))
    for aggregate in parts(query):
        named = set(aggregate.modifier.labels) if hasattr(getattr(aggregate, "modifier", None), "labels") else set()
        for selector in parts(aggregate):
            if not isinstance(selector, promql_parser.VectorSelector):
                continue
            if selector.name not in told:
                found.append(f"no metric {selector.name}")
                continue
            asked = named | {matcher.name for matcher in selector.matchers.matchers}
            for label in sorted(asked - told[selector.name] - OF_A_SCRAPE):
                found.append(f"{selector.name} has no label {label}")
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_told(query: str, told: Told) -> None:
    assert faults(query, told) == []


def test_jobs_are_found_by_what_is_told(told: Told) -> None:
    (query,) = [each["query"] for each in BOARD["templating"]["list"] if each["name"] == "job"]
    names = set(re.findall(r"mgts_\w+", query))
    assert names
    assert names <= set(told)


def test_all_that_is_told_is_shown(told: Told) -> None:
    """But for the parts of histograms, and when each series began."""
    shown = " ".join(QUERIES)
    ends = re.compile(r"_(bucket|count|sum|created|total)$")
    missing = {ends.sub("", name) for name in told if ends.sub("", name) not in shown}
    assert missing == {"mgts_camera_since_timestamp_seconds"}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(rate(mgts_requests[5m]))", "no metric mgts_requests"),
        ('mgts_requests_total{rout="/detect"}', "mgts_requests_total has no label rout"),
        ("sum by (camera) (rate(mgts_pictures_total[5m]))", "mgts_pictures_total has no label camera"),
        ("time() - max by (kind) (mgts_camera_up)", "mgts_camera_up has no label kind"),
    ],
)
def test_a_wrong_query_is_caught(query: str, fault: str, told: Told) -> None:
    assert faults(query, told) == [fault]


def test_legends_name_labels_that_are_kept() -> None:
    for panel in PANELS:
        for query in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", query["legendFormat"]):
                kept = re.search(r"by \(([^)]*)\)", query["expr"])
                assert kept, (panel["title"], label)
                assert label in kept[1], (panel["title"], label)


def astray(kind: Any, value: Any, path: str = "") -> Iterator[str]:
    """Where a value, read from JSON, is not of a type of Grafana's SDK: its keys, and what lies below them."""
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return
    if origin in (typing.Union, types.UnionType):
        each = [list(astray(one, value, path)) for one in typing.get_args(kind)]
        yield from min(each, key=len)
    elif origin in (list, dict):
        inner = typing.get_args(kind)[-1]
        if not isinstance(value, origin):
            yield f"{path}: {value!r} is no {origin.__name__}"
            return
        for key, one in value.items() if origin is dict else enumerate(value):
            yield from astray(inner, one, f"{path}/{key}")
    elif origin is typing.Literal:
        if value not in typing.get_args(kind):
            yield f"{path}: {value!r}"
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value not in {each.value for each in kind}:
            yield f"{path}: {value!r} is none of {[each.value for each in kind]}"
    elif hasattr(kind, "from_json"):
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no {kind.__name__}"
            return
        made = kind.from_json(value)
        back = json.loads(json.dumps(made, cls=JSONEncoder))
        yield from (f"{path}: {kind.__name__} has no {key}" for key in value if key not in back)
        known = {attribute.removesuffix("_val"): hint for attribute, hint in typing.get_type_hints(kind).items()}
        for key, one in value.items():
            attribute = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
            if key in back and attribute in known:
                yield from astray(known[attribute], one, f"{path}/{key}")
    elif kind in (bool, str, type(None)):
        if not isinstance(value, kind):
            yield f"{path}: {value!r} is no {kind.__name__}"
    elif kind in (int, float) and (
        isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float))
    ):
        yield f"{path}: {value!r} is no {kind.__name__}"


def wrong(board: dict[str, Any]) -> Iterator[str]:
    """All that in a dashboard is not as Grafana's types say."""
    yield from astray(dashboard.Dashboard, {**board, "panels": []})
    for panel in board["panels"]:
        title = panel["title"]
        if panel["type"] == "row":
            yield from astray(dashboard.RowPanel, panel, title)
            continue
        yield from astray(dashboard.Panel, panel, title)
        kind = KINDS[panel["type"]]
        yield from astray(kind.Options, panel["options"], f"{title}/options")
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        yield from astray(getattr(kind, "FieldConfig", dict), custom, f"{title}/custom")
        for query in panel["targets"]:
            yield from astray(prometheus.Dataquery, query, f"{title}/{query['refId']}")


def test_it_is_made_as_grafana_says() -> None:
    assert list(wrong(BOARD)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), "39"), (("graphTooltip",), 7), (("tytle",), "x"), (("templating", "list", 0, "hide"), 9),
        (("panels", 1, "gridPos", "w"), "wide"), (("panels", 1, "grid"), {}), (("panels", 1, "targets", 0, "expr"), 1),
        (("panels", 2, "options", "legend", "placement"), "left"), (("panels", 2, "options", "legendary"), {}),
        (("panels", 2, "fieldConfig", "defaults", "custom", "fillOpacity"), "30"),
        (("panels", 2, "targets", 0, "format"), "lines"), (("panels", 2, "fieldConfig", "defaults", "unit"), 3),
    ],
)  # fmt: skip
def test_what_is_not_is_caught(path: tuple[str | int, ...], value: object) -> None:
    board = json.loads(json.dumps(BOARD))
    place = board
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(list(wrong(board))) == 1


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_it_names_no_machine() -> None:
    """Any Grafana takes it: the data source is chosen there."""
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert "http" not in Path(ROOT / "deploy" / "grafana" / "mgts-trt.json").read_text(encoding="utf-8")
