"""What the service tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mgts_trt.service.passage import Passage
from mgts_trt.version import __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, *_SECONDS)
"""From a stage on a GPU to a picture that waits as long as a request may."""


class Metrics:
    """Counters of one service, in a registry of its own.

    Args:
        mode: Of the pipeline.
        backend: Of the pipeline.
        waiting: Pictures that wait for the pipeline.
        running: Requests in progress.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, *, mode: str, backend: str, waiting: Callable[[], float], running: Callable[[], float]) -> None:
        registry = self._registry = CollectorRegistry()
        info = Gauge("mgts_info", "What serves; always 1.", ("version", "mode", "backend"), registry=registry)
        info.labels(__version__, mode, backend).set(1)
        queue = Gauge("mgts_queue_pictures", "Pictures that wait for the pipeline.", registry=registry)
        queue.set_function(waiting)
        requests = Gauge("mgts_requests_in_progress", "Requests in progress.", registry=registry)
        requests.set_function(running)
        self.requests = Counter(
            "mgts_requests",
            "Requests answered; status 499: the client had gone.",
            ("route", "status"),
            registry=registry,
        )
        self.latency = Histogram(
            "mgts_request_seconds",
            "From a request's head to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.rejected = Counter("mgts_rejected", "Requests turned away.", ("reason",), registry=registry)
        self._pictures = Counter("mgts_pictures", "Pictures searched.", registry=registry)
        self._people = Counter("mgts_people", "People found or described.", registry=registry)
        self._stages = Histogram(
            "mgts_stage_seconds", "Stages of the pipeline.", ("stage",), buckets=_STAGE_SECONDS, registry=registry
        )
        self._steps = Histogram(
            "mgts_picture_seconds",
            "Steps of a picture's way through the service, which make up all of it.",
            ("step",),
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self.commits = Histogram(
            "mgts_commit_frames", "Frames in one commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), registry=registry
        )
        self._gallery = Gauge("mgts_gallery", "What the gallery holds.", ("kind",), registry=registry)

    def count_picture(self, passage: Passage) -> None:
        """A picture was searched, or failed."""
        for step in passage.steps:
            self._steps.labels(step.name).observe((step.end - step.begin) / 1e9)
        if passage.people is None:
            return
        self._pictures.inc()
        self._people.inc(len(passage.people))
        for stage, milliseconds in passage.people.timings.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def set_gallery(self, people: int, frames: int) -> None:
        """The gallery's size."""
        self._gallery.labels("people").set(people)
        self._gallery.labels("frames").set(frames)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self._registry)
