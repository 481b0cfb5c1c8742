"""How live cameras are doing, for Prometheus: over HTTP, or in a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.cameras import Cameras
from mgts_trt.machine.repeating import repeating

_EVERY = 5.0
"""Seconds between two writings of a file."""


class CameraCollector:
    """What Prometheus' client asks for the metrics of some cameras; each is looked at when it asks."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras

    def collect(self) -> Iterator[Any]:
        """One family of metrics after the other, with a sample for each camera."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ("source", "camera")
        up = GaugeMetricFamily("mgts_camera_up", "Whether frames come from a camera.", labels=labels)
        since = GaugeMetricFamily(
            "mgts_camera_since_timestamp_seconds", "Since when a camera is up, or is not.", labels=labels
        )
        last = GaugeMetricFamily(
            "mgts_camera_last_frame_timestamp_seconds", "When a camera's last frame came.", labels=labels
        )
        taken = CounterMetricFamily("mgts_camera_frames_taken", "Frames handed on to be searched.", labels=labels)
        dropped = CounterMetricFamily("mgts_camera_frames_dropped", "Frames that gave way to newer.", labels=labels)
        restarts = CounterMetricFamily("mgts_camera_restarts", "How often a camera came back.", labels=labels)
        for state in self._cameras.states():
            of = (state.source, state.camera or "")
            up.add_metric(of, state.standing == "up")
            since.add_metric(of, state.since)
            if state.last_frame is not None:
                last.add_metric(of, state.last_frame)
            taken.add_metric(of, max(state.taken, 0))
            dropped.add_metric(of, state.dropped)
            restarts.add_metric(of, state.restarts)
        yield from (up, since, last, taken, dropped, restarts)


@contextmanager
def exposed(cameras: Cameras, where: str) -> Iterator[None]:
    """Let Prometheus see the cameras for as long as the block lasts.

    Args:
        cameras: Which.
        where: A port of this machine, whose `/metrics` tells; else a file, written anew every five seconds and at the
            end, for the node exporter's textfile collector.

    Raises:
        MgtsError: The port is taken, the file cannot be written, or prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
    except ImportError as error:
        raise MgtsError("--metrics needs the package prometheus-client. Run pip install prometheus-client.") from error
    registry = CollectorRegistry()
    registry.register(CameraCollector(cameras))
    told = MgtsError(
        f"Metrics cannot be told at {where}: the port is taken or the file cannot be written. Choose another."
    )
    if where.isdecimal():
        try:
            server, thread = start_http_server(int(where), addr="127.0.0.1", registry=registry)
        except (OSError, OverflowError) as error:
            raise told from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        return
    try:
        write_to_textfile(where, registry)
    except OSError as error:
        raise told from error
    with repeating(lambda: write_to_textfile(where, registry), _EVERY, "metrics"):
        yield
