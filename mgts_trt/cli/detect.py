"""Pictures in, JSON and annotated pictures out."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.pictures.image import read_image, write_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch


@dataclass(frozen=True)
class Detected:
    """What became of one picture: the people in it, or the error that kept it from being searched."""

    path: Path
    people: People | None
    error: MgtsError | None


def detect(
    search: PersonSearch,
    pictures: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    top: int | None = None,
    draw: bool = True,
    embeddings: bool = True,
    on_picture: Callable[[Path], None] = lambda _: None,
) -> Iterator[Detected]:
    """Search pictures one after the other; a broken one costs itself alone.

    Args:
        search: An open pipeline.
        pictures: From `list_pictures`.
        out: Folder for `NAME.json` and, with `draw`, `NAME.people.jpg`; made if it is not there.
        top: See `PersonSearch.__call__`.
        draw: Write annotated pictures.
        embeddings: Put embeddings into the JSON.
        on_picture: Called before each.

    Raises:
        MgtsError: The output cannot be written, or the backend fails.
    """
    for path, name in pictures:
        on_picture(path)
        try:
            image = read_image(path)
            people = search(image, top=top)
        except ImageError as error:
            yield Detected(path, None, error)
            continue
        target = out / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"file": str(path), **_entries(people, embeddings)}, indent=1)
            target.with_name(f"{name.name}.json").write_text(text + "\n", encoding="utf-8")
            if draw:
                write_image(target.with_name(f"{name.name}.people.jpg"), people.draw(image))
        except OSError as error:
            raise MgtsError(
                f"Cannot write to {target.parent}: {error.strerror}. Name another folder with --out."
            ) from error
        yield Detected(path, people, None)


def _entries(people: People, embeddings: bool) -> dict[str, object]:
    entries = people.to_dict()
    if not embeddings:
        rows = entries["people"]
        if isinstance(rows, list):
            for row in rows:
                del row["embedding"]
    return entries
