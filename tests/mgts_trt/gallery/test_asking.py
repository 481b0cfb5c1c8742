from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.errors import QueryError
from mgts_trt.gallery import Gallery, Person, Sighting, asking, parse_filter
from mgts_trt.gallery.asking import ask, compared, matches_of
from mgts_trt.gallery.combining import combine
from mgts_trt.gallery.probe import Probe
from mgts_trt.gallery.question import Question
from tests.helpers.stored_people import SPACE, entry, people_with, unit
from tests.helpers.stored_sightings import followed


def one(seed: int) -> np.ndarray:
    return unit(seed, rows=1)


NOBODY = np.zeros((0, SPACE.embedding), np.float32)
JPEG = cv2.imencode(".jpg", np.full((40, 20, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Two videos with two and three sightings, and four people in photos."""
    with Gallery.create(tmp_path_factory.mktemp("gallery") / "g", SPACE) as opened:
        for source, who, sha256 in (("/a.mp4", (1, 2), "5" * 64), ("/b.mp4", (1, 3, 4), "6" * 64)):
            entries, sightings = followed(source, who, sha256=sha256)
            opened.add([replace(each, thumbnails=[JPEG] * len(who)) for each in entries], sightings)
        for number in range(4):
            photo = entry(0, source=f"/{number}.jpg", sha256=f"{number}" * 64, time=None)
            opened.add([replace(photo, people=people_with(one(number)), thumbnails=[JPEG])])
        yield opened


def everybody() -> np.ndarray:
    return np.concatenate([one(seed) for seed in (1, 2, 1, 3, 4, 0, 1, 2, 3)])


def test_one_probe_is_a_search(gallery) -> None:
    found = ask(gallery, Question(one(1), NOBODY), top=99)
    assert len(found) == 9
    expected = sorted((everybody() @ one(1)[0]).tolist(), reverse=True)
    assert [each.likeness for each in found] == pytest.approx(expected, abs=1e-5)
    assert {type(each) for each in found} == {Sighting, Person}


@pytest.mark.parametrize("negatives", [NOBODY, one(4), np.concatenate([one(4), one(2)])], ids=len)
@pytest.mark.parametrize("again", [False, True])
def test_several_are_combined_over_everybody(gallery, negatives, again) -> None:
    question = Question(np.concatenate([one(1), one(3)]), negatives)
    found = ask(gallery, question, top=99, again=again)
    assert len(found) == 9
    expected = sorted(combine(question.probes, negatives, everybody()).tolist(), reverse=True)
    likeness = [each.likeness for each in found]
    assert sorted(likeness, reverse=True) == pytest.approx(expected, abs=1e-5)
    assert again or likeness == sorted(likeness, reverse=True)
    assert [each.id for each in ask(gallery, question, top=2, again=again)] == [each.id for each in found[:2]]


def test_frame_by_frame_and_under_conditions(gallery) -> None:
    question = Question(np.concatenate([one(1), one(3)]), NOBODY)
    rows = ask(gallery, question, top=99, frames=True)
    assert {type(each) for each in rows} == {Person}
    assert len(rows) == 3 * 2 + 3 * 3 + 4
    assert compared(gallery, frames=True) == (19, 0)
    assert compared(gallery) == (4, 5)
    video = parse_filter("source=/b.mp4")
    assert {each.source for each in ask(gallery, question, top=99, where=video)} == {"/b.mp4"}
    assert compared(gallery, video) == (0, 3)
    assert ask(gallery, question, where=parse_filter("source=/c.mp4")) == []


def test_the_photos_of_the_question_are_left_out(gallery) -> None:
    photo = Probe(Path("1.jpg"), np.zeros(4, np.float32), one(1)[0], np.zeros((4, 2, 3), np.uint8), "1" * 64)
    other = replace(photo, source=Path("b.mp4"), embedding=one(3)[0], sha256="6" * 64)
    found = ask(gallery, Question.of([photo], [other]), top=99)
    assert {each.source for each in found} == {"/a.mp4", "/0.jpg", "/2.jpg", "/3.jpg"}
    assert len(ask(gallery, Question.of([photo], [other], include_own=True), top=99)) == 9
    question = Question.of(photo)
    assert Question.of(question) is question
    with pytest.raises(QueryError, match="at least one photo of the person"):
        Question.of([], [other])


def test_matches_have_pictures_and_say_from_when_to_when(gallery) -> None:
    found = ask(gallery, Question(one(1), NOBODY), top=3)
    matches = matches_of(gallery, found)
    assert [match.source for match in matches] == [each.source for each in found]
    for match, each in zip(matches, found, strict=True):
        assert match.likeness == each.likeness
        assert match.crop.shape == (40, 20, 3)
        if isinstance(each, Sighting):
            assert (match.stay.id, match.stay.frames, match.time) == (each.id, 3, "0:00:00.0–0:00:02.0")
            assert len(match.more) == len(each.best) - 1
            assert match.to_dict()["sighting"]["end"] == each.end
        else:
            assert (match.stay, match.more, match.time) == (None, (), "")
            assert "sighting" not in match.to_dict()


def test_a_sighting_that_was_forgotten_meanwhile_costs_itself(tmp_path) -> None:
    with Gallery.create(tmp_path / "g", SPACE) as opened:
        opened.add(*followed("/a.mp4"))
        found = ask(opened, Question(one(1), NOBODY))
        opened.forget("/a.mp4")
        assert matches_of(opened, found) == []


def test_somebody_forgotten_while_it_is_asked_costs_themselves(gallery, monkeypatch) -> None:
    forgotten = next(each.id for each in ask(gallery, Question(one(1), NOBODY), top=99) if isinstance(each, Person))
    read = asking.embeddings_by_id

    def without_one(opened, ids):
        return {name: vector for name, vector in read(opened, ids).items() if name != forgotten}

    monkeypatch.setattr(asking, "embeddings_by_id", without_one)
    found = ask(gallery, Question(np.concatenate([one(1), one(3)]), NOBODY), top=99)
    assert len(found) == 8
    assert forgotten not in {each.id for each in found}
    monkeypatch.setattr(asking, "embeddings_by_id", lambda opened, ids: {})
    photos = parse_filter("source~jpg")
    assert ask(gallery, Question(np.concatenate([one(1), one(3)]), NOBODY), where=photos) == []


def test_a_gallery_without_sightings_gives_its_frames(gallery) -> None:
    people = [person for person, _ in gallery.rows()]
    assert compared(gallery, frames=True).people == len(people)
