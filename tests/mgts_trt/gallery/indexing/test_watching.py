import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest

from mgts_trt.errors import SourceError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.indexing.index import IndexReport, index
from mgts_trt.gallery.indexing.reading import LiveOptions
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.camera_scenes import camera, scene, silent_camera
from tests.helpers.video_files import live_muxed, write_film

pytest.importorskip("lancedb")

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
