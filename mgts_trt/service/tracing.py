"""Traces of requests for OpenTelemetry, where its environment variables ask for them; else nothing of it is loaded.

Attributes name the route, the method and the status: of an address or a header nothing else goes out, since those name
people, files and cameras. That is why no ready-made instrumentation is used: it tells whole addresses.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mgts_trt.errors import MgtsError
from mgts_trt.runtime.people import STAGES
from mgts_trt.service.passage import LISTENER, Passage
from mgts_trt.service.permissions import route_of
from mgts_trt.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

UNTRACED = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
"""Routes that are asked for every few seconds, whatever the service does."""

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def exporters_wanted(environment: Mapping[str, str]) -> list[str]:
    """Where traces go by OpenTelemetry's variables: `otlp` or `console`, or another's name; nowhere unless they say."""

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    if value("OTEL_SDK_DISABLED").lower() == "true":
        return []
    if named := value(_EXPORTER):
        return [name for each in named.split(",") if (name := each.strip().lower()) not in ("", "none")]
    return ["otlp"] if value(_ENDPOINT) or value(_TRACES_ENDPOINT) else []


def open_traces(environment: Mapping[str, str] = os.environ) -> "TracerProvider | None":
    """What makes traces, or None where the environment does not ask for any; its user shuts it down.

    The SDK itself reads endpoint, headers, sampler and limits from the process' environment.

    Raises:
        MgtsError: They are asked for, and cannot be made.
    """
    wanted = exporters_wanted(environment)
    if not wanted:
        return None
    if strangers := sorted(set(wanted) - {"otlp", "console"}):
        raise MgtsError(f"{_EXPORTER} names {', '.join(strangers)}. It may be otlp, console or none.")
    protocol = next((named for name in _PROTOCOLS if (named := environment.get(name, "").strip())), "http/protobuf")
    if "otlp" in wanted and protocol != "http/protobuf":
        raise MgtsError(
            f"{_PROTOCOLS[1]} is {protocol}, and traces are sent as http/protobuf alone, which collectors take at port "
            f"4318. Set {_PROTOCOLS[0]} to http/protobuf, and {_TRACES_ENDPOINT} to an address that takes it."
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    except ImportError as error:
        raise MgtsError("Traces need OpenTelemetry's SDK: pip install 'mgts-trt[tracing]'.") from error
    ours = Resource({"service.name": "mgts-trt", "service.version": __version__})
    try:
        provider = TracerProvider(resource=Resource.create(ours.merge(OTELResourceDetector().detect()).attributes))
        for name in wanted:
            exporter: SpanExporter = OTLPSpanExporter() if name == "otlp" else ConsoleSpanExporter()
            provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, OSError) as error:
        raise MgtsError(f"OpenTelemetry cannot be set up as its variables (OTEL_…) say: {error}") from error
    return provider


class Traced:
    """ASGI middleware around the guard: a span for each request, in the trace that its header traceparent names.

    Below it are spans of the steps of each of its pictures (`passage.STEPS`), and below `search` those of the
    pipeline's stages.

    Args:
        app: The application.
        tracer: Makes the spans.
    """

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        route = route_of(scope["path"]) if scope["type"] == "http" else ""
        if not route or route in UNTRACED:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        if route != "other":
            attributes["http.route"] = route
        parent = extract({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})
        span = self._tracer.start_span(
            " ".join((method.replace("_OTHER", "HTTP"), *(route,) * (route != "other"))),
            parent,
            SpanKind.SERVER,
            attributes,
        )
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        steps = _Steps(self._tracer, set_span_in_context(span, parent))
        listening = LISTENER.set(steps if span.is_recording() else None)
        try:
            await self._app(scope, receive, noted)
        finally:
            LISTENER.reset(listening)
            if status:
                span.set_attribute("http.response.status_code", status)
            if status >= 500 or not status:
                span.set_attribute("error.type", str(status) if status else "no_answer")  # the client had gone
                span.set_status(Status(StatusCode.ERROR))
            span.end()


class _Steps:
    """Makes spans of what happened to a picture, once it is known."""

    def __init__(self, tracer: "Tracer", request: "Context") -> None:
        self._tracer, self._request = tracer, request

    def __call__(self, passage: Passage) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        epoch = time.time_ns() - time.perf_counter_ns()
        for step in passage.steps:
            span = self._tracer.start_span(step.name, self._request, start_time=epoch + step.begin)
            if passage.error is not None and step is passage.steps[-1]:
                # Its kind alone: what it says may name files.
                span.set_attribute("error.type", type(passage.error).__name__)
                span.set_status(Status(StatusCode.ERROR))
            if step.name == "search" and passage.people is not None:
                begin = epoch + step.begin
                # Their lengths are measured, of several pictures as shares. They follow one another.
                for stage in STAGES:
                    if stage in passage.people.timings:
                        end = begin + round(passage.people.timings[stage] * 1e6)
                        part = self._tracer.start_span(stage, set_span_in_context(span), start_time=begin)
                        part.end(end)
                        begin = end
            span.end(epoch + step.end)
