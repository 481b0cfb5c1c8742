import json
import struct
import zlib

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.service import schemas
from tests.helpers.running_service import Running, picture, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Running:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, "--gallery", folder / "gallery", "--max-files", 3, "--max-megapixels", 2) as running:
        yield running


@pytest.fixture
def client(service: Running) -> httpx.Client:
    with service.client() as client:
        yield client


def upload(data: bytes, name: str = "photo.png", field: str = "image") -> list:
    return [(field, (name, data))]


def test_detect(client) -> None:
    response = client.post("/detect", files=upload(picture((0, 1), (1, 4))))
    assert response.status_code == 200
    found = schemas.Detection.model_validate(response.json())
    assert sorted(person.box for person in found.people) == [[16, 0, 32, 32], [64, 32, 80, 64]]
    assert (found.image.height, found.image.width) == (64, 96)
    assert "detector" in found.timings_ms
    assert "embedding" not in response.json()["people"][0]


def test_embed_detected_and_given_boxes(client) -> None:
    photo = picture((0, 1))
    detected = schemas.Embedding.model_validate(client.post("/embed", files=upload(photo)).json())
    given = client.post("/embed", files=upload(photo), data={"boxes": json.dumps([[16, 0, 32, 32], [40, 0, 60, 60]])})
    described = schemas.Embedding.model_validate(given.json())
    assert len(detected.people) == 1
    assert [person.box for person in described.people] == [[16, 0, 32, 32], [40, 0, 60, 60]]
    assert described.people[0].embedding == pytest.approx(detected.people[0].embedding, abs=1e-5)


def test_index_then_search(client) -> None:
    photos = [picture((0, column), seed=column) for column in range(3)]
    files = [part for n, photo in enumerate(photos) for part in upload(photo, f"{n}.png", "images")]
    indexed = schemas.Indexed.model_validate(client.post("/index", files=files, data={"camera": "7"}).json())
    assert indexed == schemas.Indexed(indexed=3, people=3, failures=[])

    again = schemas.Indexed.model_validate(client.post("/index", files=files, data={"camera": "7"}).json())
    assert (again.indexed, again.people) == (3, 0)

    fields = {"box": "16,0,32,32", "where": "camera=7", "include_own": "true"}
    response = client.post("/search", files=upload(photos[1]), data=fields)
    ranking = schemas.Matches.model_validate(response.json())
    assert ranking.probe.box == [16, 0, 32, 32]
    assert ranking.people >= 3
    first = ranking.matches[0]
    assert (first.rank, first.source, first.camera, first.box) == (1, "1.png", "7", [16, 0, 32, 32])
    assert first.likeness == pytest.approx(1, abs=1e-3)
    assert [match.likeness for match in ranking.matches] == sorted((m.likeness for m in ranking.matches), reverse=True)

    thumbnail = client.get(first.thumbnail)
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(thumbnail.content, np.uint8), cv2.IMREAD_COLOR).shape == (32, 16, 3)


def test_index_with_another_camera_and_time(client) -> None:
    photo = picture((0, 4), seed=77)
    for camera, time in (("north", 5.0), ("south", 6.0)):
        client.post("/index", files=upload(photo, "gate.png", "images"), data={"camera": camera, "time": time})
        fields = {"top": "1", "where": f"camera={camera}", "include_own": "true"}
        (match,) = client.post("/search", files=upload(photo), data=fields).json()["matches"]
        assert (match["source"], match["camera"], match["time"]) == ("gate.png", camera, time)
    fields = {"top": "1", "where": "camera=north", "include_own": "true"}
    assert client.post("/search", files=upload(photo), data=fields).json()["matches"] == []


def test_search_by_point_by_largest_and_by_embedding(client) -> None:
    photo = picture((0, 0), (1, 5), seed=9)
    client.post("/index", files=upload(photo, "two.png", "images"), data={"source": "door"})
    by_point = client.post(
        "/search", files=upload(photo), data={"point": "88,50", "top": "1", "include_own": "true"}
    ).json()
    assert by_point["probe"]["box"] == [80, 32, 96, 64]
    assert [match["source"] for match in by_point["matches"]] == ["door"]
    assert client.post("/search", files=upload(photo)).json()["probe"] is not None
    embedded = client.post("/embed", files=upload(photo), data={"boxes": "[[80, 32, 96, 64]]"}).json()
    embedding = json.dumps(embedded["people"][0]["embedding"])
    by_embedding = client.post("/search", data={"embedding": embedding, "top": "1", "where": "source=door"}).json()
    assert by_embedding["probe"] is None
    assert by_embedding["matches"][0]["box"] == [80, 32, 96, 64]


