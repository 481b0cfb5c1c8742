import json
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.errors import GalleryError, ImageError
from mgts_trt.gallery import Frame, Gallery, Space, entry_of, parse_filter, tables, vector_index
from mgts_trt.gallery.forgetting import recall
from mgts_trt.gallery.lance import locate, retried
from mgts_trt.gallery.store import is_gallery
from tests.helpers.paths import ROOT
from tests.helpers.stored_people import SPACE, contents, entry, expected, people_with, unit

lancedb = pytest.importorskip("lancedb")


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "gallery"


@pytest.fixture
def gallery(place) -> Gallery:
    return Gallery.create(place, SPACE)


def test_finds_who_was_added(gallery) -> None:
    gallery.add([entry(number, camera=f"c{number}") for number in range(8)])
    probe = unit(7, rows=3)[1]
    first, second = gallery.search(probe, top=2)
    assert first.likeness == pytest.approx(1, abs=1e-6)
    assert (first.source, first.number, first.sha256) == ("/a/video.mp4", 7, "5" * 64)
    assert (first.time, first.camera, first.score) == (3.5, "c7", 0.75)
    assert first.box.tolist() == [10, 5, 18, 25]
    assert first.thumbnail == b"jpeg of 1"
    everybody = np.concatenate([unit(number, rows=number % 4) for number in range(8)])
    assert second.likeness == pytest.approx(np.sort(everybody @ probe)[-2], abs=1e-6)
    assert [p.likeness for p in gallery.search(probe, top=99)] == pytest.approx(
        np.sort(everybody @ probe)[::-1], abs=1e-6
    )
    assert gallery.person(first.id) == replace_likeness(first)
    assert gallery.person("nobody' OR '1'='1") is None


def replace_likeness(person: tables.Person) -> object:
    """The same person, found without searching; arrays compare to arrays."""

    class Same:
        def __eq__(self, other: object) -> bool:
            return (
                other.likeness is None
                and other.box.tolist() == person.box.tolist()
                and replace(other, box=0, likeness=0) == replace(person, box=0, likeness=0)
            )

    return Same()


def test_an_empty_gallery_answers(gallery) -> None:
    assert gallery.search(unit(1, rows=1)[0]) == []
    assert gallery.done(["x"]) == gallery.done([]) == set()
    assert list(gallery.rows()) == []
    summary = gallery.summary()
    assert (summary.people, summary.frames, summary.sources, summary.indexed) == (0, 0, 0, 0)
    gallery.add([])
    gallery.optimise()
    assert gallery.forget("/a/video.mp4") == 0


def test_adding_twice_is_adding_once(gallery) -> None:
    entries = [entry(number) for number in range(6)]
    gallery.add(entries)
    gallery.add([*entries, entry(6), entry(6)])
    assert contents(gallery) == expected([entry(number) for number in range(7)])
    keys = [entry(number).frame.key for number in range(8)]
    assert gallery.done(keys) == set(keys[:7])  # nobody is in 0 and 4
    summary = gallery.summary()
    assert (summary.people, summary.frames, summary.sources) == (9, 7, 1)
    assert summary.bytes > 0
    assert gallery.count() == 9


def test_it_lasts(place, gallery) -> None:
    gallery.add([entry(number) for number in range(6)])
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="was closed"):
        gallery.search(unit(1, rows=1)[0])
    with Gallery.open(place) as again:
        assert again.space == SPACE
        assert contents(again) == expected([entry(number) for number in range(6)])
        again.optimise()
        assert again.space == Gallery.open(place.as_uri(), SPACE).space
        assert Gallery.create(str(place), SPACE).count() == again.count() == 7


def test_what_another_process_adds_is_seen(place, gallery) -> None:
    assert not gallery.search(unit(3, rows=3)[0])
    run(place, 2, 4)
    assert gallery.search(unit(3, rows=3)[0])[0].number == 3


@pytest.mark.parametrize("update", [{"mode": "net"}, {"weights": "b" * 64}, {"embedding": 16}])
def test_another_space_is_refused(place, gallery, update) -> None:
    other = SPACE.model_copy(update=update)
    for open_ in (Gallery.open, Gallery.create):
        with pytest.raises(GalleryError, match=f"holds embeddings that were made otherwise: {next(iter(update))}"):
            open_(place, other)


TOLD = {
    "canvas": (480, 800), "pad": (124, 116, 104), "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375),
}  # fmt: skip


@pytest.mark.parametrize("update", [{"std": (58.0, 57.0, 57.0)}, {"canvas": (900, 1500)}, {"pad": (0, 0, 0)}])
def test_what_is_done_to_pictures_belongs_to_the_space(place, update) -> None:
    Gallery.create(place, SPACE.model_copy(update=TOLD)).close()
    with pytest.raises(GalleryError, match=f"made otherwise: {next(iter(update))} .* there, .* here"):
        Gallery.open(place, SPACE.model_copy(update={**TOLD, **update}))


