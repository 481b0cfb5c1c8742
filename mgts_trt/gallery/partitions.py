"""A folder of galleries, one for each day: a query reads the days it asks for, and a day that is over goes as a whole.

Each is an ordinary gallery in a folder of its own, `2026-11-29` for one, with its locks, index, checksums and journal:
every command works on it. Days are UTC's. What has no time of a clock, photos and videos, is in one called `undated`.
With many cameras a day may have several, each of a group of cameras: `2026-11-29.03`.
"""

import datetime as dt
import json
import secrets
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from mgts_trt._typing import Self
from mgts_trt.errors import GalleryError
from mgts_trt.gallery import forgetting
from mgts_trt.gallery.asking import ask, compared, matches_of
from mgts_trt.gallery.day_part import ABOUT, UNDATED, Part, day_of, is_partitioned, part_of
from mgts_trt.gallery.disk.place import KEEPING, Place
from mgts_trt.gallery.disk.sweep import sync
from mgts_trt.gallery.entry import Entry
from mgts_trt.gallery.filters import Condition, Filter
from mgts_trt.gallery.lance import explained, is_local, locate
from mgts_trt.gallery.match import Match
from mgts_trt.gallery.privacy import keep_gallery_private
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.ranking import Ranking
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.source_names import find_among, names_of
from mgts_trt.gallery.space import Space
from mgts_trt.gallery.store import Gallery, is_gallery
from mgts_trt.gallery.tables import Person
from mgts_trt.gallery.verifying import Verification, verify
from mgts_trt.machine.files import replace_file
from mgts_trt.urls import without_login

T = TypeVar("T")

_GONE = "_gone"
"""Folder of days that are being removed: what is in it is no gallery any more, whoever comes next removes it."""

_THREADS = 8
_MOST_GROUPS = 1000


