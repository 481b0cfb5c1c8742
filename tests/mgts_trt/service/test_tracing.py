"""Traces: what asks for them, what they tell and what they never do, in memory and at a collector."""

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from fastapi.testclient import TestClient

from mgts_trt.errors import MgtsError
from mgts_trt.gallery import Gallery, Space
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.service.app import make_app
from mgts_trt.service.core import Service
from mgts_trt.service.limits import Limits
from mgts_trt.service.passage import STEPS
from mgts_trt.service.tracing import exporters_wanted, open_traces
from tests.helpers.paths import ROOT
from tests.helpers.running_service import picture, serving
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.webhook_receiver import receiving

SDK = "needs OpenTelemetry's SDK: pip install 'mgts-trt[tracing]'"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"
SECRETS = ("zoe", "yard", "a-person", "203.0.113.7", "secret-agent")
"""Of what a request below says."""


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318/v1/traces"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_SDK_DISABLED": "true"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp", "console"]),
    ],
)
def test_what_asks_for_traces(environment: dict[str, str], wanted: list[str]) -> None:
    assert exporters_wanted(environment) == wanted


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER names zipkin"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is grpc",
        ),
    ],
)
def test_what_cannot_be(environment: dict[str, str], message: str) -> None:
    with pytest.raises(MgtsError, match=message):
        open_traces(environment)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MgtsError, match=r"pip install 'mgts-trt\[tracing\]'"):
        open_traces({"OTEL_TRACES_EXPORTER": "console"})


