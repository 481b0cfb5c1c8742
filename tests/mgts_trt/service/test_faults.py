import asyncio
import errno
import logging
import tempfile
from types import SimpleNamespace

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt import errors
from mgts_trt.errors import BackendError, GalleryError, MgtsError
from mgts_trt.service.app import make_app
from mgts_trt.service.counters import Metrics
from mgts_trt.service.faults import fault_of
from mgts_trt.service.limits import Limits
from mgts_trt.service.turnstile import Turnstile


def ask(run, seconds: float = 30.0, sent: bytes = b"some") -> tuple[httpx.Response, Metrics]:
    """`POST /detect` to a service whose pipeline is `run`."""
    metrics = Metrics(mode="net", backend="none", waiting=lambda: 0, running=lambda: 0)
    limits = Limits(seconds=seconds)
    service = SimpleNamespace(limits=limits, turnstile=Turnstile(), metrics=metrics, run=run, audit=None)

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/detect", files={"image": sent})

    response = asyncio.run(post())
    assert service.turnstile.running == service.turnstile.working == 0
    return response, metrics


@pytest.mark.defect
def test_a_stranger_learns_nothing_of_a_fault_but_the_log_does(caplog) -> None:
    async def run(job: object) -> None:
        raise RuntimeError("cannot read /secret/plan")

    with caplog.at_level(logging.ERROR):
        response, metrics = ask(run)
    assert response.status_code == 500
    assert response.json() == {"error": "The service failed. Its log says why."}
    assert "nosniff" in response.headers["x-content-type-options"]
    assert "/secret/plan" in caplog.text
    assert b'mgts_requests_total{route="/detect",status="500"} 1.0' in metrics.text()


def test_a_disk_that_is_full_is_no_fault_of_the_client(caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(job: object) -> None:
        raise AssertionError("there is nothing to run")

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/tmp")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with caplog.at_level(logging.ERROR):
        response, metrics = ask(run, sent=b"x" * (2 << 20))
    assert response.status_code == 503
    assert response.json() == {"error": "Uploads cannot be kept now. The service's log says why."}
    assert "No space left on device" in caplog.text
    assert b'mgts_rejected_total{reason="disk"} 1.0' in metrics.text()


def test_a_gallery_that_fails_is_no_fault_of_the_client(caplog) -> None:
    async def run(job: object) -> None:
        raise GalleryError("Cannot write /secret/gallery: Read-only file system.")

    with caplog.at_level(logging.ERROR):
        response, metrics = ask(run)
    assert response.status_code == 503
    assert "gallery cannot be read or written" in response.json()["error"]
    assert "/secret" not in response.text
    assert "/secret/gallery" in caplog.text
    assert b'mgts_rejected_total{reason="gallery"} 1.0' in metrics.text()


def kinds(base: type = MgtsError) -> list[type]:
    return [base, *(kind for each in base.__subclasses__() for kind in kinds(each))]


@pytest.mark.parametrize("kind", kinds())
def test_every_library_error_has_an_answer_that_is_no_defect(kind: type, caplog) -> None:
    async def run(job: object) -> None:
        raise kind("a.jpg holds /secret")

    response, metrics = ask(run)
    fault = fault_of(kind("any"))
    assert (response.status_code, list(response.json())) == (fault.status, ["error"])
    assert fault.status in (400, 404, 413, 503)
    assert ("/secret" in response.text) is (fault.status < 500)  # what only the operator can mend is told to the log
    assert ("/secret" in caplog.text) is (fault.status == 503)
    assert f'mgts_rejected_total{{reason="{fault.reason}"}} 1.0' in metrics.text().decode()


def test_kinds_finds_those_at_any_depth() -> None:
    assert {errors.ImageError, errors.FilterError, errors.BackendError} < set(kinds())


@pytest.mark.parametrize(
    ("kind", "status"),
    [(errors.ImageError, 400), (errors.TooLargeError, 413), (errors.FilterError, 400), (errors.QueryError, 400),
     (GalleryError, 503), (BackendError, 503)],
)  # fmt: skip
def test_whose_fault_it_is(kind: type, status: int) -> None:
    assert fault_of(kind("any")).status == status


def test_time_is_up_while_the_pipeline_works() -> None:
    cancelled = []

    async def run(job: object) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(job)
            raise

    response, metrics = ask(run, seconds=0.2)
    assert response.status_code == 504
    assert "0.2 seconds" in response.json()["error"]
    assert len(cancelled) == 1
    assert b'mgts_rejected_total{reason="time"} 1.0' in metrics.text()
