"""People, cameras and times forgotten on a running service; and a source that is let in again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.access.audit_check import check_log, read_log
from mgts_trt.access.audit_log import AuditLog
from mgts_trt.access.key_file import add_key
from mgts_trt.gallery.verifying import verify
from tests.helpers.followed_gallery import CLIP, DOOR, NOON, PHOTO, YARD, fill
from tests.helpers.running_service import Running, picture, serving


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forgetting")
    fill(folder)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "f")
    return tmp_path / "f"


@pytest.fixture
def keys(folder: Path) -> dict[str, str]:
    return {role: add_key(folder / "keys.json", role, [role]) for role in ("admin", "forget", "search", "index")}


@pytest.fixture
def service(folder: Path, keys: dict[str, str]) -> Iterator[Running]:
    with serving(
        folder, "--gallery", folder / "gallery", "--keys", folder / "keys.json", bundle=folder / "bundle"
    ) as running:
        yield running


@pytest.fixture
def client(service: Running, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with service.client(**{"X-API-Key": keys["admin"]}) as client:
        yield client


def held(folder: Path, secrets: list[bytes]) -> list[bytes]:
    files = [path.read_bytes() for path in (folder / "gallery").rglob("*") if path.is_file()]
    return [secret for secret in secrets if any(secret in data for data in files)]


def test_a_person_is_looked_at_and_then_forgotten(client: httpx.Client, folder: Path) -> None:
    red = client.get("/sightings", params={"camera": "yard"}).json()["sightings"][0]
    asked = {"person": red["id"], "likeness": "0.6"}
    looked = client.post("/forget", data=asked)
    assert looked.status_code == 200, looked.text
    told = looked.json()
    assert (told["dry_run"], told["sightings"], told["photos"], told["people"]) == (True, 4, 1, 49)
    assert (told["timeless"], told["files"]) == (0, 0)
    assert [each["likeness"] for each in told["leaving"]] == sorted(
        (each["likeness"] for each in told["leaving"]), reverse=True
    )
    assert {each["source"] for each in told["leaving"]} == {DOOR, YARD, CLIP, PHOTO}
    assert client.get("/people").json()["total"] == 73, "nothing was changed"

    thumbnails = [each["thumbnail"] for each in told["leaving"]]
    shown = [client.get(each) for each in thumbnails]
    assert {answer.headers["cache-control"] for answer in shown} == {"no-store"}
    assert not {"etag", "last-modified", "expires"} & {name for answer in shown for name in answer.headers}
    secrets = [*(answer.content for answer in shown), *(each["id"].encode() for each in told["leaving"])]
    assert len(held(folder, secrets)) == len(secrets)

    refused = client.post("/forget", data={**asked, "dry_run": "false", "expected": "7"})
    assert refused.status_code == 409
    assert "49 by now, and 7 were looked at" in refused.json()["error"]
    done = client.post("/forget", data={**asked, "dry_run": "false", "expected": "49"})
    assert done.status_code == 200, done.text
    assert done.json() == {**told, "dry_run": False, "leaving": []}
    assert {client.get(each).status_code for each in thumbnails} == {404}
    assert client.get(f"/sightings/{red['id']}/thumbnail").status_code == 404
    assert client.post("/forget", data=asked).status_code == 404, "nobody has this id any more"
    assert client.get("/people").json()["total"] == 24
    assert client.get("/healthz").json()["gallery"]["people"] == 24
    assert held(folder, secrets) == []
    assert verify(folder / "gallery").clean


def test_by_picture_and_by_embedding(client: httpx.Client) -> None:
    whole = client.get("/sightings", params={"camera": "yard"}).json()["sightings"][0]
    probe = client.post("/search", data={"person": whole["id"]}).json()["probe"]
    vector = str(np.float64(probe["embedding"]).round(6).tolist())
    told = client.post("/forget", data={"embedding": vector, "likeness": "0.6", "camera": "door"}).json()
    assert (told["sightings"], {each["camera"] for each in told["leaving"]}) == (2, {"door"})
    photo = {"image": ("a.png", picture((0, 1)))}
    answer = client.post("/forget", files=photo, data={"box": "16,0,32,32", "likeness": "-1"})
    assert answer.json()["people"] == 73
    assert client.post("/forget", files=photo, data={"point": "20,10", "likeness": "1"}).json()["people"] == 0


def test_cameras_and_times(client: httpx.Client, folder: Path) -> None:
    told = client.post("/forget", data={"camera": "photos", "dry_run": "false"}).json()
    assert (told["people"], told["photos"], told["files"]) == (1, 1, 1)
    noon = {"since": str(NOON - 1), "until": str(NOON + 30)}
    told = client.post("/forget", data=noon).json()
    assert (told["sightings"], told["people"], told["timeless"], told["files"]) == (2, 24, 24, 0)
    assert {each["likeness"] for each in told["leaving"]} == {None}
    assert client.post("/forget", data={**noon, "dry_run": "false"}).json()["people"] == 24
    assert {each["camera"]: each["people"] for each in client.get("/cameras").json()["cameras"]} == {
        "door": 12, "yard": 12, "hall": 24
    }  # fmt: skip
    assert held(folder, [PHOTO.encode()]) == []


def test_what_it_is_recorded_as(client: httpx.Client, folder: Path, keys: dict[str, str]) -> None:
    log = AuditLog(folder / "gallery" / "_audit")
    before = check_log(log.folder).entries
    client.post("/forget", data={"camera": "yard"})
    client.post("/forget", data={"camera": "yard", "dry_run": "false"})
    client.post("/forget", data={"camera": "yard", "likeness": "0.5"})
    entries = [entry.fields for entry in read_log(log.folder) if entry.number > before]
    assert [(each["what"], each["stage"], each.get("dry_run"), each.get("rows")) for each in entries] == [
        ("forget", "begun", None, None), ("forget", "done", True, 12),
        ("forget", "begun", None, None), ("forget", "chosen", False, 12), ("forget", "done", False, 12),
        ("forget", "begun", None, None), ("forget", "failed", True, None),
    ]  # fmt: skip
    assert entries[3]["marks"] == {"camera": [log.mark("yard")]}
    assert b"yard" not in b"".join(path.read_bytes() for path in log.folder.iterdir())


def test_who_may(client: httpx.Client, keys: dict[str, str]) -> None:
    def ask(role: str, path: str = "/forget") -> httpx.Response:
        return client.post(path, data={"camera": "yard"}, headers={"X-API-Key": keys[role]})

    assert ask("search").status_code == ask("index").status_code == 403
    assert len(ask("admin").json()["leaving"]) == 1
    answer = ask("forget").json()
    assert (answer["people"], answer["leaving"]) == (12, []), "who may not search sees nobody"
    for role in ("forget", "search", "index"):
        assert ask(role, f"/recall?source={CLIP}").status_code == 403


NONSENSE = [
    ({}, "Nobody is named"),
    ({"likeness": "0.5"}, "none is named"),
    ({"person": "s-none", "likeness": "0.5", "far": "0.1"}, "one of them"),
    ({"embedding": "[1]", "likeness": "0.5"}, "JSON list of"),
    ({"camera": "yard", "since": "12"}, "no time of a clock"),
    ({"camera": "yard", "since": "nan"}, "no time of a clock"),
]


def test_what_cannot_be_meant(client: httpx.Client) -> None:
    for fields, why in NONSENSE:
        answer = client.post("/forget", data={**fields, "dry_run": "false"})
        assert answer.status_code == 400
        assert why in answer.json()["error"]
    assert client.get("/people").json()["total"] == 73


def test_what_was_forgotten_is_let_in_again(client: httpx.Client) -> None:
    from hashlib import sha256

    photo = picture((0, 1))
    sent = [("images", ("a.png", photo))]
    assert client.post("/index", files=sent).status_code == 200
    assert client.post("/forget", data={"source": "a.png", "dry_run": "false"}).json()["files"] == 1
    assert client.post("/index", files=sent).status_code == 409
    assert client.post("/recall").status_code == 400
    assert client.post("/recall", params={"source": "never.png"}).status_code == 404
    digest = sha256(photo).hexdigest()
    assert client.post("/recall", params={"sha256": digest}).json() == {"recalled": 1}
    assert client.post("/recall", params={"sha256": digest}).status_code == 404
    assert client.post("/index", files=sent).json()["people"] == 1
    assert client.delete("/sources", params={"source": CLIP}).status_code == 200
    assert client.post("/recall", params={"source": CLIP}).json() == {"recalled": 1}