def test_nothing_is_loaded_unless_it_is_asked_for() -> None:
    says = (
        "import sys, mgts_trt.service.tracing as t; assert t.open_traces({'PATH': ''}) is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", says], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Memory:
    """What was traced."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.kept, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.kept))

    def take(self) -> list:
        spans = list(self.kept.get_finished_spans())
        self.kept.clear()
        return spans


@pytest.fixture(scope="module")
def memory() -> Memory:
    pytest.importorskip("opentelemetry.sdk", reason=SDK)
    return Memory()


@pytest.fixture(scope="module")
def everywhere() -> Memory:
    """What libraries trace by themselves: the SDK that a process has for all."""
    pytest.importorskip("opentelemetry.sdk", reason=SDK)
    from opentelemetry import trace

    memory = Memory()
    trace.set_tracer_provider(memory.provider)
    return memory


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, memory: Memory, everywhere: Memory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("traced")
    with (
        PersonSearch.open(make_tiny_bundle(folder / "bundle"), threads=1) as search,
        Gallery.create(folder / "gallery", Space.of(search.bundle, search.mode)) as gallery,
    ):
        service = Service(search, gallery, limits=Limits(1 << 20, 10**6, 4, 8, 20.0))
        app = make_app(service, tracer=memory.provider.get_tracer("test"))
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        yield client
        service.close()


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    if "client" in request.fixturenames:
        request.getfixturevalue("memory").take()


def upload(data: bytes, name: str = "zoe.png") -> list:
    return [("image", (name, data))]


def test_a_request_its_steps_and_the_stages(client: TestClient, memory: Memory) -> None:
    answer = client.post("/detect", files=upload(picture((0, 1), (1, 4))), headers={"traceparent": PARENT})
    assert len(answer.json()["people"]) == 2
    *parts, request = memory.take()
    assert (request.name, request.kind.name) == ("POST /detect", "SERVER")
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert dict(request.attributes) == {
        "http.request.method": "POST", "http.route": "/detect", "url.scheme": "http", "http.response.status_code": 200,
    }  # fmt: skip
    steps = [span for span in parts if span.parent.span_id == request.context.span_id]
    assert [span.name for span in steps] == list(STEPS)
    search = steps[3]
    stages = [span for span in parts if span.parent.span_id == search.context.span_id]
    assert [span.name for span in stages] == ["letterbox", "detector", "masknet", "separate", "reid"]
    assert len(parts) == len(steps) + len(stages)
    assert all(span.context.trace_id == request.context.trace_id for span in parts)
    assert request.start_time <= steps[0].start_time
    assert all(before.end_time == after.start_time for before, after in pairwise(steps))
    assert steps[-1].end_time <= request.end_time
    assert search.start_time == stages[0].start_time
    assert stages[-1].end_time <= search.end_time
    assert all(span.start_time <= span.end_time for span in parts)


def test_each_picture_of_a_request(client: TestClient, memory: Memory) -> None:
    files = [("images", (f"{n}.png", picture((0, n), seed=n))) for n in range(3)]
    assert client.post("/index", files=files).json()["indexed"] == 3
    spans = memory.take()
    assert sum(span.name == "search" for span in spans) == 3
    assert {span.context.trace_id for span in spans} == {spans[-1].context.trace_id}
    assert spans[-1].parent is None


def test_a_picture_that_fails(client: TestClient, memory: Memory) -> None:
    assert client.post("/detect", files=upload(b"no picture")).status_code == 400
    wait, decode, request = memory.take()
    assert (wait.name, decode.name) == ("wait", "decode")
    assert dict(decode.attributes) == {"error.type": "ImageError"}
    assert (decode.status.status_code.name, wait.status.status_code.name) == ("ERROR", "UNSET")
    assert decode.status.description is None
    assert request.attributes["http.response.status_code"] == 400
    assert request.status.status_code.name == "UNSET", "the fault is the client's"


def test_nothing_of_people_files_or_clients_is_told(client: TestClient, memory: Memory, everywhere: Memory) -> None:
    headers = {"User-Agent": "secret-agent", "X-Forwarded-For": "203.0.113.7", "Baggage": "who=zoe"}
    client.post("/index", files=[("images", ("zoe.png", picture((0, 5))))], data={"camera": "yard"}, headers=headers)
    client.get("/people/a-person/thumbnail", headers=headers)
    client.get("/sources", params={"containing": "zoe"}, headers=headers)
    client.delete("/sources", params={"source": "zoe.png"}, headers=headers)
    client.get("/nothing/zoe", headers=headers)
    client.request("zoe", "/detect", headers=headers)
    client.post("/detect", files=upload(b"zoe"), headers=headers)
    spans = memory.take()
    names = [span.name for span in spans]
    assert {"GET /people/{id}/thumbnail", "GET /sources", "DELETE /sources", "GET", "HTTP /detect"} <= set(names)
    told = "".join(span.to_json() for span in spans)
    assert [secret for secret in SECRETS if secret in told] == []
    assert all(not span.events for span in spans)
    assert everywhere.take() == [], "FastAPI's own spans tell whole addresses"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v2/health/live"])
def test_probes_leave_no_trace(client: TestClient, memory: Memory, path: str) -> None:
    client.get(path)
    assert memory.take() == []


def test_what_the_caller_does_not_sample_is_not_traced(client: TestClient, memory: Memory) -> None:
    answer = client.post("/detect", files=upload(picture((0, 1))), headers={"traceparent": UNSAMPLED})
    assert answer.status_code == 200
    assert memory.take() == []


def test_a_header_that_is_no_traceparent_begins_a_trace(client: TestClient, memory: Memory) -> None:
    client.get("/cameras", headers={"traceparent": "zoe"})
    (request,) = memory.take()
    assert request.parent is None


def test_a_collector_takes_them(tmp_path: Path) -> None:
    """Over OTLP/HTTP, from a service that is told by the environment alone, the last of them as it ends."""
    messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason=SDK)
    with receiving([]) as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "site=shop"}
        with serving(tmp_path, "--mode", "box", environment=environment) as service:
            url = f"{service.url}/detect"
            files = upload(picture((0, 1)))
            assert httpx.post(url, files=files, headers={"traceparent": PARENT}, timeout=30).status_code == 200
            assert service.terminate() == 0
    spans, resources = [], {}
    for body, _ in collector.bodies:
        for group in messages.ExportTraceServiceRequest.FromString(body).resource_spans:
            resources |= {each.key: each.value.string_value for each in group.resource.attributes}
            spans += [span for scope in group.scope_spans for span in scope.spans]
    assert (resources["service.name"], resources["site"]) == ("mgts-trt", "shop")
    assert {span.name for span in spans} == {"POST /detect", *STEPS, "letterbox", "detector", "separate", "reid"}
    assert {span.trace_id.hex() for span in spans} == {PARENT.split("-")[1]}


def test_a_service_whose_collector_is_not_there_serves_and_ends(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason=SDK)
    gone = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with serving(tmp_path, environment=gone) as service:
        assert httpx.post(f"{service.url}/detect", files=upload(picture((0, 1))), timeout=30).status_code == 200
        begun = time.monotonic()
        assert service.terminate() == 0
        assert time.monotonic() - begun < 15
        assert "export" in service.log.read_text()