def test_a_gallery_from_before_that_was_told_goes_on(place, monkeypatch) -> None:
    monkeypatch.setattr(tables, "FORMAT", 1)
    with Gallery.create(place, SPACE) as old:
        old.add([entry(1)])
    monkeypatch.undo()
    now = SPACE.model_copy(update=TOLD)
    with Gallery.create(place, now) as gallery:
        gallery.add([entry(2)])
        assert gallery.space == SPACE
        assert contents(gallery) == expected([entry(1), entry(2)])
    with pytest.raises(GalleryError, match="made otherwise: weights"):
        Gallery.open(place, now.model_copy(update={"weights": "b" * 64}))


def test_what_cannot_be_opened(place, tmp_path, monkeypatch) -> None:
    with pytest.raises(GalleryError, match=r"no gallery in .*gallery\. Index pictures into it first"):
        Gallery.open(place)
    assert not place.exists()
    (tmp_path / "file").write_text("x")
    for url in (tmp_path, tmp_path / "file"):
        with pytest.raises(GalleryError, match="There is no gallery"):
            Gallery.open(url)
        assert not is_gallery(url)
    with pytest.raises(GalleryError, match="Cannot"):
        Gallery.create(tmp_path / "file", SPACE)
    with pytest.raises(GalleryError, match="place is empty"):
        Gallery.open("")
    foreign = lancedb.connect(tmp_path / "foreign")
    foreign.create_table("people", [{"name": "x"}])
    foreign.create_table("frames", [{"name": "x"}])
    with pytest.raises(GalleryError, match="mgts-trt did not write"):
        Gallery.open(tmp_path / "foreign")
    for name in ("FORMAT", "ENCRYPTED"):
        monkeypatch.setattr(tables, name, 5)
    Gallery.create(place, SPACE)
    monkeypatch.undo()
    assert is_gallery(place)
    with pytest.raises(GalleryError, match="has format 5; this version of mgts-trt reads up to 4"):
        Gallery.open(place)


def test_places(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("g") == locate(Path("g")) == str(tmp_path / "g")
    assert locate((tmp_path / "with space").as_uri()) == str(tmp_path / "with space")
    assert locate("s3://bucket/g") == "s3://bucket/g"
    assert not is_gallery("rtsp://camera/stream")


@pytest.mark.parametrize(
    ("message", "attempts"), [("Commit conflict for version 7", 3), ("Not found: data/1.lance", 3), ("disk full", 1)]
)
def test_who_is_overtaken_tries_again(monkeypatch, message, attempts) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    outcomes = [OSError(message), RuntimeError(message), "done"]
    made = []

    def commit() -> str:
        made.append(outcomes[len(made)])
        if isinstance(made[-1], Exception):
            raise made[-1]
        return made[-1]

    if attempts == 3:
        assert retried(commit) == "done"
    else:
        with pytest.raises(OSError, match=message):
            retried(commit)
    assert len(made) == attempts


def test_a_deleted_gallery(gallery, place) -> None:
    gallery.add([entry(3)])
    shutil.rmtree(place)
    with pytest.raises(GalleryError, match="Cannot search the gallery"):
        gallery.search(unit(3, rows=3)[0])


def test_without_lancedb(place, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(GalleryError, match=r"pip install 'mgts-trt\[gallery\]'"):
        Gallery.create(place, SPACE)


def bad(row: list[float]) -> np.ndarray:
    return np.array([row], np.float32)


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (bad([1.0] * 7), "has shape [7], but"),
        (bad([np.nan] + [1.0] * 7), "not finite or all zero"),
        (bad([np.inf] + [1.0] * 7), "not finite or all zero"),
        (bad([0.0] * 8), "not finite or all zero"),
    ],
)
def test_embeddings_are_checked(gallery, embedding, message) -> None:
    frame = Frame("/bad.jpg")
    with pytest.raises(GalleryError) as error:
        gallery.add([entry(3), entry_of(None, frame, people_with(embedding), thumbnails=False)])
    assert message in str(error.value)
    assert "/bad.jpg" in str(error.value)
    assert gallery.count() == 0
    with pytest.raises(GalleryError) as error:
        gallery.search(embedding[0])
    assert message in str(error.value)


def test_what_else_is_refused(gallery) -> None:
    with pytest.raises(GalleryError, match="The 0 most similar"):
        gallery.search(unit(1, rows=1)[0], top=0)
    with pytest.raises(GalleryError, match=r"shape \[1, 8\]"):
        gallery.search(unit(1, rows=1))
    with pytest.raises(GalleryError, match=r"There are 1 thumbnails of the 3 people in /a/video\.mp4"):
        gallery.add([replace(entry(3), thumbnails=[b""])])


