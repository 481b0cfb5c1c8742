import hashlib
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.access.audit_check import check_log, read_log
from mgts_trt.access.audit_log import AuditLog
from mgts_trt.access.key_file import add_key, revoke_key
from mgts_trt.service.auditing import ACTS
from mgts_trt.service.permissions import DEMANDS
from tests.helpers.running_service import Running, picture, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("auditing")


@pytest.fixture(scope="module")
def service(folder: Path) -> Running:
    key = add_key(folder / "keys.json", "desk", ["admin"])
    (folder / "key").write_text(key)
    with serving(folder, "--gallery", folder / "gallery", "--keys", folder / "keys.json") as running:
        yield running


@pytest.fixture
def client(service: Running, folder: Path) -> httpx.Client:
    with service.client(**{"X-API-Key": (folder / "key").read_text()}) as client:
        yield client


@pytest.fixture
def log(service: Running, folder: Path) -> AuditLog:
    return AuditLog(folder / "gallery" / "_audit")


def new(log: AuditLog, since: int) -> list[dict]:
    """What was recorded after so many entries."""
    return [entry.fields for entry in read_log(log.folder) if entry.number > since]


def index(client: httpx.Client, name: str, seed: int) -> httpx.Response:
    return client.post("/index", files=[("images", (name, picture((0, 1), seed=seed)))])


def test_every_route_that_tells_of_people_is_recorded() -> None:
    with_role = {route for route, demand in DEMANDS.items() if demand not in ("nothing", "any key")}
    without = {route for route in with_role - set(ACTS) if not route.startswith("POST /v2/")}
    assert without == {"POST /detect", "POST /embed"}, "which do nothing with the gallery, nor do those of /v2"
    assert set(ACTS) <= with_role
    assert {DEMANDS[route] for route, act in ACTS.items() if act.changes} == {"index", "forget", "admin"}


def test_what_is_done_is_recorded(client: httpx.Client, log: AuditLog) -> None:
    before = check_log(log.folder).entries
    photo = picture((0, 1), seed=5)
    assert index(client, "anna.png", 5).status_code == 200
    (person,) = client.get("/people").json()["people"]
    assert client.get(person["thumbnail"]).status_code == 200
    found = client.post("/search", files={"image": ("p.png", photo)}, data={"include_own": "true"})
    assert len(found.json()["matches"]) == 1
    assert client.post("/search", data={"person": person["id"]}).status_code == 200
    assert client.get("/sources").status_code == client.get("/cameras").status_code == 200
    assert client.delete("/sources", params={"source": "anna.png"}).status_code == 200

    told = new(log, before)
    assert {entry["who"]["name"] for entry in told} == {"desk"}
    assert {entry["who"]["address"] for entry in told} == {"127.0.0.1"}
    assert [(entry["what"], entry.get("stage"), entry.get("rows")) for entry in told] == [
        ("index", "begun", None), ("index", "done", 1), ("list people", None, 1), ("see crop", None, None),
        ("search", None, 1), ("search", None, 0), ("list sources", None, 1), ("list cameras", None, 1),
        ("forget", "begun", None), ("forget", "done", 1),
    ]  # fmt: skip
    assert told[4]["probes"] == [hashlib.sha256(photo).hexdigest()]
    assert told[3]["marks"] == told[5]["marks"] == {"person": [log.mark(person["id"])]}
    assert {str(told[i]["marks"]["source"]) for i in (1, 8, 9)} == {str([log.mark("anna.png")])}
    data = b"".join(path.read_bytes() for path in log.folder.iterdir())
    for secret in (b"anna", person["id"].encode(), photo[:40], client.headers["X-API-Key"].encode()):
        assert secret not in data
    assert check_log(log.folder).faults == []


def test_what_is_refused_gave_nothing_and_what_failed_is_told(client: httpx.Client, log: AuditLog) -> None:
    before = check_log(log.folder).entries
    assert client.get("/people/none/thumbnail").status_code == 404
    assert client.get("/people", headers={"X-API-Key": "wrong"}).status_code == 401
    assert client.post("/search").status_code == 400
    assert client.post("/detect", files={"image": ("a.png", picture((0, 1)))}).status_code == 200
    assert client.delete("/sources", params={"source": "none.png"}).status_code == 404
    told = [(entry["what"], entry.get("stage"), entry.get("status")) for entry in new(log, before)]
    assert told == [("forget", "begun", None), ("forget", "failed", 404)]


def test_what_cannot_be_recorded_is_not_done(client: httpx.Client, service: Running, log: AuditLog) -> None:
    assert index(client, "kept.png", 9).status_code == 200
    (person,) = client.get("/people", params={"source": "kept.png"}).json()["people"]
    away = log.folder.with_name("_away")
    log.folder.rename(away)
    log.folder.write_text("in the way")
    try:
        for answer in (
            client.get(person["thumbnail"]),
            client.get("/people"),
            client.post("/search", data={"person": person["id"]}),
            client.delete("/sources", params={"source": "kept.png"}),
            index(client, "new.png", 11),
        ):
            assert answer.status_code == 503
            assert "cannot be recorded" in answer.json()["error"]
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/healthz").json()["gallery"]["people"] == 1
        assert client.post("/detect", files={"image": ("a.png", picture((0, 1)))}).status_code == 200
        assert 'mgts_requests_total{route="/people",status="503"}' in client.get("/metrics").text
    finally:
        log.folder.unlink()
        away.rename(log.folder)
    assert client.get("/people", params={"source": "kept.png"}).json()["total"] == 1
    assert client.get("/people", params={"source": "new.png"}).json()["total"] == 0
    assert check_log(log.folder).faults == []
    assert "cannot be recorded in" in service.log.read_text()


def test_the_beginning_and_changed_keys_are_recorded(client: httpx.Client, folder: Path, log: AuditLog) -> None:
    first = next(iter(read_log(log.folder))).fields
    assert (first["what"], first["who"]["by"], first["keys"]) == ("serve", "user", {"desk": ["admin"]})
    before = check_log(log.folder).entries
    add_key(folder / "keys.json", "late", ["search"])
    client.get("/cameras")
    revoke_key(folder / "keys.json", "late")
    client.get("/cameras")
    assert [(entry["what"], entry.get("keys")) for entry in new(log, before)] == [
        ("keys", {"desk": ["admin"], "late": ["search"]}), ("list cameras", None), ("keys", {"desk": ["admin"]}),
        ("list cameras", None),
    ]  # fmt: skip
