"""`mgts-trt detect`: pictures in, JSON and annotated pictures out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, warn
from mgts_trt.cli.options import BackendOption, BundleOption, PrecisionOption, ThreadsOption, TopOption
from mgts_trt.errors import ImageError, MgtsError

if TYPE_CHECKING:
    from mgts_trt.runtime.people import People
    from mgts_trt.runtime.pipeline import PersonSearch


@dataclass(frozen=True)
class Detected:
    """What became of one picture: the people in it, or the error that kept it from being searched."""

    path: Path
    people: "People | None"
    error: MgtsError | None


def search_pictures(
    search: "PersonSearch",
    pictures: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    top: int | None = None,
    draw: bool = True,
    embeddings: bool = True,
) -> Iterator[Detected]:
    """Search pictures one after the other; a broken one costs itself alone.

    Args:
        search: An open pipeline.
        pictures: From `list_pictures`.
        out: Folder for `NAME.json` and, with `draw`, `NAME.people.jpg`; made if it is not there.
        top: See `PersonSearch.__call__`.
        draw: Write annotated pictures.
        embeddings: Put embeddings into the JSON.

    Raises:
        MgtsError: The output cannot be written, or the backend fails.
    """
    from mgts_trt.pictures.image import read_image, write_image

    for path, name in pictures:
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


def _entries(people: "People", embeddings: bool) -> dict[str, object]:
    entries = people.to_dict()
    if not embeddings:
        rows = entries["people"]
        if isinstance(rows, list):
            for row in rows:
                del row["embedding"]
    return entries


def detect(
    sources: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    bundle: BundleOption = None,
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for JSON and annotated pictures.")] = Path(
        "out"
    ),
    mode: Annotated[Mode, typer.Option(help="none, net or box: the rows of the paper's Table 6.")] = "net",
    people: TopOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    draw: Annotated[bool, typer.Option(help="Write annotated pictures.")] = True,
    embeddings: Annotated[bool, typer.Option(help="Put embeddings into the JSON.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a picture could not be read.")] = False,
) -> None:
    """Find and describe the people in photos: NAME.json and NAME.people.jpg for each."""
    from mgts_trt.pictures.image import list_pictures
    from mgts_trt.runtime.pipeline import PersonSearch

    pictures = list_pictures(sources)
    with PersonSearch.open(
        find_bundle(bundle), mode=mode, backend=backend, precision=precision, threads=threads
    ) as search:
        found, failures, milliseconds = 0, [], 0.0
        with progress() as bar:
            task = bar.add_task("searching", total=len(pictures))
            for result in search_pictures(search, pictures, out_folder, top=people, draw=draw, embeddings=embeddings):
                bar.advance(task)
                if result.people is None:
                    failures.append(result)
                    continue
                found += len(result.people)
                milliseconds += result.people.timings["total"]
        done = len(pictures) - len(failures)
        if not done and len(sources) == 1 and sources[0].is_file() and failures[0].error:
            raise failures[0].error
        for failure in failures:
            warn(f"skipped: {failure.error}")
        out.print(
            f"{found} people in {done} of {len(pictures)} pictures, mode {mode}, {search.runtime.backend} on "
            f"{search.runtime.device}, {milliseconds / max(done, 1):.0f} ms a picture; written to {out_folder}/"
        )
        notice_untrained(search.bundle.manifest)
    if failures and strict:
        raise typer.Exit(1)
