"""The three tables of a gallery, `people`, `frames` and `sightings`: their columns, and their rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.errors import GalleryError
from mgts_trt.gallery.encryption import PLAIN, Encryption
from mgts_trt.gallery.entry import Entry
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.space import Space
from mgts_trt.urls import without_login

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT, ENCRYPTED = 3, 4
"""The gallery formats this version writes: without encrypted pictures, and with. The latter is the newest it reads.

In format 1 a space told less; up to format 2 there were no sightings. A gallery that was upgraded to format 3 has the
column `SIGHTING`, and keeps the number it was made with. Whether pictures are encrypted is settled when it is made.
"""

PEOPLE, FRAMES, SIGHTINGS = "people", "frames", "sightings"
"""Names of the tables."""

SIGHTING = "sighting"
"""Column of `people`: the id of the sighting a row belongs to; null of people in photos."""

ENDED, TRACKED, CUT = -1, -2, -3
"""People that rows of `frames` tell that are no frames: see `end_row`, `tracked_row` and `_cut_row`."""

ABOUT = ("id", "source", "number", "time", "camera", "sha256", "box", "score", "thumbnail")
"""Columns of `people` that make a `Person`."""

_METADATA = b"mgts_trt.gallery"


@dataclass(frozen=True)
class Person:
    """Someone a gallery holds.

    Attributes:
        id: Of this person in this frame: letters, digits and a hyphen.
        likeness: Cosine of the embedding and the probe's, −1 … 1; None where nobody was searched for.
        source: The picture, video or stream; for this and the next four see `Frame`.
        number: Frame of a video from 0, 0 for a picture.
        time: Seconds, or None.
        camera: Its name, or None.
        sha256: Of the file.
        box: float32 [4], xyxy, pixels of the picture.
        score: The detector's, 0 … 1.
        stored: The picture as the gallery has it: a JPEG, or what `encryption` made of it; empty if not kept.
        encryption: The gallery's.
    """

    id: str
    likeness: float | None
    source: str
    number: int
    time: float | None
    camera: str | None
    sha256: str
    box: Floats
    score: float
    stored: bytes = field(repr=False)
    encryption: Encryption = field(default=PLAIN, repr=False, compare=False)

    @property
    def has_thumbnail(self) -> bool:
        """Whether a picture was kept; whoever has no key knows that, too."""
        return bool(self.stored)

    @property
    def thumbnail(self) -> bytes:
        """JPEG of the box's content, at most 192 × 192 pixels; empty if not kept.

        Raises:
            SealedError: It is encrypted, and there is no key, or not the gallery's.
            GalleryError: It was encrypted, and is damaged or another person's.
        """
        return self.encryption.decrypt(self.id, self.stored)


def people_schema(space: Space, encrypted: bool = False) -> "pa.Schema":
    """Of `people`; it carries the gallery's format and space, so that table and space appear in one step."""
    import pyarrow as pa

    told = {"format": ENCRYPTED if encrypted else FORMAT, "space": space.model_dump(mode="json", exclude_none=True)}
    return pa.schema(
        [
            key_field("id"),
            pa.field("frame", pa.string(), nullable=False),
            *_frame_columns(),
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), space.embedding), nullable=False),
            sighting_field(),
        ],
        metadata={_METADATA: json.dumps(told)},
    )


def sighting_field() -> "pa.Field":
    """The column of `people` that format 3 brought."""
    import pyarrow as pa

    return pa.field(SIGHTING, pa.string())


def key_field(name: str) -> "pa.Field":
    """A primary key: two writers that insert the same value conflict, and the later one merges again.

    Without it, LanceDB takes both rows.
    """
    import pyarrow as pa

    return pa.field(name, pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key:position": "1"})


def frames_schema() -> "pa.Schema":
    """Of `frames`: those whose people are all stored; and of videos, where they end and what has been tracked."""
    import pyarrow as pa

    return pa.schema([key_field("key"), *_frame_columns(), pa.field("people", pa.int32(), nullable=False)])


def sightings_schema(space: Space) -> "pa.Schema":
    """Of `sightings`."""
    import pyarrow as pa

    return pa.schema(
        [
            key_field("id"),
            *(field for field in _frame_columns() if field.name in ("source", "camera", "sha256")),
            pa.field("first_time", pa.float64()),
            pa.field("last_time", pa.float64()),
            pa.field("first_number", pa.int64(), nullable=False),
            pa.field("last_number", pa.int64(), nullable=False),
            pa.field("least_score", pa.float32(), nullable=False),
            pa.field("greatest_score", pa.float32(), nullable=False),
            pa.field("frames", pa.int64(), nullable=False),
            pa.field("path", pa.list_(pa.float32()), nullable=False),
            pa.field("best", pa.list_(pa.string()), nullable=False),
            pa.field("closed", pa.bool_(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), space.embedding), nullable=False),
        ]
    )


