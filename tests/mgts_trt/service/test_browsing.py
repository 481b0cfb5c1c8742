import secrets
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.access.master_key import KEY_VARIABLE
from mgts_trt.gallery import Frame, Gallery, Space, entry_of
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.machine.files import file_sha256
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.service import schemas
from tests.helpers.camera_scenes import scene, write_scenes, write_video
from tests.helpers.running_service import picture, serving
from tests.helpers.tiny_bundle import make_tiny_bundle

VIDEO_FRAMES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browsing")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    """Of a gallery of two pictures of camera 1, a video of camera 2, a stream of camera 2, and one sent over HTTP."""
    pictures = write_scenes(folder / "pictures", range(2))
    video = folder / "video.avi"
    write_video(video, range(VIDEO_FRAMES))
    with (
        PersonSearch.open(make_tiny_bundle(folder / "bundle"), threads=1) as search,
        Gallery.create(folder / "gallery", Space.of(search.bundle, search.mode)) as gallery,
    ):
        entries = [(Frame(str(path), 0, file_sha256(path), None, "1"), read_image(path)) for path in pictures]
        for frame in video_frames(str(video), lambda number: not number % 5):
            entries.append((Frame(str(video), frame.number, file_sha256(video), frame.seconds, "2"), frame.image))
        entries.append((Frame("rtsp://camera/2", 7, "", 1.7e9, "2"), scene(3)))
        gallery.add([entry_of(image, frame, search(image)) for frame, image in entries])
        gallery.end_video(str(video), file_sha256(video), VIDEO_FRAMES)
    with (
        serving(folder, "--gallery", folder / "gallery", bundle=folder / "bundle") as running,
        running.client() as opened,
    ):
        files = {"images": ("sent.png", picture((0, 1)))}
        opened.post("/index", files=files, data={"camera": 'the "back" door, left'}).raise_for_status()
        yield opened


def people(client: httpx.Client, **query: object) -> list[schemas.GalleryPerson]:
    return schemas.PeoplePage.model_validate(client.get("/people", params=query).json()).people


def test_pages_of_people(client: httpx.Client) -> None:
    first = schemas.PeoplePage.model_validate(client.get("/people", params={"limit": 5}).json())
    everybody = [person for offset in range(0, first.total, 5) for person in people(client, limit=5, offset=offset)]
    assert everybody[:5] == first.people
    assert len({person.id for person in everybody}) == first.total == client.get("/healthz").json()["gallery"]["people"]
    assert people(client, offset=first.total) == []


def test_people_of_a_camera_a_source_a_time(client: httpx.Client, folder: Path) -> None:
    assert {person.camera for person in people(client, camera="1")} == {"1"}
    assert {person.source for person in people(client, camera='the "back" door, left')} == {"sent.png"}
    assert {person.source for person in people(client, source=str(folder / "video.avi"))} == {str(folder / "video.avi")}
    assert {person.number for person in people(client, camera="2", since=0.9, until=2.1)} == {10, 15, 20}
    assert {person.source for person in people(client, since=1e9)} == {"rtsp://camera/2"}
    assert {person.number for person in people(client, where="number>20", until=1e6)} == {25}
    assert len(people(client, camera="")) == 24
    assert client.get("/people", params={"where": "colour=red"}).status_code == 400


def test_cameras(client: httpx.Client) -> None:
    cameras = schemas.Cameras.model_validate(client.get("/cameras").json()).cameras
    assert [camera.camera for camera in cameras] == ["1", "2", 'the "back" door, left']
    second = cameras[1]
    assert (second.frames, second.first, second.last) == (7, 0, 1.7e9)
    assert second.people == len(people(client, camera="2", limit=100))


def test_sources(client: httpx.Client, folder: Path) -> None:
    page = schemas.SourcesPage.model_validate(client.get("/sources", params={"limit": 2}).json())
    assert (page.total, len(page.sources)) == (5, 2)
    (video,) = client.get("/sources", params={"containing": "VIDEO."}).json()["sources"]
    assert (video["source"], video["cameras"], video["frames"]) == (str(folder / "video.avi"), ["2"], 6)


def scene_of(client: httpx.Client, person: schemas.GalleryPerson, offset: int = 0) -> tuple[np.ndarray, dict]:
    response = client.get(person.scene, params={"offset": offset}).raise_for_status()
    image = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    return image, {name[8:]: value for name, value in response.headers.items() if name.startswith("x-scene-")}


def test_the_scene_of_a_picture(client: httpx.Client) -> None:
    person = people(client, camera="1")[0]
    image, about = scene_of(client, person)
    assert about == {"width": "96", "height": "64"}
    assert image == pytest.approx(read_image(person.source), abs=40)
    assert client.get(person.scene, params={"offset": 1}).status_code == 404


@pytest.mark.parametrize("offset", [0, 1, -1, 4])
def test_the_scene_of_a_video_and_those_beside_it(client: httpx.Client, folder: Path, offset: int) -> None:
    person = people(client, source=str(folder / "video.avi"), where="number=25")[0]
    image, about = scene_of(client, person, offset)
    assert about == {
        "width": "96", "height": "64", "number": str(25 + offset), "seconds": str((25 + offset) / 10), "frames": "30",
    }  # fmt: skip
    assert np.abs(image.astype(int) - scene(25 + offset)).mean() < 12


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"source": "sent.png"}, "no file sent.png"),
        ({"since": 1e9}, "live stream"),
        ({"where": "number=25"}, "no frame"),
    ],
)
def test_a_scene_that_is_none_says_why(client: httpx.Client, query: dict, sentence: str) -> None:
    response = client.get(people(client, **query)[0].scene, params={"offset": 100 if "where" in query else 0})
    assert response.status_code == 404
    assert sentence in response.json()["error"]


def test_a_name_opens_no_file_that_is_not_at_hand_already(client: httpx.Client, tmp_path: Path) -> None:
    """A source is a name that a client gives: of a file that it does not have it shows nothing."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture((1, 2), seed=5))
    files = {"images": ("x.png", picture((1, 2), seed=6))}
    client.post("/index", files=files, data={"source": str(secret)}).raise_for_status()
    response = client.get(people(client, source=str(secret))[0].scene)
    assert (response.status_code, "another content" in response.text) == (404, True)
    client.delete("/sources", params={"source": str(secret)}).raise_for_status()


