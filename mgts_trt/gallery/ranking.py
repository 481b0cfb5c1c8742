"""The people of a gallery, or of a pile of scenes, ranked by similarity to a probe (Sec. 1, Fig. 7).

The probe's own photo is no match, as in the protocols of re-ID: its people are left out, wherever the photo lies, by
the digest of its file. `include_own` turns that off.
"""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mgts_trt._typing import Image
from mgts_trt.errors import ImageError, MgtsError, QueryError
from mgts_trt.gallery.asking import ask, compared, matches_of
from mgts_trt.gallery.bystanders import crop_alone
from mgts_trt.gallery.filters import Filter
from mgts_trt.gallery.match import Match
from mgts_trt.gallery.probe import Probe
from mgts_trt.gallery.question import Question
from mgts_trt.pictures.decoding import decode_picture
from mgts_trt.pictures.image import crop, read_file
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.stream import ReadAhead

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery


class Ranking(NamedTuple):
    """The outcome of a search."""

    matches: list[Match]
    """The most similar first."""
    people: int
    """How many were compared."""
    failures: list[MgtsError]
    """Of scenes that could not be read."""
    own: int = 0
    """How many scenes were left out because they are the probe's own photo."""
    damaged: Sequence[str] = ()
    """Sentences about scenes that are damaged, and were searched as far as they could be decoded."""
    sightings: int = 0
    """How many sightings were compared besides."""


def rank(
    search: PersonSearch,
    asked: "Probe | Sequence[Probe] | Question",
    scenes: Iterable[Path],
    *,
    top: int = 10,
    include_own: bool = False,
    least: float | None = None,
    hide_others: bool = False,
    on_scene: Callable[[Path], None] = lambda _: None,
) -> Ranking:
    """Everybody in the scenes compared with the probe; a scene that cannot be read costs itself alone.

    Scenes are read while others are searched, and as many searched together as the pipeline was opened for.

    Args:
        search: The pipeline that made the probe.
        asked: Whom to find.
        scenes: Photos.
        top: How many matches to keep, at least 1. Among equals the earlier goes first.
        include_own: Compare with the people of the probes' own photos, too; of a `Question`, it says itself.
        least: Keep no match that is less alike.
        hide_others: Cover everybody else in the matches' crops.
        on_scene: Called before each scene.

    Raises:
        QueryError: `top` is less than 1.
        BackendError: The backend fails.
    """
    if top < 1:
        raise QueryError(f"The {top} best matches were asked for; ask for at least 1.")
    question = Question.of(asked, include_own=include_own)
    best: list[tuple[float, int, Match]] = []
    count = 0
    read = _Scenes(scenes, question.photos, on_scene)
    for people in search.stream(read, errors="return"):
        path, image = read.flying.popleft()
        if isinstance(people, ImageError):
            read.failures.append(people)
            continue
        if isinstance(people, Exception):
            raise people
        for row, likeness in enumerate(question.likeness(people.embeddings).tolist()):
            count += 1
            if (least is not None and likeness < least) or (len(best) == top and likeness <= best[0][0]):
                continue
            box = people.boxes[row]
            shown = crop_alone(image, people, row) if hide_others else crop(image, box)
            match = Match(likeness, str(path), box, float(people.scores[row]), shown)
            (heapq.heappush if len(best) < top else heapq.heapreplace)(best, (likeness, -count, match))
    matches = [match for _, _, match in sorted(best, key=lambda item: item[:2], reverse=True)]
    return Ranking(matches, count, read.failures, read.own, read.damaged)


class _Scenes(ReadAhead):
    """Scenes that can be read, one after another; of the others it is noted why not.

    Attributes:
        flying: Scenes whose people are not known yet, in order.
        failures: Of scenes that could not be read.
        own: Scenes that are a probe's own photo.
        damaged: Sentences about damaged scenes.
    """

    def __init__(self, paths: Iterable[Path], own: Collection[str], on_scene: Callable[[Path], None]) -> None:
        self.flying: deque[tuple[Path, Image]] = deque()
        self.failures, self.own, self.damaged = list[MgtsError](), 0, list[str]()
        self._paths, self._photos, self._on_scene = iter(paths), own, on_scene
        self._next: tuple[Path, Image] | None = None

    def ready(self) -> bool:
        """Whether there is another one; it is read for that, as nobody but this thread does."""
        self._next = self._next or self._find()
        return self._next is not None

    def __next__(self) -> Image:
        scene, self._next = self._next or self._find(), None
        if scene is None:
            raise StopIteration
        self.flying.append(scene)
        return scene[1]

    def _find(self) -> tuple[Path, Image] | None:
        for path in self._paths:
            self._on_scene(path)
            try:
                data = read_file(path)
                if hashlib.sha256(data).hexdigest() in self._photos:
                    self.own += 1
                    continue
                image, damage = decode_picture(data, path)
            except ImageError as error:
                self.failures.append(error)
                continue
            self.damaged += [damage] if damage else []
            return path, image
        return None


def rank_gallery(
    gallery: "Gallery",
    asked: "Probe | Sequence[Probe] | Question",
    *,
    top: int = 10,
    where: Filter | None = None,
    exact: bool = False,
    include_own: bool = False,
    frames: bool = False,
    again: bool = False,
    least: float | None = None,
    hide_others: bool = False,
    pictures: bool = True,
) -> Ranking:
    """The sightings of a gallery, and the people in its photos, compared with the probe.

    Args:
        gallery: Of the space of the pipeline that made the probe.
        asked: Whom to find.
        top: How many matches to give, at least 1.
        where: Compare with those it holds for alone.
        exact: Compare with everybody, without the gallery's index.
        include_own: Compare with the people of the probes' own photos, too; of a `Question`, it says itself.
        frames: Compare with everybody in every frame, instead of with sightings.
        again: Rank the best again, by who is alike to whom.
        least: Give no match that is less alike.
        hide_others: Cover everybody else in the matches' crops.
        pictures: Give the matches crops, if the gallery has any.

    Raises:
        GalleryError: See `Gallery.search`.
        SealedError: See `matches_of`.
    """
    question = Question.of(asked, include_own=include_own)
    found = ask(gallery, question, top=top, where=where, exact=exact, frames=frames, again=again)
    if least is not None:
        found = [each for each in found if (each.likeness or 0.0) >= least]
    people, sightings = compared(gallery, where, frames=frames)
    matches = matches_of(gallery, found, hide_others=hide_others, pictures=pictures)
    return Ranking(matches, people, [], sightings=sightings)