def read_space(location: str, metadata: Mapping[bytes, bytes] | None) -> Space:
    """The space that the metadata of `people` tells.

    Raises:
        GalleryError: There is none, or of a newer format.
    """
    try:
        data = json.loads((metadata or {})[_METADATA])
        if data["format"] > ENCRYPTED:
            raise GalleryError(
                f"The gallery {location} has format {data['format']}; this version of mgts-trt reads up to "
                f"{ENCRYPTED}. Upgrade mgts-trt, or index the pictures into a new gallery."
            )
        return Space.model_validate(data["space"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise GalleryError(
            f"{location} holds a table `{PEOPLE}` that mgts-trt did not write. Name another place for the gallery."
        ) from error


def read_format(people: "pa.Schema") -> int:
    """The format of the gallery that a table `people` belongs to; see `FORMAT`."""
    made_with = int(json.loads((people.metadata or {})[_METADATA])["format"])
    return max(made_with, 3) if SIGHTING in people.names else made_with


def people_rows(
    entries: Mapping[str, Entry],
    space: Space,
    encryption: Encryption,
    sightings: bool = True,
    left_out: Callable[[str | None], bool] = lambda _: False,
) -> "pa.Table":
    """The rows of `people` that entries, by frame key, bring.

    Args:
        entries: By frame key.
        space: Of their embeddings.
        encryption: Of their pictures.
        sightings: Whether the gallery has any.
        left_out: Of people of which sightings there are to be no rows.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in ("frame", *ABOUT, SIGHTING)}
    embeddings = [np.zeros((0, space.embedding), np.float32)]
    for key, entry in entries.items():
        frame, people = entry.frame, entry.people
        of_people: Sequence[str | None] = entry.sightings or [None] * len(people)
        kept = [i for i, sighting in enumerate(of_people) if not left_out(sighting)]
        embeddings.append(people.embeddings[kept])
        for i in kept:
            person = person_id(key, i)
            thumbnail = encryption.encrypt(person, entry.thumbnails[i]) if entry.thumbnails else b""
            sighting = of_people[i]
            seen = (person, frame.source, frame.number, frame.time, frame.camera, frame.sha256)
            values = (key, *seen, people.boxes[i].tolist(), float(people.scores[i]), thumbnail, sighting)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    flat = np.ascontiguousarray(np.concatenate(embeddings), np.float32).ravel()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), space.embedding)
    rows = pa.table({**columns, "embedding": vectors}, schema=people_schema(space))
    return rows if sightings else rows.drop_columns([SIGHTING])


def person_id(frame_key: str, row: int) -> str:
    """The id of the person at a row, from 0, of the frame with a key."""
    return f"{frame_key}-{row}"


def row_of(person: str) -> int:
    """The row that the id of a person tells."""
    return int(person.rpartition("-")[2])


def frame_rows(entries: Mapping[str, Entry]) -> "pa.Table":
    """The rows of `frames` of entries, by frame key."""
    import pyarrow as pa

    rows = [
        {
            "key": key,
            "source": entry.frame.source,
            "number": entry.frame.number,
            "time": entry.frame.time,
            "camera": entry.frame.camera,
            "sha256": entry.frame.sha256,
            "people": len(entry.people),
        }
        for key, entry in entries.items()
    ]
    rows += [_cut_row(entry.frame) for entry in entries.values() if entry.frame.cut]
    return pa.Table.from_pylist(rows, schema=frames_schema())


def _cut_row(frame: Frame) -> dict[str, Any]:
    """That a frame begins another scene of its video: sightings made anew from the rows end there again."""
    key = Frame(frame.source, CUT - frame.number, frame.sha256).key
    return {"key": key, "source": frame.source, "number": frame.number, "sha256": frame.sha256, "people": CUT}


def end_row(source: str, sha256: str, frames: int) -> "pa.Table":
    """The row of `frames` that tells how many frames a video has: it has the number after the last, and −1 people."""
    import pyarrow as pa

    frame = Frame(source, frames, sha256)
    row = {"key": frame.key, "source": frame.source, "number": frames, "sha256": sha256, "people": ENDED}
    return pa.Table.from_pylist([row], schema=frames_schema())


def tracked_row(source: str, sha256: str, frames: int) -> "pa.Table":
    """The row of `frames` that tells of how many frames of a video the sightings are, as its number."""
    import pyarrow as pa

    frame = Frame(source, TRACKED, sha256)
    row = {"key": frame.key, "source": frame.source, "number": frames, "sha256": sha256, "people": TRACKED}
    return pa.Table.from_pylist([row], schema=frames_schema())


def sighting_rows(sightings: Sequence[Sighting], space: Space) -> "pa.Table":
    """The rows of `sightings`."""
    import pyarrow as pa

    rows = [
        {
            "id": each.id,
            "source": each.source,
            "camera": each.camera,
            "sha256": each.sha256,
            "first_time": each.start,
            "last_time": each.end,
            "first_number": each.first,
            "last_number": each.last,
            "least_score": each.scores[0],
            "greatest_score": each.scores[1],
            "frames": each.frames,
            "path": each.path.ravel().tolist(),
            "best": list(each.best),
            "closed": each.closed,
            "embedding": each.embedding.tolist(),
        }
        for each in sightings
    ]
    return pa.Table.from_pylist(rows, schema=sightings_schema(space))


def sighting_ids(renamed: Sequence[tuple[str, str]]) -> "pa.Table":
    """Ids of rows of `people`, and of the sightings they belong to, to be merged into `people`."""
    import pyarrow as pa

    rows = [{"id": row, SIGHTING: sighting} for row, sighting in renamed]
    return pa.Table.from_pylist(rows, schema=pa.schema([key_field("id"), sighting_field()]))


def sightings_from(rows: "pa.Table", likeness: Floats | None = None) -> list[Sighting]:
    """Rows of `sightings`, with the cosines [N] of a search."""
    embeddings = embeddings_of(rows)
    return [
        Sighting(
            id=row["id"],
            likeness=None if likeness is None else float(np.clip(likeness[i], -1, 1)),
            source=without_login(row["source"]),
            camera=row["camera"],
            sha256=row["sha256"],
            start=row["first_time"],
            end=row["last_time"],
            first=row["first_number"],
            last=row["last_number"],
            frames=row["frames"],
            path=np.array(row["path"], np.float32).reshape(-1, 5),
            best=tuple(row["best"]),
            closed=row["closed"],
            embedding=embeddings[i],
            scores=(row["least_score"], row["greatest_score"]),
        )
        for i, row in enumerate(rows.drop_columns(["embedding"]).to_pylist())
    ]


def embeddings_of(rows: "pa.Table") -> Floats:
    """float32 [N, d]."""
    import pyarrow as pa

    column = rows["embedding"]
    flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks], pa.float32()).to_numpy()
    return np.asarray(flat, np.float32).reshape(len(rows), column.type.list_size)


def people_of(rows: "pa.Table", encryption: Encryption, likeness: Floats | None = None) -> list[Person]:
    """Rows of `people` of a gallery with this encryption, with the cosines [N] of a search."""
    return [
        Person(
            likeness=None if likeness is None else float(np.clip(likeness[i], -1, 1)),
            encryption=encryption,
            **{**row, "source": without_login(row["source"]), "box": np.array(row["box"], np.float32)},
        )
        for i, row in enumerate(rows.select(list(ABOUT)).rename_columns({"thumbnail": "stored"}).to_pylist())
    ]


def _frame_columns() -> list["pa.Field"]:
    import pyarrow as pa

    return [
        pa.field("source", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("time", pa.float64()),
        pa.field("camera", pa.string()),
        pa.field("sha256", pa.string(), nullable=False),
    ]
