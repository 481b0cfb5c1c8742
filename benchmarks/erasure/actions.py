"""What is done to a gallery while it is stopped, and what is to be there once it was repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.erasure.made_up import SPACE, Film
from mgts_trt.gallery import Frame, Gallery
from mgts_trt.gallery.choosing import Choice, choose, forget_chosen
from mgts_trt.gallery.corrections import correct
from mgts_trt.gallery.forgetting import recall
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.retention import Policy, erase_sources, expire, set_policy, vanished

DAY = 86_400
POLICY = Policy(30 * DAY, {"the gate": 3 * DAY})
OTHER_CAMERA = "the back door"
PERSON = 1
"""Who of the people of a film is forgotten alone."""


class Films(NamedTuple):
    """Those of a run.

    Attributes:
        kept: Stays, whatever is done; it lies in the folder that is synchronised.
        gate: Of a camera with a policy of its own; it lies there, too, and is what a second writer forgets.
        forgotten: On which all is done. Its file has gone.
        replaced: The same, after the file had another content.
        beside: A second writer's.
        later: Of the writer that follows.
    """

    kept: Film
    gate: Film
    forgotten: Film
    replaced: Film
    beside: Film
    later: Film

    @classmethod
    def below(cls, folder: Path, now: float) -> "Films":
        """With names in a folder, and times before now by which the policy tells them apart by more than a day."""
        folder = folder / "films"
        forgotten = Film(f"{folder}/forgotten.mp4", "1f" * 32, "the north gate", now - 40 * DAY)
        return cls(
            Film(f"{folder}/kept.mp4", "3d" * 32, "the front door", now - 5 * DAY),
            Film(f"{folder}/at-the-gate.mp4", "4c" * 32, "the gate", now - 5 * DAY, 3),
            forgotten,
            forgotten._replace(sha256="2e" * 32),
            Film(f"{folder}/other-writer.mp4", "5b" * 32, "the lift", now - 5 * DAY, 4, False, False),
            Film(f"{folder}/later.jpg", "6a" * 32, "the yard", now - 5 * DAY, 1, False, False),
        )


class Action(NamedTuple):
    """Something that is done to a gallery.

    Attributes:
        begins_with: The films in the gallery before it; where `forgotten` is not among them, it may have been.
        was_forgotten: Whether it had been forgotten.
        do: It, with the folder of the gallery. Done twice, it has done the same.
        leaves: The films that are there at the end.
        secrets: What is in no file at the end.
        brings: Whether it brings people and no erasure is a part of it, so that half of them may be there meanwhile.
    """

    begins_with: Callable[[Films], tuple[Film, ...]]
    do: Callable[[Path, Films], None]
    leaves: Callable[[Films], tuple[Film, ...]]
    secrets: Callable[[Films], set[bytes]]
    was_forgotten: bool = False
    brings: bool = False


def fill(root: Path, films: Films, action: Action) -> None:
    """Make the gallery that an action begins with, with indices."""
    with Gallery.create(root, SPACE) as gallery:
        for film in action.begins_with(films):
            film.index_into(gallery)
        if action.was_forgotten:
            films.forgotten.index_into(gallery)
            gallery.forget(films.forgotten.source)
        gallery.optimise()


def all_secrets(film: Film) -> set[bytes]:
    """Of a film that is to be gone with its name and its camera."""
    return {*film.secrets(), film.source.encode(), film.camera.encode()}


def _forget(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        gallery.forget(films.forgotten.source)


def _forget_camera(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        if chosen := choose(gallery, Choice(camera=films.forgotten.camera)):
            forget_chosen(gallery, chosen)


def _forget_a_time(root: Path, films: Films) -> None:
    begin = films.forgotten.start
    with Gallery.open(root) as gallery:
        if chosen := choose(gallery, Choice(since=begin - DAY, until=begin + DAY)):
            forget_chosen(gallery, chosen)


def _forget_a_person(root: Path, films: Films) -> None:
    look = films.forgotten.sightings()[PERSON].embedding
    question = Question(look[None], np.zeros((0, 0), np.float32))
    with Gallery.open(root) as gallery:
        if chosen := choose(gallery, Choice(question, 0.99)):
            forget_chosen(gallery, chosen)


def _index(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        films.forgotten.index_into(gallery)
        gallery.optimise()


def _replace(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        gallery.remove_changed({films.forgotten.source: films.replaced.sha256, films.kept.source: films.kept.sha256})
        films.replaced.index_into(gallery)
        gallery.optimise()


def _recall(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        recall(gallery, films.forgotten.source)
    _index(root, films)


def _correct(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        correct(gallery, [Frame(films.forgotten.source, sha256=films.forgotten.sha256, camera=OTHER_CAMERA)])


def _expire(root: Path, films: Films) -> None:
    del films
    with Gallery.open(root) as gallery:
        set_policy(gallery, POLICY)
        expire(gallery)


def _sync(root: Path, films: Films) -> None:
    with Gallery.open(root) as gallery:
        gone, _ = vanished(gallery, [Path(films.kept.source).parent])
        erase_sources(gallery, [name for name in gone if name == films.forgotten.source], "sync")


def _all(films: Films) -> tuple[Film, ...]:
    return films.kept, films.gate, films.forgotten


def _streams(films: Films) -> tuple[Film, ...]:
    return films.kept, films.gate._replace(ends=False), films.forgotten._replace(ends=False)


def _others(films: Films) -> tuple[Film, ...]:
    return films.kept, films.gate


def _gone(films: Films) -> set[bytes]:
    return all_secrets(films.forgotten)


ACTIONS = {
    "forget": Action(_all, _forget, _others, _gone),
    "forget a camera": Action(_all, _forget_camera, _others, _gone),
    "forget a time": Action(_all, _forget_a_time, _others, _gone),
    "forget a person": Action(
        _all, _forget_a_person, lambda films: (*_others(films), films.forgotten._replace(without=(PERSON,))),
        lambda films: set(films.forgotten.secrets_of(PERSON)),
    ),
    "index": Action(_others, _index, _all, lambda films: set(), brings=True),
    "index what was replaced": Action(
        _all, _replace, lambda films: (*_others(films), films.replaced), lambda films: set(films.forgotten.secrets()),
        brings=True,
    ),
    "index --recall": Action(_others, _recall, _all, lambda films: set(), was_forgotten=True, brings=True),
    "correct the camera": Action(
        _all, _correct, lambda films: (*_others(films), films.forgotten._replace(camera=OTHER_CAMERA)),
        lambda films: {films.forgotten.camera.encode()},
        brings=True,
    ),
    "expire": Action(
        _streams, _expire, lambda films: (films.kept,), lambda films: _gone(films) | {*films.gate.secrets()}
    ),
    "sync": Action(_all, _sync, _others, _gone),
}  # fmt: skip
"""Name → action."""