class PartitionedGallery:
    """A folder of galleries by day, and by group of cameras.

    Example:
        ```python
        with PartitionedGallery.create("site/", Space.of(search.bundle, search.mode)) as days:
            days.add(entries, sightings)
            ranking = days.rank(probe, since=date(2026, 11, 28), camera="entrance")
            days.erase_before(date(2026, 10, 30))
        ```

    Attributes:
        url: The folder, an absolute path.
        space: Of the embeddings of all.
        groups: Of cameras, in each day.
    """

    def __init__(self, url: str, space: Space, groups: int, key: bytes | None = None) -> None:
        self.url, self.space, self.groups, self._key = url, space, groups, key
        self.place = Place(url)
        self._open: dict[str, Gallery] = {}
        self._remove_gone()

    @classmethod
    def create(cls, url: str | Path, space: Space, *, groups: int = 1, key: bytes | None = None) -> Self:
        """Make one, or open it if it is there.

        Args:
            url: A folder; buckets rename no folders, and so cannot let go of a day at once.
            space: Of the embeddings to come.
            groups: Into how many galleries a day's cameras are divided, by their names; 1 … 1000. Of one that is there,
                what it was made with counts.
            key: See `Gallery.create`.

        Raises:
            GalleryError: It cannot be made there, something else is there, or it is of another space.
        """
        location = locate(url)
        if not is_local(location):
            raise GalleryError(f"Galleries by day are kept in a folder, and {without_login(location)} is none.")
        if is_gallery(location):
            raise GalleryError(f"{location} is one gallery, not a folder of them by day. Name another folder.")
        if not 1 <= groups <= _MOST_GROUPS:
            raise GalleryError(f"{groups} groups of cameras were asked for; expected 1 … {_MOST_GROUPS}.")
        if not is_partitioned(location):
            with explained("make", location):
                keep_gallery_private(Path(location))
                told = {"groups": groups, "space": space.model_dump(mode="json", exclude_none=True)}
                with replace_file(Path(location) / ABOUT, sync=True) as temporary:
                    temporary.write_text(json.dumps(told), encoding="utf-8")
        opened = cls.open(location, key)
        space.require_same(opened.space, what=f"The gallery {location}")
        return opened

    @classmethod
    def open(cls, url: str | Path, key: bytes | None = None) -> Self:
        """Open one that is there, and finish removing the days that another process was removing.

        Raises:
            GalleryError: There is none, or the file that tells of it is damaged.
        """
        location = locate(url)
        if not is_partitioned(location):
            raise GalleryError(f"There are no galleries by day in {location}. Index into it with --partition day.")
        path = Path(location) / ABOUT
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            space, groups = Space.model_validate(told["space"]), int(told["groups"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise GalleryError(f"The file {path} tells of the galleries by day, and is damaged: {error}.") from error
        return cls(location, space, groups, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files. What is asked afterwards opens them again."""
        for gallery in self._open.values():
            gallery.close()
        self._open.clear()

    def parts(
        self, since: dt.date | None = None, until: dt.date | None = None, camera: str | None = None
    ) -> list[Part]:
        """The galleries that are there, the newest day first, and `undated` last.

        Args:
            since: The first day; with it or `until`, `undated` is left out.
            until: The last day.
            camera: That in which this one is, of each day.
        """
        found = []
        for folder in Path(self.url).iterdir():
            if (part := part_of(folder.name)) is None or not is_gallery(folder):
                continue
            if camera is not None and part.group != self._group(camera):
                continue
            if part.day is None:
                if since or until:
                    continue
            elif (since and part.day < since) or (until and part.day > until):
                continue
            found.append(part)
        return sorted(found, key=lambda part: (part.day or dt.date.min, part.name), reverse=True)

    def gallery(self, part: Part) -> Gallery:
        """One of the galleries, opened; it stays open until this is closed.

        Raises:
            GalleryError: See `Gallery.open`.
        """
        if part.name not in self._open or not is_gallery(Path(self.url) / part.name):
            self._open[part.name] = Gallery.open(Path(self.url) / part.name, self.space, self._key)
        return self._open[part.name]

    def make(self, day: dt.date | None, camera: str | None = None) -> Gallery:
        """The gallery of a day, and of a camera's group; made if it is not there.

        What was forgotten stays out of it as well.

        Raises:
            GalleryError: See `Gallery.create`.
        """
        name = self._name(day, camera)
        folder = Path(self.url) / name
        if not is_gallery(folder):
            forgotten = Path(self.url) / KEEPING / "forgotten"
            with explained("make", str(folder)), self.place.guard.shared():
                keep_gallery_private(folder)
                if forgotten.exists() and not (kept := folder / KEEPING / "forgotten").exists():
                    kept.parent.mkdir(mode=0o700, exist_ok=True)
                    shutil.copy2(forgotten, kept)
                self._open[name] = Gallery.create(folder, self.space, self._key)
        return self.gallery(Part(day, 0, name))

    def add(self, entries: Sequence[Entry], sightings: Sequence[Sighting] = ()) -> None:
        """Store frames and people, each in the gallery of its day; see `Gallery.add`.

        A sighting is stored in each day that it touches, so that who was there at midnight is found in both.

        Raises:
            GalleryError: See `Gallery.add`. Days before the one that failed are stored; the same call again stores the
                rest.
        """
        with explained("write to", self.url), self.place.guard.shared():
            entries = self.place.tombstones.let_in(entries, lambda each: (each.frame.source, each.frame.sha256))
            sightings = self.place.tombstones.let_in(sightings, lambda each: (each.source, each.sha256))
        split: dict[tuple[dt.date | None, int], tuple[list[Entry], list[Sighting], str | None]] = {}

        def into(day: dt.date | None, camera: str | None) -> tuple[list[Entry], list[Sighting], str | None]:
            return split.setdefault((day, self._group(camera)), ([], [], camera))

        for entry in entries:
            into(day_of(entry.frame.time), entry.frame.camera)[0].append(entry)
        for each in sightings:
            first, last = day_of(each.start), day_of(each.end)
            for day in dict.fromkeys((first, last)):
                into(day, each.camera)[1].append(each)
        for (day, _), (some, theirs, camera) in sorted(split.items(), key=lambda item: str(item[0])):
            self.make(day, camera).add(some, theirs)

    def rank(
        self,
        question: Question,
        *,
        since: dt.date | None = None,
        until: dt.date | None = None,
        camera: str | None = None,
        top: int = 10,
        where: Filter | None = None,
        exact: bool = False,
        frames: bool = False,
        least: float | None = None,
        hide_others: bool = False,
        pictures: bool = True,
    ) -> Ranking:
        """Whom a question means, in some days and of a camera; days are searched side by side, and the best kept.

        Args:
            question: Whom to find.
            since: See `parts`.
            until: See `parts`.
            camera: See `parts`.
            top: See `rank_gallery`, as for the rest.
            where: Among those it holds for alone.
            exact: Without the galleries' indices.
            frames: People frame by frame instead of sightings.
            least: Give no match that is less alike.
            hide_others: Cover everybody else in crops.
            pictures: Give the matches crops.

        Raises:
            GalleryError: See `Gallery.search`.
        """
        own = [Condition("camera", "=", camera)] if camera is not None else []
        conditions = (*(where.conditions if where else ()), *own)
        chosen = Filter(conditions) if conditions else None
        galleries = [self.gallery(part) for part in self.parts(since, until, camera)]

        def look(gallery: Gallery) -> tuple[list[Sighting | Person], int, int]:
            found = ask(gallery, question, top=top, where=chosen, exact=exact, frames=frames)
            return found, *compared(gallery, chosen, frames=frames)

        looked = _in_threads(look, galleries)
        best = [
            (each, gallery)
            for gallery, (found, _, _) in zip(galleries, looked, strict=True)
            for each in found
            if least is None or (each.likeness or 0.0) >= least
        ]
        best.sort(key=lambda pair: -(pair[0].likeness or 0.0))
        kept = set(list(dict.fromkeys(each.id for each, _ in best))[:top])
        matches: dict[str, Match] = {}
        for gallery in galleries:
            theirs = [each for each, where_found in best if where_found is gallery and each.id in kept]
            if theirs:
                shown = matches_of(gallery, theirs, hide_others=hide_others, pictures=pictures)
                for name, match in _named(theirs, shown):
                    # Whoever was there at midnight is in two days; one of them has the pictures.
                    if name not in matches or (matches[name].crop is None and match.crop is not None):
                        matches[name] = match
        people, sightings = sum(told[1] for told in looked), sum(told[2] for told in looked)
        ordered = [matches[name] for name in dict.fromkeys(each.id for each, _ in best) if name in matches]
        return Ranking(ordered, people, [], sightings=sightings)

    def erase_before(self, day: dt.date) -> tuple[list[str], int]:
        """Erase the days before one, bytes included; returns the names of their galleries, and how many people it were.

        A day is renamed first, which takes it from every search at once and tells whoever comes next to remove its
        files if this process is killed. What it takes does not depend on the days that stay.

        Raises:
            GalleryError: One cannot be removed.
        """
        gone, people = [], 0
        for part in self.parts(until=day - dt.timedelta(days=1)):
            folder = Path(self.url) / part.name
            with explained("erase a day of", self.url):
                gallery = self.gallery(part)
                people += gallery.count()
                with gallery.place.guard.alone():  # whoever writes there ends first
                    (Path(self.url) / _GONE).mkdir(mode=0o700, exist_ok=True)
                    folder.rename(Path(self.url) / _GONE / f"{part.name}-{secrets.token_hex(4)}")
                    sync(Path(self.url))
                gallery.place.owes = False
                self._open.pop(part.name).close()
                gone.append(part.name)
                self._remove_gone()
        return gone, people

    def forget(self, source: str) -> int:
        """Erase all that a source brought on any day, and keep it out of all days to come; returns how many people.

        Raises:
            GalleryError: See `Gallery.forget`.
        """
        held = [self.gallery(part) for part in self.parts()]
        contents = set[str]().union(*(forgetting.contents_of(gallery, source) for gallery in held))
        # Here first: a day that is made from now on keeps it out, whatever happens to this process.
        self._keep_out(self.place, source, contents)
        galleries = [self.gallery(part) for part in self.parts()]
        for gallery in galleries:
            self._keep_out(gallery.place, source, contents)
        return sum(gallery.forget(source) for gallery in galleries)

    def recall(self, source: str) -> int:
        """Let a source in that was forgotten, on all days; returns in how many places it was kept out.

        Raises:
            GalleryError: See `forgetting.recall`.
        """
        galleries = [self.gallery(part) for part in self.parts()]
        return forgetting.recall(self, source) + sum(forgetting.recall(each, source) for each in galleries)

    def find_source(self, text: str) -> str:
        """The name of the one source, of any day, that a text stands for; see `source_names.find_source`.

        Raises:
            GalleryError: There is none such, or there are several.
        """
        return find_among(set().union(*(names_of(self.gallery(part)) for part in self.parts())), text, self.url)

    def _keep_out(self, place: Place, source: str, contents: set[str]) -> None:
        with explained("write to", self.url), place.guard.alone():
            if stone := place.tombstones.make(without_login(source), contents):
                place.tombstones.add(stone)

    def optimise(self) -> None:
        """See `Gallery.optimise`; of a day that is over, calling it once is enough."""
        for part in self.parts():
            self.gallery(part).optimise()

    def verify(self) -> dict[str, Verification]:
        """What `verify` finds in each, by name."""
        return {part.name: verify(Path(self.url) / part.name) for part in self.parts()}

    def _group(self, camera: str | None) -> int:
        return zlib.crc32((camera or "").encode()) % self.groups

    def _name(self, day: dt.date | None, camera: str | None) -> str:
        name = UNDATED if day is None else day.isoformat()
        return name if self.groups == 1 else f"{name}.{self._group(camera):02}"

    def _remove_gone(self) -> None:
        gone = Path(self.url) / _GONE
        if gone.exists():
            with explained("erase a day of", self.url), suppress(FileNotFoundError):  # another process removes it, too
                shutil.rmtree(gone)
                sync(Path(self.url))


def _named(found: Sequence[Sighting | Person], shown: Sequence[Match]) -> Iterator[tuple[str, Match]]:
    """Id → match; sightings that were forgotten meanwhile have none."""
    left = deque(shown)
    for each in found:
        if left and (isinstance(each, Person) or (left[0].stay is not None and left[0].stay.id == each.id)):
            yield each.id, left.popleft()


def _in_threads(call: Callable[[Gallery], T], galleries: Sequence[Gallery]) -> list[T]:
    if len(galleries) < 2:
        return [call(gallery) for gallery in galleries]
    with ThreadPoolExecutor(min(_THREADS, len(galleries))) as pool:
        return list(pool.map(call, galleries))