def test_entries_have_thumbnails() -> None:
    image = np.zeros((400, 300, 3), np.uint8)
    image[..., 0] = 200  # red
    people = people_with(unit(0, rows=3))
    people.boxes[:] = [[10, 0, 110, 400], [0, 0, 30, 20], [290, 390, 900, 900]]
    made = entry_of(image, Frame("/a.jpg"), people)
    sizes = []
    for data in made.thumbnails:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        sizes.append(picture.shape[:2])
        assert np.abs(picture.astype(int) - (0, 0, 200)).max() < 8  # OpenCV reads BGR
    assert sizes == [(192, 48), (20, 30), (10, 10)]
    assert not entry_of(image, Frame("/a.jpg"), people, thumbnails=False).thumbnails
    with pytest.raises(ImageError):
        entry_of(None, Frame("/a.jpg"), people)


def test_frames_without_thumbnails(gallery) -> None:
    gallery.add([replace(entry(3), thumbnails=())])
    assert {person.thumbnail for person, _ in gallery.rows()} == {b""}


def test_keys_tell_frames_apart() -> None:
    frames = [
        Frame("/a"), Frame("/b"), Frame("/a", 1), Frame("/a", sha256="1"), Frame("/a", sha256="2"),
        Frame("rtsp://a", time=1.5), Frame("rtsp://a", time=1.6), Frame("/a1"), Frame("/a", 11),
    ]  # fmt: skip
    assert len({frame.key for frame in frames}) == len(frames)
    # Camera and a file's time may be told otherwise the next time.
    assert Frame("/a", sha256="1", camera="x", time=2.0).key == frames[3].key
    assert frames[0].key == "5d9b2c2eb1f8a6a1bd6215adf62369e7"  # the same tomorrow, and elsewhere


@pytest.mark.parametrize("indexed", [False, True])
def test_forgets_a_source(gallery, place, monkeypatch, indexed) -> None:
    monkeypatch.setattr(vector_index, "INDEX_FROM", 100 if indexed else 10_000)
    secret, forgotten = b"the face of somebody who asked to be forgotten", entry(3, source="/a'.jpg")
    gallery.add([entry(1), replace(forgotten, thumbnails=[secret] * 3), entry(5, 400)])  # far less than a tenth
    gallery.optimise()
    traces = [secret, b"/a'.jpg", *(row.tobytes() for row in forgotten.people.embeddings)]
    assert all(holds(place, trace) for trace in traces)
    assert gallery.forget("/a'.jpg") == 3
    assert contents(gallery) == expected([entry(1), entry(5, 400)])
    assert not gallery.done([forgotten.frame.key])
    assert [holds(place, trace) for trace in traces] == [False] * 5
    assert gallery.summary().indexed == (401 if indexed else 0)
    assert gallery.search(unit(1, rows=1)[0])[0].number == 1
    gallery.add([forgotten])
    assert gallery.count() == 401
    assert recall(gallery, "/a'.jpg") == 1
    gallery.add([forgotten])
    assert gallery.count() == 404


def holds(place: Path, secret: bytes) -> bool:
    return any(secret in file.read_bytes() for file in place.rglob("*") if file.is_file())


def test_equals_are_given_in_one_order_however_many_are_asked_for(gallery) -> None:
    """Three people, each of them again and again and not far from the other two, stored in several steps."""
    kinds, probe = unit(7, rows=3), unit(8, rows=1)[0]
    rng = np.random.default_rng(0)
    for step in range(3):
        entries = [entry(number, 7) for number in range(5 * step, 5 * step + 5)]
        gallery.add(
            [replace(each, people=replace(each.people, embeddings=kinds[rng.integers(0, 3, 7)])) for each in entries]
        )
    found = gallery.search(probe, top=105)
    whole = [person.id for person in found]
    assert len({person.likeness for person in found}) == 3
    assert found == sorted(found, key=lambda person: (-person.likeness, person.source, person.number, person.id))
    for top in range(1, 105, 3):
        assert [person.id for person in gallery.search(probe, top=top)] == whole[:top], top


