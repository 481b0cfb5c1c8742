"""Sightings over HTTP: found, looked through, and taken apart."""

from collections.abc import Iterator

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.service import schemas
from tests.helpers.followed_gallery import CLIP, DOOR, FRAMES, NOON, PHOTO, YARD, fill
from tests.helpers.running_service import picture, serving


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("sightings")
    bundle, gallery = fill(folder)
    with serving(folder, "--gallery", gallery, bundle=bundle) as running, running.client() as opened:
        yield opened


def sightings(client: httpx.Client, **query: object) -> list[schemas.SeenSighting]:
    return schemas.SightingsPage.model_validate(client.get("/sightings", params=query).json()).sightings


def search(client: httpx.Client, **fields: object) -> schemas.Matches:
    return schemas.Matches.model_validate(client.post("/search", data=fields).raise_for_status().json())


def red_at_the_door(client: httpx.Client) -> schemas.SeenSighting:
    (seen,) = sightings(client, source=DOOR, since=NOON + 100)
    return seen


def test_sightings_page_by_page(client: httpx.Client) -> None:
    everything = sightings(client)
    assert [(each.source, each.camera) for each in everything] == [
        (CLIP, "hall"), (CLIP, "hall"), (DOOR, "door"), (DOOR, "door"), (DOOR, "door"), (YARD, "yard"),
    ]  # fmt: skip
    by_two = [each for offset in (0, 2, 4, 6) for each in sightings(client, limit=2, offset=offset)]
    assert by_two == everything
    assert client.get("/sightings", params={"camera": "yard"}).json()["total"] == 1
    assert {each.start for each in sightings(client, since=NOON + 61)} == {NOON + 60, NOON + 120}
    assert client.get("/sightings", params={"where": "colour=red"}).status_code == 400


def test_a_sighting_and_its_frames(client: httpx.Client) -> None:
    seen = red_at_the_door(client)
    assert (seen.start, seen.end, seen.frames) == (NOON + 120, NOON + 120 + (FRAMES - 1) / 2, FRAMES)
    whole = schemas.WholeSighting.model_validate(client.get(f"/sightings/{seen.id}").json())
    assert schemas.SeenSighting(**whole.model_dump(exclude={"path"})) == seen
    assert whole.path[0] == [0, 40, 60, 120, 300]
    assert whole.path[-1][0] == (FRAMES - 1) / 2
    times = []
    for offset in range(0, FRAMES, 5):
        page = schemas.PeoplePage.model_validate(client.get(seen.people, params={"offset": offset, "limit": 5}).json())
        assert page.total == FRAMES
        times += [person.time for person in page.people]
    assert times == [NOON + 120 + number / 2 for number in range(FRAMES)]


def test_thumbnails_of_a_sighting(client: httpx.Client) -> None:
    seen = red_at_the_door(client)
    for place, person in enumerate(seen.best):
        response = client.get(seen.thumbnail, params={"place": place}).raise_for_status()
        assert response.content == client.get(person.thumbnail).content
        assert cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR).shape == (192, 64, 3)


@pytest.mark.parametrize("path", ["/sightings/s-none", "/sightings/s-none/people", "/sightings/s-none/thumbnail"])
def test_no_such_sighting(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, "sighting" in response.json()["error"]) == (404, True)


def test_a_search_finds_sightings_and_photos(client: httpx.Client) -> None:
    found = search(client, person=red_at_the_door(client).id)
    assert (found.kind, found.people, found.calibration) == ("sightings", 6 * FRAMES + 1, None)
    assert [(match.source, match.sighting is not None) for match in found.matches[:1]] == [(DOOR, True)]
    same = found.matches[:4]
    assert {match.source for match in same} == {DOOR, YARD, CLIP, PHOTO}  # its own sighting is left out
    assert len(found.matches) == 6
    for match in found.matches:
        assert match.false_matches is None
        if match.source == PHOTO:
            assert match.sighting is None
            continue
        # A match is told as ever, by the sighting's best frame.
        assert match.sighting.best[0].model_dump() == match.model_dump(include=set(match.sighting.best[0].model_dump()))


def test_the_frames_as_ever(client: httpx.Client) -> None:
    found = search(client, person=red_at_the_door(client).id, frames="true", top=100)
    assert found.kind == "frames"
    assert all(match.sighting is None for match in found.matches)
    best = {person.id for person in red_at_the_door(client).best}
    assert len(found.matches) == 6 * FRAMES + 1 - len(best)
    assert not best & {match.id for match in found.matches}