@pytest.mark.parametrize("place", [{}, {"box": "16,0,32,32"}, {"point": "20,8"}])
def test_the_probes_own_picture_is_left_out(client, place: dict[str, str]) -> None:
    photo, other = picture((0, 1), seed=30), picture((0, 1), seed=31)
    for data, name in ((photo, "own.png"), (photo, "copy.png"), (other, "other.png")):
        client.post("/index", files=upload(data, name, "images"), data={"camera": "own"})

    def sources(**fields: str) -> set[str]:
        asked = {**place, "where": "camera=own", **fields}
        answer = client.post("/search", files=upload(photo), data=asked).json()
        return {match["source"] for match in answer["matches"]}

    assert sources() == {"other.png"}
    assert sources(include_own="false") == {"other.png"}
    assert sources(include_own="true") == {"own.png", "copy.png", "other.png"}


def test_the_service_ranks_as_the_command_does(service: Running, client, tmp_path) -> None:
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.probe import find_probe
    from mgts_trt.gallery.ranking import rank_gallery
    from mgts_trt.runtime.pipeline import PersonSearch

    photos = [picture((0, column), (1, column + 2), seed=40 + column) for column in range(3)]
    for n, photo in enumerate(photos):
        client.post("/index", files=upload(photo, f"rank{n}.png", "images"))
    (tmp_path / "probe.png").write_bytes(photos[0])
    with (
        PersonSearch.open(service.log.parent / "bundle", mode="net", threads=1) as search,
        Gallery.open(service.log.parent / "gallery") as gallery,
    ):
        probe = find_probe(search, tmp_path / "probe.png", (16.0, 8.0))
        for own in (False, True):
            fields = {"point": "16,8", "top": "50", "include_own": str(own)}
            asked = client.post("/search", files=upload(photos[0]), data=fields).json()["matches"]
            ranked = rank_gallery(gallery, probe, top=50, include_own=own).matches
            assert {match["source"] for match in asked} >= {"rank1.png", "rank2.png"}
            assert ("rank0.png" in {match["source"] for match in asked}) is own
            # Equals come in any order; the likeness of a place is the same.
            assert [match["likeness"] for match in asked] == pytest.approx([m.likeness for m in ranked], abs=1e-5)
            assert sorted(match["source"] for match in asked) == sorted(match.source for match in ranked)


@pytest.mark.parametrize(
    ("fields", "given_by"),
    [
        ({"box": "16,0,32,32"}, "box"),
        ({"box_xywh": "16,0,16,32"}, "box_xywh"),
        ({"point": "20,8"}, "point"),
        ({}, "largest"),
    ],
)
def test_one_box_in_every_form(client, fields: dict[str, str], given_by: str) -> None:
    probe = client.post("/search", files=upload(picture((0, 1))), data=fields).json()["probe"]
    assert (probe["box"], probe["given_by"]) == ([16, 0, 32, 32], given_by)


def test_a_box_of_an_answer_is_one_of_a_request(client) -> None:
    photo = upload(picture((0, 1), (1, 4)))
    for person in client.post("/detect", files=photo).json()["people"]:
        box = person["box"]
        asked = client.post("/search", files=photo, data={"box": ",".join(map(str, box))}).json()
        described = client.post("/embed", files=photo, data={"boxes": json.dumps([box])}).json()
        assert asked["probe"]["box"] == described["people"][0]["box"] == box


def test_a_broken_picture_among_others_costs_itself_alone(client) -> None:
    files = upload(b"none", "broken.jpg", "images") + upload(picture((1, 1), seed=20), "whole.png", "images")
    answer = client.post("/index", files=files).json()
    assert (answer["indexed"], answer["people"]) == (1, 1)
    assert [failure["file"] for failure in answer["failures"]] == ["broken.jpg"]


