"""The gallery: people of many pictures, stored in LanceDB, searched by similarity."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Floats, Self
from mgts_trt.access.master_key import master_key
from mgts_trt.choices import Mode
from mgts_trt.errors import GalleryError, MgtsError
from mgts_trt.gallery import erasure, forgetting, picture_key, vector_index
from mgts_trt.gallery.bucket import TableNotes
from mgts_trt.gallery.day_part import is_partitioned, no_gallery
from mgts_trt.gallery.disk.checksums import Checksums
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.encryption import PLAIN, Encryption
from mgts_trt.gallery.entry import Entry, check_embeddings, check_entry
from mgts_trt.gallery.filters import Filter
from mgts_trt.gallery.lance import SCHEMES, connect, explained, give_back_memory, is_local, locate, merge_by, retried
from mgts_trt.gallery.making import make
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.space import Space
from mgts_trt.gallery.summary import Summary, summarise
from mgts_trt.gallery.tables import (
    ABOUT,
    ENCRYPTED,
    ENDED,
    FRAMES,
    PEOPLE,
    SIGHTING,
    SIGHTINGS,
    Person,
    embeddings_of,
    end_row,
    frame_rows,
    people_of,
    people_rows,
    read_format,
    read_space,
    sighting_rows,
)
from mgts_trt.gallery.writing import finish, logger, renew_checksums, warn, writing
from mgts_trt.machine.files import place_kind
from mgts_trt.urls import without_login


class Gallery:
    """People of many pictures, to be searched by embedding.

    Example:
        ```python
        with Gallery.create("gallery/", Space.of(search.bundle, search.mode)) as gallery:
            gallery.add([entry_of(image, Frame("/pictures/1.jpg"), search(image))])
            for person in gallery.search(probe.embedding, top=10):
                print(person.likeness, person.source, person.box)
        ```

    Threads and processes may read and write at once. A call sees all that was added before it.

    Attributes:
        url: Where it is: an absolute path, or a URL.
        space: Of its embeddings.
        format: 3, or less where there are no sightings: `mgts-trt gallery upgrade` makes them; 4 with encryption.
        encryption: Of its pictures; false where there is none.
        place, checksums: What keeps its files in order, for the files of this room.
    """

    def __init__(
        self,
        url: str,
        space: Space,
        people: Any,
        frames: Any,
        sightings: Any | None = None,
        encryption: Encryption = PLAIN,
    ) -> None:
        self.url, self.space, self.encryption = url, space, encryption
        self.format = read_format(people.schema)
        self._tables: tuple[Any, Any] | None = (people, frames)
        self._sightings = sightings
        self.place = Place(url, None if is_local(url) else TableNotes(url))
        self.checksums = Checksums(self.place)

    @classmethod
    def create(cls, url: str | Path, space: Space, key: bytes | None = None) -> Self:
        """Make a gallery, or open it if it is there.

        Args:
            url: A folder, or a URL that LanceDB understands: `file://`, `s3://`, `gs://`, `az://`, `db://`.
            space: Of the embeddings to come.
            key: 32 bytes under which pictures are encrypted; by default what the environment names, if it names any.

        Raises:
            GalleryError: See `open`; it cannot be made there; or it is there, and not encrypted under the key.
            AccessError: The environment names a key that cannot be read, or is none.
        """
        location, key = locate(url), key or master_key()
        if not is_gallery(location):
            if is_partitioned(location):
                raise no_gallery(location)
            make(location, space, key)
        opened = cls.open(location, space, key)
        if key is not None:
            opened.encryption.require_encrypted(location)
        return opened

    @classmethod
    def open(cls, url: str | Path, space: Space | None = None, key: bytes | None = None) -> Self:
        """Open a gallery that is there.

        Args:
            url: See `create`.
            space: Of the embeddings to be added or searched for; by default, whichever the gallery has.
            key: See `create`. It is asked for when a picture is read or written; nothing else needs one.

        Raises:
            GalleryError: There is none, it is of another space or of a newer format, or LanceDB is not installed.
        """
        location = locate(url)
        if is_local(location) and not is_gallery(location):
            raise no_gallery(location)  # connecting would make the folder
        database = connect(location)
        with explained("open", location):
            try:
                people, frames = database.open_table(PEOPLE), database.open_table(FRAMES)
                sightings = database.open_table(SIGHTINGS) if SIGHTING in people.schema.names else None
            except (ValueError, RuntimeError) as error:
                if "not found" in str(error).lower():
                    raise no_gallery(location) from error
                raise
            held = read_space(location, people.schema.metadata)
        if space is not None:
            held.require_same(space, what=f"The gallery {location}")
        is_encrypted = read_format(people.schema) >= ENCRYPTED
        read_key = partial(picture_key.read, database, location)
        encryption = Encryption(location, read_key, key) if is_encrypted else PLAIN
        opened = cls(location, held, people, frames, sightings, encryption)
        warn(opened)
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and caches. Closing twice is harmless; a closed gallery raises `GalleryError`."""
        if self._tables and self.place.owes:
            try:
                finish(self)
            except GalleryError as error:
                logger.warning("%s What is left is erased when the gallery is written to next.", error)
        self._tables = None

    def add(self, entries: Sequence[Entry], sightings: Sequence[Sighting] = ()) -> None:
        """Store frames and the people in them.

        A frame is done once all its people are stored: if this is cut off, the same call again stores what is missing
        and nothing twice. Frames done before are left as they are, and those of forgotten sources are left out.

        Args:
            entries: Any number; they are written in one commit of people and one of frames, each whole or not at all.
            sightings: Which the entries begin or go on with, as they are now; those of the same id are replaced. A
                gallery without sightings leaves them out.

        Raises:
            GalleryError: An embedding is of another length, not finite or zero, thumbnails or sightings do not pair up
                with people, there is no key for pictures, or it cannot be written. Then no frame of the call is done.
        """
        for entry in entries:
            check_entry(entry, self.url, self.space)
        with writing(self):
            entries = self.place.tombstones.let_in(entries, lambda each: (each.frame.source, each.frame.sha256))
            by_key = {entry.frame.key: entry for entry in entries}
            done = self.done(by_key)
            pending = {key: entry for key, entry in by_key.items() if key not in done}
            if not pending:
                self.store_sightings(sightings)
                return
            left_out = self.place.tombstones.cover_sighting
            rows = people_rows(pending, self.space, self.encryption, self._sightings is not None, left_out)
            of_pending = _is_in("frame", pending)
            left = retried(lambda: self._people.count_rows(of_pending.to_sql()))
            if left:  # by a call that was cut off: people found again are replaced, the others removed
                merge = merge_by("id", self._people).when_not_matched_by_source_delete(of_pending)
                reached("replace people")
                retried(lambda: merge.execute(rows))
            elif rows.num_rows:
                reached("add people")
                retried(lambda: merge_by("id", self._people).execute(rows))
            # Rows first: from them, sightings can be made again.
            self.store_sightings(sightings)
            reached("add frames")
            self.place.require_whole()  # where people were cut short, their frame would be done without them
            retried(lambda: merge_by("key", self._frames).execute(frame_rows(pending)))
        forgetting.withdraw(self, [(entry.frame.source, entry.frame.sha256) for entry in entries])

    def store_sightings(self, sightings: Sequence[Sighting]) -> None:
        """Store sightings, in place of those with the same ids; a gallery that has none leaves them out."""
        if not sightings or self._sightings is None:
            return
        with writing(self):
            if sightings := self.place.tombstones.let_in(sightings, lambda each: (each.source, each.sha256, each.id)):
                rows, table = sighting_rows(sightings, self.space), self._sightings
                reached("add sightings")
                retried(lambda: merge_by("id", table).execute(rows))
        forgetting.withdraw(self, [(each.source, each.sha256) for each in sightings])

    def done(self, keys: Collection[str]) -> set[str]:
        """Of these frame keys, those whose people are all stored."""
        if not keys:
            return set()
        among = _is_in("key", keys)
        with explained("read", self.url):
            query = self._frames.search().where(among).select(["key"]).limit(len(keys))
            return set(retried(query.to_arrow)["key"].to_pylist())

    def frames_done(self, source: str, sha256: str) -> tuple[set[int], int | None]:
        """Of a video with this content: the frames that are done, and how many it has, None until `end_video` told."""
        among = _is_in("source", [without_login(source)]) & _is_in("sha256", [sha256])
        with explained("read", self.url):
            rows = retried(self._frames.search().where(among).select(["number", "people"]).to_arrow)
        numbers, people = rows["number"].to_pylist(), rows["people"].to_pylist()
        ends = [number for number, count in zip(numbers, people, strict=True) if count == ENDED]
        done = {number for number, count in zip(numbers, people, strict=True) if count >= 0}
        return done, max(ends, default=None)

    def end_video(self, source: str, sha256: str, frames: int) -> None:
        """Remember how many frames a video with this content has, now that it has been decoded to its end."""
        with writing(self):
            if not self.place.tombstones.cover(without_login(source), sha256):
                reached("add the end of the video")
                retried(lambda: merge_by("key", self._frames).execute(end_row(source, sha256, frames)))
        forgetting.withdraw(self, [(without_login(source), sha256)])

    def search(
        self, embedding: Floats, *, top: int = 10, where: Filter | None = None, exact: bool = False
    ) -> list[Person]:
        """The people most similar to one, the most similar first.

        Args:
            embedding: float32 [d], of the gallery's space.
            top: How many at most.
            where: Search among those it holds for; they are picked before the most similar are.
            exact: Compare with everybody, even where there is an index.

        Raises:
            GalleryError: The embedding does not fit, `top` is below 1, or the gallery cannot be read.
        """
        probe = self.checked_probe(embedding, top)
        condition = where.expression() if where and where.conditions else None
        with explained("search", self.url):
            rows, likeness = vector_index.most_similar(
                self._people,
                probe,
                top=top,
                columns=[*ABOUT, "embedding"],
                condition=condition,
                selective=where is not None and where.selective,
                exact=exact,
            )
        return people_of(rows, self.encryption, likeness)

    def checked_probe(self, embedding: Floats, top: int) -> Floats:
        """A probe as float32 [d]; raises `GalleryError` as `search` does."""
        probe = np.asarray(embedding, np.float32)
        check_embeddings(probe[None], "The probe's embedding", self.url, self.space)
        if top < 1:
            raise GalleryError(f"The {top} most similar people were asked for; expected at least 1.")
        return probe

    def person(self, person_id: str) -> Person | None:
        """The person with an id, or None."""
        with explained("read", self.url):
            query = self._people.search().where(_is_in("id", [person_id])).select(list(ABOUT)).limit(1)
            return next(iter(people_of(retried(query.to_arrow), self.encryption)), None)

    def rows(self) -> Iterator[tuple[Person, Floats]]:
        """Everybody with their embedding, float32 [d], in no particular order."""
        with explained("read", self.url):
            import pyarrow as pa

            for batch in self._people.search().select([*ABOUT, "embedding"]).to_batches(1024):
                rows = pa.Table.from_batches([batch])
                yield from zip(people_of(rows, self.encryption), embeddings_of(rows), strict=True)

    def forget(self, source: str) -> int:
        """Erase all that a source brought, and return how many people that were.

        The files that held it are written anew without it, and the gallery's older versions are removed. Cut off, it is
        finished by whoever writes to the gallery next: see `mgts_trt.gallery.erasure`. It stays out: see `forgetting`.
        """
        if erased := forgetting.forget(self, source):
            self.optimise()
        return erased.people

    def remove_changed(self, current: Mapping[str, str]) -> int:
        """Erase what sources brought when their files had another content, and return how many people that were.

        They are gone at once, and their bytes when the gallery is optimised or closed: see `erasure.erase`.

        Args:
            current: Source → SHA-256 of its file as it is now.
        """
        if not current:
            return 0
        with explained("read", self.url):
            old = erasure.of_changed(self, current)
        return erasure.erase(self, old, "changed", later=True).people if old else 0

    def optimise(self) -> None:
        """Gather small files into large ones, and make the indices or bring them up to date.

        Worth calling after much was added. What was added since is found, too, only slower.
        """
        finish(self)
        forgetting.withdraw_all(self)
        with writing(self, "optimise"):
            reached("optimise")
            retried(lambda: vector_index.optimise(*self.tables, self._sightings))
        renew_checksums(self)
        give_back_memory()  # a process that indexes for days would keep what each merge of files took

    def count(self, where: Filter | None = None) -> int:
        """How many people there are, or it holds for; quicker than the whole summary."""
        condition = where.expression().to_sql() if where and where.conditions else None
        with explained("read", self.url):
            return int(retried(lambda: self._people.count_rows(condition)))

    def summary(self) -> Summary:
        """Counts, and bytes on disk."""
        with explained("read", self.url):
            return summarise(*self.tables, self._sightings, url=self.url, made_in=self.format)

    @property
    def _people(self) -> Any:
        return self.tables[0]

    @property
    def _frames(self) -> Any:
        return self.tables[1]

    @property
    def tables(self) -> tuple[Any, Any]:
        """LanceDB's tables `people` and `frames`, for the files of this room."""
        if self._tables is None:
            raise GalleryError(f"The gallery {self.url} was closed. Open it again.")
        return self._tables

    @property
    def sightings(self) -> Any | None:
        """LanceDB's table `sightings`, likewise; None where the gallery has none."""
        return self._sightings if self.tables else None


def is_gallery(url: str | Path) -> bool:
    """Whether there is a gallery at a path or URL; False where it cannot be looked at."""
    location = locate(url)
    if is_local(location):
        try:
            return place_kind(Path(location) / f"{PEOPLE}.lance") == "folder"
        except MgtsError:
            return False
    if location.partition("://")[0] not in SCHEMES:
        return False
    try:
        Gallery.open(location).close()
    except GalleryError:
        return False
    return True


def stored_mode(url: str | Path) -> Mode | None:
    """The mode of the gallery at a path or URL; None where there is none.

    Raises:
        GalleryError: See `Gallery.open`.
    """
    if not is_gallery(url):
        return None
    with Gallery.open(url) as there:
        return there.space.mode


def _is_in(column: str, values: Collection[str]) -> Any:
    from lancedb.expr import col

    return col(column).isin(sorted(values))
