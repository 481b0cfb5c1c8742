import threading

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from mgts_trt.errors import BackendError
from mgts_trt.service import routes
from mgts_trt.service.dispatcher import Dispatcher, Job
from mgts_trt.service.readiness import Readiness
from tests.helpers.running_service import picture, serving


class Search:
    """Warms up in two steps, the second when it may `go`."""

    batch_size = 1

    def __init__(self, error: Exception | None = None) -> None:
        self.half, self.go, self.error = threading.Event(), threading.Event(), error
        self.warm = False

    def warm_up(self, *, depth, on_progress, stop) -> None:
        on_progress(1, 2)
        self.half.set()
        while not self.go.wait(0.01):
            if stop():
                return
        if self.error:
            raise self.error
        self.warm = True
        on_progress(2, 2)

    def stream(self, images, *, depth, errors):
        for _ in images:
            yield "warm" if self.warm else "cold"


@pytest.fixture
def begin():
    """A readiness whose pipeline warms up in a dispatcher, and that dispatcher."""
    begun = []

    def make(search: Search) -> tuple[Readiness, Dispatcher]:
        readiness = Readiness()
        assert readiness.why_not
        dispatcher = Dispatcher(search, prepare=lambda stop: readiness.warm_up(search, 3, stop))
        begun.append((search, dispatcher))
        assert search.half.wait(20)
        return readiness, dispatcher

    yield make
    for search, dispatcher in begun:
        search.go.set()
        dispatcher.close()


def searched(dispatcher: Dispatcher) -> Job:
    job = Job(lambda: "picture", lambda image, people: people)
    dispatcher.submit([job])
    return job


def test_pictures_wait_for_the_warm_up_and_are_searched_then(begin) -> None:
    search = Search()
    readiness, dispatcher = begin(search)
    job = searched(dispatcher)
    assert "1 of 2 steps" in readiness.why_not
    assert not job.result.done()
    search.go.set()
    assert job.result.result(20) == "warm"
    assert readiness.why_not == ""


@pytest.mark.defect
@pytest.mark.parametrize("error", [BackendError("a secret of the machine"), RuntimeError("a secret of the machine")])
def test_a_failed_warm_up_is_never_ready_tells_the_log_and_searches_all_the_same(begin, caplog, error) -> None:
    search = Search(error)
    readiness, dispatcher = begin(search)
    search.go.set()
    assert searched(dispatcher).result.result(20) == "cold"
    assert "could not be warmed up" in readiness.why_not
    assert "secret" not in readiness.why_not
    assert "secret" in caplog.text


def test_closing_does_not_wait_for_the_warm_up(begin) -> None:
    readiness, dispatcher = begin(Search())
    dispatcher.close()
    assert "shutting down" in readiness.why_not


def test_the_probe(begin) -> None:
    search = Search()
    readiness, dispatcher = begin(search)
    app = FastAPI()
    app.state.service = type("Service", (), {"readiness": readiness})()
    app.include_router(routes.router)
    client = TestClient(app)
    response = client.get("/readyz")
    assert (response.status_code, "1 of 2" in response.json()["error"]) == (503, True)
    assert "retry-after" in response.headers
    search.go.set()
    searched(dispatcher).result.result(20)
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


def test_a_real_service_becomes_ready_and_needs_no_key_to_say_so(tmp_path) -> None:
    with serving(tmp_path, environment={"MGTS_API_KEY": "a-key-of-some-length"}) as running, running.client() as client:
        posted = client.post(
            "/detect", files={"image": ("a.png", picture((0, 1)))}, headers={"X-API-Key": "a-key-of-some-length"}
        )
        assert posted.status_code == 200  # whenever it came, it was searched after the warm-up
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get("/healthz").status_code == 200