def test_healthz_and_metrics(client) -> None:
    health = schemas.Health.model_validate(client.get("/healthz").json())
    assert (health.preset, health.mode, health.backend, health.key_needed) == ("tiny", "net", "onnxruntime", False)
    client.post("/detect", files=upload(picture((0, 0))))
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['mgts_requests_total{route="/detect",status="200"}']) >= 1
    assert float(values["mgts_pictures_total"]) >= 1
    assert float(values['mgts_stage_seconds_count{stage="detector"}']) >= 1
    assert (
        float(values['mgts_gallery{kind="people"}']) == schemas.Health(**client.get("/healthz").json()).gallery.people
    )


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/docs", "/openapi.json", "/nothing", "/search"])
def test_head_is_get_without_a_body(client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_thumbnails_are_kept_nowhere(client) -> None:
    """Who is forgotten is to be gone from browsers, too."""
    client.post("/index", files=upload(picture((0, 4), seed=50), "kept.png", "images"))
    probe = upload(picture((0, 4), seed=51))
    match = client.post("/search", files=probe, data={"where": "source=kept.png"}).json()["matches"][0]
    assert client.get(match["thumbnail"]).headers["cache-control"] == "no-store"


def test_openapi_and_docs(client) -> None:
    description = client.get("/openapi.json").json()
    assert {"/detect", "/embed", "/index", "/search", "/people/{id}/thumbnail", "/healthz"} <= set(description["paths"])
    failures = description["paths"]["/detect"]["post"]["responses"]
    assert set(failures) == {"200", "400", "401", "403", "408", "413", "429", "503", "504"}
    assert failures["413"]["content"]["application/json"]["schema"]["$ref"].endswith("/Failure")
    docs = client.get("/docs")
    assert "POST /search" in docs.text
    assert "<script" not in docs.text
    assert "likeness" in docs.text  # of what answers hold
    assert "Those of this camera alone" in docs.text  # of what an address holds
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")


def test_every_answer_bears_the_security_headers(client) -> None:
    for response in (client.get("/"), client.get("/healthz"), client.get("/nothing"), client.post("/detect")):
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in response.headers


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9999)) + chunk(b"IEND", b"")
    )


PHOTO = picture((0, 0))
BAD = {
    "no file": ("/detect", [], {}, 400, "form field image is missing"),
    "a text for a file": ("/detect", [], {"image": "hello"}, 400, "a file is expected"),
    "not a picture": ("/detect", upload(b"not a picture", "a.jpg"), {}, 400, "a.jpg is not a picture"),
    "empty": ("/detect", upload(b""), {}, 400, "empty"),
    "cut short": ("/detect", upload(PHOTO[:-20]), {}, 400, "cut short"),
    "a bomb": ("/detect", upload(bomb(50_000, 50_000)), {}, 413, "too many pixels"),
    "a small bomb": ("/detect", upload(bomb(2000, 1001)), {}, 413, "2000×1001"),
    "a bomb to index": ("/search", upload(bomb(9_000, 9_000)), {}, 413, "2 megapixels"),
    "too many files": ("/index", upload(PHOTO, field="images") * 4, {}, 413, "at most 3"),
    "boxes that are none": ("/embed", upload(PHOTO), {"boxes": "[[1, 2, 3]]"}, 400, "boxes"),
    "a box outside": ("/embed", upload(PHOTO), {"boxes": "[[500, 500, 600, 600]]"}, 400, "holds no pixel"),
    "a filter on no field": ("/search", upload(PHOTO), {"where": "colour=red"}, 400, "no field 'colour'"),
    "too many matches": ("/search", upload(PHOTO), {"top": "1000"}, 400, "field top"),
    "no probe": ("/search", [], {"top": "3"}, 400, "an image, an embedding"),
    "nobody": ("/search", upload(picture()), {}, 400, "Nobody was detected"),
    "a short embedding": ("/search", [], {"embedding": "[1, 2]"}, 400, "128 numbers"),
    "a camera with control characters": ("/index", upload(PHOTO, field="images"), {"camera": "\x00"}, 400, "camera"),
    "a time that is none": ("/index", upload(PHOTO, field="images"), {"time": "nan"}, 400, "time"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_get_a_sentence(client, case: str) -> None:
    path, files, data, status, sentence = BAD[case]
    response = client.post(path, files=files, data=data)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert sentence in response.json()["error"]
    assert "/" not in response.json()["error"].replace("multipart/form-data", "").replace("POST /embed", "")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("GET", "/detect", 405), ("GET", "/people/x/thumbnail", 404)]
)
def test_addresses_that_are_none(client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_other_web_pages_are_kept_out(client, headers: dict[str, str]) -> None:
    response = client.post("/index", files=upload(PHOTO, field="images"), headers=headers)
    assert response.status_code == 403


def test_its_own_page_is_let_in(client, service: Running) -> None:
    assert client.post("/detect", files=upload(PHOTO), headers={"Origin": service.url}).status_code == 200