@pytest.mark.parametrize("name", ["../..", "a/b?c#d&e=%2F", "ä ö", "it's", '"', "nobody.png"])
def test_forget(client: httpx.Client, name: str) -> None:
    shows_somebody = name != "nobody.png"
    before = client.get("/sources").json()["total"]
    seed = sum(name.encode())
    files = {"images": ("x.png", picture(*([(0, 3)] if shows_somebody else []), seed=seed))}
    client.post("/index", files=files, data={"source": name}).raise_for_status()
    assert client.get("/sources").json()["total"] == before + 1
    gone = people(client, source=name)
    answer = client.delete("/sources", params={"source": name})
    assert answer.json() == {"source": name, "people": int(shows_somebody)}
    assert people(client, source=name) == []
    assert [client.get(person.thumbnail).status_code for person in gone] == [404] * shows_somebody
    assert client.get("/sources").json()["total"] == before
    again = client.delete("/sources", params={"source": name})
    assert (again.status_code, "nothing of such a source" in again.json()["error"]) == (404, True)
    refused = client.post("/index", files=files, data={"source": "elsewhere"})
    assert (refused.status_code, "to be forgotten" in refused.json()["error"]) == (409, True)
    other = {"images": ("x.png", picture((1, 3), seed=seed + 1))}
    assert client.post("/index", files=other, data={"source": name}).json()["indexed"] == 1
    client.delete("/sources", params={"source": name}).raise_for_status()


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_other_pages_forget_nothing(client: httpx.Client, origin: str) -> None:
    answer = client.delete("/sources", params={"source": "sent.png"}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert people(client, source="sent.png")


def test_with_a_key_nothing_is_seen_or_forgotten_without_it(tmp_path: Path) -> None:
    key = {"MGTS_API_KEY": "a-key-of-some-length"}
    with serving(tmp_path, "--gallery", tmp_path / "gallery", environment=key) as running, running.client() as client:
        for method, path in (
            ("GET", "/people"), ("GET", "/cameras"), ("GET", "/sources"), ("GET", "/people/x/scene"),
            ("DELETE", "/sources?source=x"),
        ):  # fmt: skip
            assert client.request(method, path).status_code == 401, path
            known = client.request(method, path, headers={"X-API-Key": key["MGTS_API_KEY"]})
            assert known.status_code == (404 if "x" in path else 200), path


def test_encrypted_pictures_are_shown_with_the_key_alone(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra encryption")
    key, bundle = {KEY_VARIABLE: secrets.token_hex(32)}, make_tiny_bundle(tmp_path / "b")
    options = ("--gallery", tmp_path / "gallery")
    with (
        serving(tmp_path, *options, bundle=bundle, environment=key) as running,
        running.client() as client,
    ):
        client.post("/index", files={"images": ("sent.png", picture((0, 1)))}).raise_for_status()
        (shown,) = people(client)
        jpeg = client.get(shown.thumbnail).raise_for_status().content
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
    stored = b"".join(file.read_bytes() for file in (tmp_path / "gallery").rglob("*") if file.is_file())
    assert jpeg[:20] not in stored
    assert jpeg[-40:] not in stored
    with serving(tmp_path, *options, bundle=bundle) as running, running.client() as client:
        assert people(client) == [shown]
        found = client.post("/search", files={"image": ("a.png", picture((0, 1)))}, data={"include_own": "true"})
        assert found.raise_for_status().json()["matches"]
        said = "The gallery's pictures are encrypted, and the service was given no key that opens them."
        refused = [
            client.get(shown.thumbnail),
            client.post("/index", files={"images": ("other.png", picture((0, 2)))}),
        ]
        assert [answer.status_code for answer in refused] == [503, 503]
        assert all(answer.json()["error"].startswith(said) for answer in refused)
        assert people(client) == [shown]
        assert "no key was given: people are found, and neither shown nor added" in " ".join(
            running.log.read_text().split()
        )
