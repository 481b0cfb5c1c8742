import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mgts_trt.errors import SourceError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.indexing import watching
from mgts_trt.gallery.indexing.camera_metrics import CameraCollector
from mgts_trt.gallery.indexing.cameras import Cameras, CameraState
from mgts_trt.gallery.indexing.index import IndexReport, index
from mgts_trt.gallery.indexing.live_stream import Broken, Stalled, StreamEnd
from mgts_trt.gallery.indexing.reading import LiveOptions
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.indexing.stream_clock import StreamClock
from mgts_trt.gallery.sightings import sightings_of
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.camera_scenes import camera, scene, silent_camera
from tests.helpers.h264 import enlarged
from tests.helpers.rtsp_camera import rtsp_camera
from tests.helpers.video_files import live_muxed, write_film

pytest.importorskip("lancedb")
pytest.importorskip("av")

Answer = Callable[[BaseHTTPRequestHandler, int], None]


@pytest.fixture
def watch(search: PersonSearch, gallery: Gallery):
    """Watch a URL, with short pauses; returns the report and the notes."""

    def _watch(url: str, pauses: tuple[float, ...] = (0.01, 0.01), **live: object) -> tuple[IndexReport, list[str]]:
        notes: list[str] = []
        options = LiveOptions(pauses=pauses, **{"attempts": 3, **live})
        return index(search, find_sources([url]), gallery, live=options, on_note=notes.append), notes

    return _watch


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The URL of a web server that answers GET with a function of the handler and the number of the request."""
    count = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the viewer has gone
                answer(self, next(count))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/it"
    finally:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, kind: str, data: bytes, *, length: bool = True) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    if length:
        handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", scene(seed))[1].tobytes()


def parts(*pictures: bytes) -> bytes:
    """The body of motion JPEG."""
    head = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return b"".join(head % len(picture) + picture + b"\r\n" for picture in pictures)


MOTION = "multipart/x-mixed-replace; boundary=next"


@pytest.mark.parametrize("name", ["", ".jpg", ".png"])
def test_a_still_picture_is_indexed_once(watch, gallery: Gallery, name: str) -> None:
    data = cv2.imencode(name or ".jpg", scene(1))[1].tobytes()
    with serving(lambda handler, _: send(handler, "image/png" if name == ".png" else "image/jpeg", data)) as url:
        report, notes = watch(url + name)
    assert (report.frames, report.failures) == (1, [])
    assert gallery.summary().frames == 1
    assert "shows the same picture; trying again" in notes[1]
    assert "shows one picture, which does not change: it is taken for its end" in notes[-1]


def test_motion_that_does_not_move(watch) -> None:
    with serving(lambda handler, _: send(handler, MOTION, parts(*[jpeg(1)] * 5), length=False)) as url:
        report, notes = watch(url)
    assert 0 < report.frames + report.dropped <= 5
    assert "does not change" in notes[-1]


@pytest.mark.parametrize("name", ["", ".jpg"])
def test_a_snapshot_that_is_renewed_goes_on(watch, name: str) -> None:
    with serving(lambda handler, count: send(handler, "image/jpeg", jpeg(count // 2))) as url:  # each is got twice
        report, notes = watch(url + name, limit=6)
    assert (report.frames, report.failures) == (6, [])
    assert not any("its end" in note for note in notes)


def test_a_camera_that_was_dark_goes_on(watch) -> None:
    def answer(handler: BaseHTTPRequestHandler, count: int) -> None:
        light = [jpeg(seed) for seed in range(10 * count, 10 * count + 8)] * (count > 3)
        send(handler, MOTION, parts(*[jpeg(9)] * (40 + count), *light), length=False)

    with serving(answer) as url:
        report, _ = watch(url, pauses=(0.01,), duration=20.0, limit=60)
    assert not report.failures
    assert report.frames == 60


@pytest.mark.parametrize("length", [True, False])
def test_a_recording_ends(watch, tmp_path: Path, length: bool) -> None:
    film = live_muxed(write_film(tmp_path / "v.webm", range(20)))
    requests = []

    def answer(handler: BaseHTTPRequestHandler, count: int) -> None:
        requests.append(count)
        send(handler, "video/webm", film, length=length)

    with serving(answer) as url:
        report, notes = watch(url)
    assert report.frames + report.dropped == 20 * (1 if length else 3)
    assert not report.failures
    assert "is a recording, and has ended. Download it" in notes[-1]


def test_a_recording_that_tells_its_length_is_refused(watch, tmp_path: Path) -> None:
    film = write_film(tmp_path / "v.webm", range(20))
    with serving(lambda handler, _: send(handler, "video/webm", film)) as url:
        report, _ = watch(url)
    assert report.frames == 0
    assert f"{url} is a recording of 20 frames" in str(report.failures[0].error)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 5.0])
def test_a_dead_stream_fails_however_long_it_is_watched(watch, seconds: float) -> None:
    with camera() as live:
        url = live.url
    report, _ = watch(url, duration=seconds)
    assert report.frames == 0
    (failure,) = report.failures
    assert isinstance(failure.error, SourceError)
    assert f"The stream {url} cannot be opened" in str(failure.error)


def test_a_stream_that_breaks_after_its_time_has_not_failed(watch) -> None:
    with camera(frames=3, pause=0.02) as live:
        report, _ = watch(live.url, pauses=(0.5,), duration=0.3)
    assert report.frames > 0
    assert not report.failures


@pytest.mark.parametrize("password", ["s3cret", "s3:cret", "s3@cret", "s3%2Fcret", "s3&cret=1"])
def test_no_note_tells_a_password(watch, gallery: Gallery, password: str) -> None:
    with camera(frames=3, pause=0.0) as live:
        url = live.url.replace("//", f"//zoe:{password}@")
        report, notes = watch(url, limit=4)
        assert report.frames == 4
    assert notes
    report, more = watch(url)
    told = f"{notes} {more} {report} {report.failures!r} {[person for person, _ in gallery.rows()]}"
    assert live.url in told
    assert not any(word in told for word in ("zoe", "s3", "cret"))


def test_indexing_waits_for_a_camera_that_says_nothing(search: PersonSearch, gallery: Gallery) -> None:
    stop, reports = threading.Event(), list[IndexReport]()
    with silent_camera() as (url, asked, go):
        run = threading.Thread(
            target=lambda: reports.append(index(search, find_sources([url]), gallery, stop=stop)), daemon=True
        )
        run.start()
        assert asked.wait(30)
        stop.set()
        time.sleep(0.5)  # long enough for it to return, if it did not wait
        assert run.is_alive()
        go.set()
        run.join(30)
    assert reports[0].interrupted
    assert not any(thread.name == "read" for thread in threading.enumerate())


class Watched:
    """A stream that is indexed in a thread."""

    def __init__(self, search: PersonSearch, gallery: Gallery, url: str, **live: object) -> None:
        self.url, self.gallery, self.notes = url, gallery, list[str]()
        self.reports, self.stop = list[IndexReport](), threading.Event()
        self.cameras = Cameras()
        options = LiveOptions(**{"pauses": (0.05,), **live})
        run = partial(index, search, find_sources([url]), gallery, live=options, cameras=self.cameras, stop=self.stop)
        self.thread = threading.Thread(target=lambda: self.reports.append(run(on_note=self.notes.append)), daemon=True)
        self.thread.start()

    @property
    def state(self) -> CameraState:
        states = self.cameras.states()
        return states[0] if states else CameraState(self.url)

    def wait(self, until: Callable[[CameraState], bool]) -> CameraState:
        """The state once it is so."""
        deadline = time.monotonic() + 60
        while not until(state := self.state):
            assert time.monotonic() < deadline, f"{state} {self.notes}"
            assert self.thread.is_alive(), self.reports
            time.sleep(0.01)
        return state

    def more(self, frames: int = 3) -> CameraState:
        """The state once it is up and so many frames more were taken."""
        before = self.state.taken
        return self.wait(lambda state: state.standing == "up" and state.taken >= before + frames)

    def metrics(self) -> str:
        registry = CollectorRegistry()
        registry.register(CameraCollector(self.cameras))
        return generate_latest(registry).decode()

    def end(self) -> IndexReport:
        self.stop.set()
        self.thread.join(60)
        return self.reports[0]

    def told(self) -> str:
        """All there is to see of it, for whom ever."""
        rows = [person for person, _ in self.gallery.rows()]
        sightings = sightings_of(self.gallery)
        return f"{self.notes} {self.reports} {self.cameras.states()} {self.metrics()} {rows} {sightings}"


def times_by_number(gallery: Gallery) -> list[float]:
    """When each frame with somebody in it came, in order of their numbers."""
    return [time for _, time in sorted({(person.number, person.time) for person, _ in gallery.rows()})]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_was_killed_comes_back(search: PersonSearch, gallery: Gallery, transport: str) -> None:
    with rtsp_camera((96, 64), picture=enlarged) as camera:
        watched = Watched(search, gallery, camera.url, transport=transport)
        watched.more()
        assert "mgts_camera_up{" in watched.metrics()
        assert watched.metrics().count("} 1.0\n") >= 1
        for restart in (1, 2):
            camera.kill()
            state = watched.wait(lambda state: state.standing == "down")
            assert state.error
            assert f'mgts_camera_up{{camera="",source="{camera.url}"}} 0.0' in watched.metrics()
            camera.start()
            assert watched.more().restarts == restart
            assert f'mgts_camera_restarts_total{{camera="",source="{camera.url}"}} {restart}.0' in watched.metrics()
        report = watched.end()
    assert not report.failures
    assert sum("is back after" in note for note in watched.notes) == 2
    times = times_by_number(gallery)
    assert times == sorted(times)
    assert len(set(times)) == len(times) > 5
    assert set(camera.used) == {transport}


def test_a_camera_that_stalls_is_down_until_it_goes_on(search: PersonSearch, gallery: Gallery) -> None:
    with rtsp_camera((96, 64), picture=enlarged) as camera:
        watched = Watched(search, gallery, camera.url, patience=0.5)
        watched.more()
        camera.stalled.set()
        assert watched.wait(lambda state: state.standing == "down").error == "It brought no frame for 0.5 s."
        camera.stalled.clear()
        watched.more()
        assert not watched.end().failures


def test_boxes_follow_a_resolution_that_changes(search: PersonSearch, gallery: Gallery) -> None:
    with rtsp_camera((96, 64), picture=enlarged) as camera:
        watched = Watched(search, gallery, camera.url)
        watched.more()
        camera.size = (192, 128)
        watched.more(40)
        watched.end()
        assert camera.used == ["tcp"], "it was not opened again"
    boxes = [person.box for person, _ in sorted(gallery.rows(), key=lambda row: row[0].number)]
    widths = [round(box[2] - box[0]) for box in boxes]
    assert set(widths) == {16, 32}
    assert widths == sorted(widths)
    for (x1, y1, x2, y2), width in zip(boxes, widths, strict=True):
        assert round(x1) % width == 0
        assert (round(y1), round(y2)) in {(0, 2 * width), (2 * width, 4 * width)}
        assert round(x2) <= 6 * width


@pytest.mark.parametrize(
    ("end", "told"), [(Broken(), "it sent no picture that can be read"), (Stalled(), "it brought no frame for 7 s")]
)
def test_a_stream_that_opens_and_shows_nothing(
    watch, monkeypatch: pytest.MonkeyPatch, end: StreamEnd, told: str
) -> None:
    def nothing(*_: object) -> Generator[np.ndarray, None, StreamEnd]:
        yield from ()
        return end

    monkeypatch.setattr(watching, "stream_frames", nothing)
    report, _ = watch("rtsp://camera/1", patience=7.0)
    assert f"The stream rtsp://camera/1 cannot be opened (3 attempts): {told}. Check" in str(report.failures[0].error)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_wrong_password_is_tried_once(search: PersonSearch, gallery: Gallery, capfd, caplog, scheme: str) -> None:
    with rtsp_camera((96, 64), login=("zoe", "right"), scheme=scheme) as camera:
        watched = Watched(search, gallery, camera.url_of("zoe", "s3cret"))
        watched.thread.join(60)
        (report,) = watched.reports
        tried = [one for one in camera.asked if "authorization" in one.headers]
    assert len(tried) == 1
    error = str(report.failures[0].error)
    assert f"The stream {camera.url} cannot be opened: its user name or password is wrong" in error
    assert watched.state.standing == "ended"
    assert watched.notes == [f"{camera.url} is given up"]
    told = f"{watched.told()} {error} {capfd.readouterr()} {caplog.text}"
    assert not any(secret in told for secret in ("zoe", "s3cret"))


def test_a_password_that_was_right_is_tried_again_but_seldom(
    search: PersonSearch, gallery: Gallery, capfd, caplog
) -> None:
    with rtsp_camera((96, 64), login=("zoe", "s3cret"), picture=enlarged) as camera:
        watched = Watched(search, gallery, camera.url_of("zoe", "s3cret"), pauses=(0.01, 0.02, 0.3))
        watched.more()
        camera.kill()
        camera.password = "other"
        camera.start()
        told = "It cannot be opened: its user name or password is wrong."
        watched.wait(lambda state: state.error == told)
        assert f'mgts_camera_up{{camera="",source="{camera.url}"}} 0.0' in watched.metrics()
        watched.wait(lambda _: any("password is wrong; trying again every 0.3 s" in note for note in watched.notes))
        camera.password = "s3cret"
        watched.more()
        assert not watched.end().failures
    everything = f"{watched.told()} {capfd.readouterr()} {caplog.text}"
    assert camera.url in everything
    assert not any(secret in everything for secret in ("zoe", "s3cret"))


def test_a_clock_that_is_set_back_breaks_no_order(
    search: PersonSearch, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = 0.0
    monkeypatch.setattr(watching, "StreamClock", lambda: StreamClock(lambda: time.time() + back))
    start = time.time()
    with rtsp_camera((96, 64), picture=enlarged) as camera:
        watched = Watched(search, gallery, camera.url)
        watched.more()
        back = -3600.0
        camera.kill()
        camera.start()
        watched.wait(lambda state: state.restarts == 1)
        watched.more(20)
        watched.end()
    times = times_by_number(gallery)
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert times[0] >= start - 1
