import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import FalseMatches, write_manifest
from tests.helpers.running_service import picture, serving
from tests.helpers.tiny_bundle import make_tiny_bundle

PHOTO = picture((0, 1), (1, 4), seed=1)
ALIKE = 0.999998
"""To the tiny network all bright people look much alike, and the same person the same but for rounding."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a gallery with the photo, a copy of it, and two others, at different times of two cameras."""
    folder = tmp_path_factory.mktemp("searching")
    with serving(folder, "--gallery", folder / "gallery") as running, running.client() as opened:
        for name, data, camera, time in (
            ("own.png", PHOTO, "1", 10), ("copy.png", PHOTO, "2", 20),
            ("a.png", picture((0, 2), seed=2), "1", 30), ("b.png", picture((0, 3), seed=3), 'b, "2"', 40),
        ):  # fmt: skip
            files = {"images": (name, data)}
            opened.post("/index", files=files, data={"camera": camera, "time": time}).raise_for_status()
        yield opened


def search(client: httpx.Client, image: bytes | None = None, **fields: object) -> dict:
    files = {"image": ("p.png", image)} if image else None
    return client.post("/search", files=files, data=fields).raise_for_status().json()


def sources(answer: dict) -> set[str]:
    return {match["source"] for match in answer["matches"]}


@pytest.mark.parametrize("include_own", ["true", "false"])
def test_a_search_is_repeated_without_its_photo(client: httpx.Client, include_own: str) -> None:
    """By what its answer tells of the probe: the same ranking, the probe's own photo left out or not."""
    first = search(client, PHOTO, box="16,0,32,32", include_own=include_own)
    probe = first["probe"]
    again = search(client, embedding=json.dumps(probe["embedding"]), **({"own": probe["own"]} if probe["own"] else {}))
    ranked, repeated = ({match["id"]: match["likeness"] for match in answer["matches"]} for answer in (first, again))
    assert repeated == pytest.approx(ranked, abs=1e-5)  # equals come in any order
    assert ("own.png" in sources(again)) is (include_own == "true")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"camera": "1"}, {"own.png", "a.png"}),
        ({"camera": 'b, "2"'}, {"b.png"}),
        ({"since": 20}, {"copy.png", "a.png", "b.png"}),
        ({"since": 11, "until": 30}, {"copy.png", "a.png"}),
        ({"camera": "1", "where": "time>10"}, {"a.png"}),
        ({"camera": ""}, {"own.png", "copy.png", "a.png", "b.png"}),
    ],
)
def test_conditions_by_fields_of_their_own(client: httpx.Client, fields: dict, found: set[str]) -> None:
    assert sources(search(client, PHOTO, include_own="true", **fields)) == found


def test_somebody_of_the_gallery_is_the_probe(client: httpx.Client) -> None:
    for person in client.get("/people").json()["people"]:
        answer = search(client, person=person["id"])
        assert (answer["probe"]["given_by"], answer["probe"]["box"]) == ("person", person["box"])
        same = {"own.png", "copy.png"}
        left_out = same if person["source"] in same else {person["source"]}
        assert sources(answer) == {"own.png", "copy.png", "a.png", "b.png"} - left_out
        with_own = search(client, person=person["id"], include_own="true")
        assert with_own["matches"][0]["likeness"] == pytest.approx(1, abs=1e-5)
        assert person["source"] in sources(with_own)


def test_of_a_video_the_probes_own_frame_is_left_out(client: httpx.Client) -> None:
    for number, time in ((0, 1), (1, 2)):
        files = {"images": (f"{number}.png", picture((0, number), (1, 5), seed=10 + number))}
        client.post("/index", files=files, data={"source": "cut.mp4", "camera": "v", "time": time}).raise_for_status()
    people = client.get("/people", params={"camera": "v"}).json()["people"]
    assert len(people) == 4
    for person in people:
        found = search(client, person=person["id"], camera="v")["matches"]
        assert {match["time"] for match in found} == {1, 2} - {person["time"]}


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({}, 400, "A probe is expected"),
        ({"person": "nobody"}, 404, "no such person"),
        ({"person": "x", "embedding": "[1]"}, 400, "a JSON list of 128 numbers"),
        ({"embedding": json.dumps([1] * 128), "since": "nan"}, 400, "since"),
    ],
)
def test_no_probe(client: httpx.Client, fields: dict, status: int, sentence: str) -> None:
    answer = client.post("/search", data=fields)
    assert (answer.status_code, sentence in answer.json()["error"]) == (status, True)


def test_rates_of_a_calibrated_bundle(tmp_path: Path) -> None:
    root = make_tiny_bundle(tmp_path / "calibrated")
    manifest = Bundle.open(root).manifest
    told = {"pairs": 9000, "people": 30, "of": "two sets", "network": manifest.models["mgts"].weights}
    curve = FalseMatches(cosines=(-1.0, ALIKE), far=(1.0, 0.001), **told)
    write_manifest(root, manifest.model_copy(update={"likeness": {"net": curve, "box": curve}}))
    with serving(tmp_path, "--gallery", tmp_path / "gallery", bundle=root) as running, running.client() as client:
        for name, data in (("copy.png", PHOTO), ("other.png", picture((0, 2), seed=2))):
            client.post("/index", files={"images": (name, data)}).raise_for_status()
        fields = {"point": "20,8", "include_own": "true"}
        everybody = search(client, PHOTO, **fields)
        assert everybody["calibration"]["pairs"] == 9000
        rates = [match["false_matches"] for match in everybody["matches"]]
        assert rates == sorted(rates)
        assert (len(rates), rates[0]) == (3, 0.001)
        few = search(client, PHOTO, **fields, far="0.001")["matches"]
        assert few == [match for match in everybody["matches"] if match["likeness"] >= ALIKE]
        assert 0 < len(few) < 3
        refused = client.post("/search", files={"image": ("p.png", PHOTO)}, data={**fields, "far": "1e-9"})
        assert (refused.status_code, "Ask for that or more" in refused.text) == (400, True)