def test_an_index_finds_what_is_most_similar(gallery, monkeypatch) -> None:
    monkeypatch.setattr(vector_index, "INDEX_FROM", 300)
    monkeypatch.setattr(vector_index, "FEW", 0)
    monkeypatch.setattr(vector_index, "PROBES", 100)  # all: nothing can be missed
    gallery.add([entry(number, 20, camera=str(number % 3)) for number in range(10)])
    gallery.optimise()
    assert gallery.summary().indexed == 0
    gallery.add([entry(number, 20, camera=str(number % 3)) for number in range(10, 20)])
    gallery.optimise()
    assert gallery.summary().indexed == 400
    gallery.add([entry(number, 20, camera=str(number % 3)) for number in range(20, 23)])
    assert gallery.summary().indexed == 400
    rows = [(person.id, person.camera, row) for person, row in gallery.rows()]
    for where, allowed in ((None, "012"), ("camera=2", "2"), ("camera!=2", "01"), ("number>=20,camera=0", "0")):
        condition = parse_filter(where) if where else None
        left = [row for row in rows if row[1] in allowed]
        for probe in unit(99, rows=5):
            people = gallery.search(probe, top=5, where=condition)
            assert [p.id for p in people] == [p.id for p in gallery.search(probe, top=5, where=condition, exact=True)]
            if "number" not in (where or ""):
                best = sorted(left, key=lambda row: -float(row[2] @ probe))[:5]
                assert [p.id for p in people] == [row[0] for row in best]
    gallery.optimise()
    assert gallery.summary().indexed == 460


def test_an_outgrown_index_is_made_anew(gallery, monkeypatch) -> None:
    monkeypatch.setattr(vector_index, "INDEX_FROM", 20)
    gallery.add([entry(1, 20)])
    gallery.optimise()
    assert vector_index.partitions(20) == 2
    gallery.add([entry(2, 480)])
    gallery.optimise()
    names = [index.name for index in gallery._people.list_indices() if "embedding" in index.columns]
    assert names == [f"embedding_ivf_{vector_index.partitions(500)}"]
    assert gallery.summary().indexed == 500


def run(place: Path, first: int, last: int, *die: str) -> subprocess.Popen:
    """Let a process of its own store frames; waits for it."""
    process = start(place, first, last, *die)
    process.communicate(timeout=120)
    return process


def start(place: Path, first: int, last: int, *die: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.helpers.stored_people", str(place), str(first), str(last), *die]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_killed_between_people_and_frames(place, gallery) -> None:
    first = [entry(2), entry(3)]
    for _ in range(2):
        assert run(place, 2, 4, "die").returncode == -signal.SIGKILL
    assert contents(gallery) == expected(first)  # stored, but not taken for done
    assert not gallery.done([each.frame.key for each in first])
    # Another run may detect fewer: nobody of the first may stay.
    fewer = [entry(2), entry(3, 1)]
    gallery.add(fewer)
    assert contents(gallery) == expected(fewer)
    assert gallery.done([each.frame.key for each in first]) == {each.frame.key for each in first}


@pytest.mark.slow
def test_killed_at_any_time(place) -> None:
    wait = random.Random(0)
    for _ in range(5):
        process = start(place, 0, 2000)
        reached = 0
        for line in process.stdout:  # some frames in, and then in the midst of the next
            reached = int(line)
            if reached >= 8:
                break
        time.sleep(wait.uniform(0, 0.1))
        process.kill()
        process.communicate()
    with Gallery.open(place) as gallery:
        keys = [entry(number).frame.key for number in range(200)]
        done = gallery.done(keys)
        assert done >= set(keys[:reached])
        every = [entry(number) for number in range(200)]
        stored = contents(gallery)
        assert len(set(stored)) == len(stored)
        assert set(stored) >= set(expected([each for each in every if each.frame.key in done]))
        gallery.add(every)
        assert contents(gallery) == expected([*every])


@pytest.mark.slow
def test_processes_that_add_at_once(place) -> None:
    # Two of the same frames, and one of others.
    processes = [start(place, 0, 40), start(place, 0, 40), start(place, 40, 60)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0, 0]
    with Gallery.open(place) as gallery:
        assert contents(gallery) == expected([entry(number) for number in range(60)])
        assert gallery.summary().frames == 60


def test_threads_that_add_search_and_optimise_at_once(place, gallery) -> None:
    def add(first: int) -> None:
        with Gallery.open(place) as own:
            for number in range(first, first + 5):
                own.add([entry(number)])

    def look(_: int) -> None:
        for _ in range(10):
            gallery.search(unit(3, rows=3)[0])
            gallery.summary()

    def tidy(_: int) -> None:
        for _ in range(2):
            gallery.optimise()

    with ThreadPoolExecutor() as pool:
        tasks = [pool.submit(add, first) for first in (0, 0, 5)]
        tasks += [pool.submit(look, 0), pool.submit(tidy, 0)]
        for task in tasks:
            task.result()
    assert contents(gallery) == expected([entry(number) for number in range(10)])


def test_importing_it_is_quick() -> None:
    code = "import sys, mgts_trt.gallery; print({'lancedb', 'pyarrow', 'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_space_is_written_as_told(place, gallery) -> None:
    metadata = lancedb.connect(place).open_table("people").schema.metadata
    written = json.loads(metadata[b"mgts_trt.gallery"])
    assert written["format"] == tables.FORMAT
    assert Space.model_validate(written["space"]) == SPACE