def test_of_somebody_in_a_frame_the_own_sighting_is_left_out(client: httpx.Client) -> None:
    seen = red_at_the_door(client)
    person = client.get(seen.people).json()["people"][5]["id"]
    ids = [match.sighting.id for match in search(client, person=person).matches if match.sighting]
    assert len(ids) == 5
    assert seen.id not in ids
    own = search(client, person=person, include_own="true").matches[0]
    assert (own.sighting.id, own.likeness) == (seen.id, pytest.approx(1, abs=1e-4))


@pytest.mark.parametrize("fields", [{}, {"not": True}, {"rerank": "true"}, {"frames": "true"}])
def test_results_page_by_page(client: httpx.Client, fields: dict) -> None:
    seen = sightings(client)
    red = red_at_the_door(client).id
    fields = {"not_person": next(each.id for each in seen if each.id != red)} if "not" in fields else fields
    whole = search(client, person=red, top=30, **fields)
    pages, offset = [], 0
    while True:
        page = search(client, person=red, top=2, offset=offset, **fields)
        pages += page.matches
        offset += 2
        if not page.more or offset >= 30:
            break
    assert pages == whole.matches[: len(pages)]
    assert [match.rank for match in pages] == list(range(1, len(pages) + 1))
    assert len(pages) == min(30, len(whole.matches))
    assert whole.more is ("frames" in fields)


def test_several_probes_are_one_person(client: httpx.Client) -> None:
    """The likeness is the mean of theirs; none finds itself."""
    red = [
        match.sighting.id for match in search(client, person=red_at_the_door(client).id).matches[:4] if match.sighting
    ]
    one, other = red[:2]
    alone = [{m.id: m.likeness for m in search(client, person=each).matches} for each in (one, other)]
    both = search(client, person=[one, other])
    assert len(both.probes) == 2
    assert both.probe == both.probes[0]
    assert {one, other}.isdisjoint({match.sighting.id for match in both.matches if match.sighting})
    for match in both.matches:
        assert match.likeness == pytest.approx((alone[0][match.id] + alone[1][match.id]) / 2, abs=1e-4)


def test_pictures_people_and_embeddings_in_one_request(client: httpx.Client) -> None:
    photo = picture((0, 1), (1, 4), seed=1)
    files = [("image", ("a.png", photo)), ("image", ("b.png", photo)), ("not_image", ("c.png", photo))]
    boxes = ["16,0,32,32", "64,32,80,64"]
    answer = client.post(
        "/search",
        files=files,
        data={
            "box": boxes,
            "not_box": boxes[1],
            "person": red_at_the_door(client).id,
            "embedding": "[" + "1," * 127 + "1]",
        },
    )
    found = schemas.Matches.model_validate(answer.raise_for_status().json())
    assert [probe.given_by for probe in found.probes] == ["box", "box", "person"]
    assert [probe.box for probe in found.probes[:2]] == [list(map(float, box.split(","))) for box in boxes]


def test_who_is_not_meant_falls_back(client: httpx.Client) -> None:
    """And is left out themselves."""
    red = red_at_the_door(client).id
    before = search(client, person=red)
    blue = before.matches[-1].sighting.id
    after = search(client, person=red, not_person=blue)
    assert blue not in {match.sighting.id for match in after.matches if match.sighting}
    fell = {match.id: match.likeness for match in after.matches}
    was = {match.id: match.likeness for match in before.matches}
    assert all(fell[each] <= was[each] + 1e-6 for each in fell)
    assert after.matches[-1].likeness < was[after.matches[-1].id] - 0.05  # blue elsewhere
    assert after.matches[0].likeness == pytest.approx(was[after.matches[0].id], abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"not_person": "x"}, 400, "A probe is expected"),
        ({"person": "s-none"}, 404, "no such sighting"),
        ({"person": ["x"] * 9}, 400, "person"),
        ({"box": "1,2,3,4", "person": "x"}, 400, "of 0 there are 1"),
        ({"person": "x", "far": "0.001"}, 400, "not calibrated"),
        ({"person": "x", "offset": "1001"}, 400, "offset"),
    ],
)
def test_refusals(client: httpx.Client, fields: dict, status: int, sentence: str) -> None:
    answer = client.post("/search", data=fields)
    assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text


def test_of_several_pictures_the_bad_one_is_named(client: httpx.Client) -> None:
    files = [("image", ("a.png", picture((0, 1)))), ("image", ("b.png", b"broken"))]
    answer = client.post("/search", files=files)
    assert (answer.status_code, "Picture 2 of 2: b.png is not a picture" in answer.json()["error"]) == (400, True)
