"""`mgts-trt detect`: pictures in, JSON and annotated pictures out."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, warn
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    FlavourOption,
    ModeOption,
    PrecisionOption,
    ThreadsOption,
    TopOption,
)
from mgts_trt.cli.outputs import make_folder
from mgts_trt.counts import people_of
from mgts_trt.errors import ImageError, MgtsError

if TYPE_CHECKING:
    from mgts_trt.runtime.people import People
    from mgts_trt.runtime.pipeline import PersonSearch


@dataclass(frozen=True)
class Detected:
    """What became of one picture: the people in it, and the error that kept it from being searched or written.

    `damage` is a sentence, if the file is damaged and the people are those of what could be decoded.
    """

    path: Path
    people: "People | None"
    error: MgtsError | None
    damage: str | None = None


def search_pictures(
    search: "PersonSearch",
    pictures: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    top: int | None = None,
    draw: bool = True,
    embeddings: bool = True,
) -> Iterator[Detected]:
    """Search pictures one after the other; one that cannot be read, drawn or written costs itself alone.

    Args:
        search: An open pipeline.
        pictures: From `list_pictures`.
        out: Folder for `NAME.json` and, with `draw`, `NAME.people.jpg`; made if it is not there.
        top: See `PersonSearch.__call__`.
        draw: Write annotated pictures.
        embeddings: Put embeddings into the JSON.

    Raises:
        BackendError: The backend fails.
    """
    from mgts_trt.pictures.folders import DRAWN
    from mgts_trt.pictures.image import read_picture, write_image

    for path, name in pictures:
        people, target = None, out / name
        try:
            image, damage = read_picture(path)
            people = search(image, top=top)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"file": str(path), "damage": damage, **_entries(people, embeddings)}, indent=1)
            target.with_name(f"{name.name}.json").write_text(text + "\n", encoding="utf-8")
            if draw:
                write_image(target.with_name(f"{name.name}{DRAWN}"), people.draw(image))
        except ImageError as error:
            yield Detected(path, people, error)
        except OSError as error:
            yield Detected(path, people, MgtsError(f"{path}: cannot write to {target.parent}: {error.strerror}."))
        except MemoryError:
            yield Detected(path, people, MgtsError(f"{path}: there is not enough memory for it. Scale it down first."))
        else:
            yield Detected(path, people, None, damage)


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
    mode: ModeOption = None,
    people: TopOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    draw: Annotated[bool, typer.Option(help="Write annotated pictures.")] = True,
    embeddings: Annotated[bool, typer.Option(help="Put embeddings into the JSON.")] = True,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if a picture is damaged, or something was not read or written."),
    ] = False,
) -> None:
    """Find and describe the people in photos: NAME.json and NAME.people.jpg for each."""
    from mgts_trt.pictures.folders import list_pictures
    from mgts_trt.runtime.pipeline import PersonSearch

    pictures, found = list_pictures(sources, without=out_folder)
    make_folder(out_folder)
    _check_names(pictures, out_folder)
    with PersonSearch.open(
        find_bundle(bundle), mode=mode, backend=backend, precision=precision, threads=threads
    ) as search:
        seen, searched, failures, damages, milliseconds = 0, 0, [], [], 0.0
        with progress() as bar:
            task = bar.add_task("searching", total=len(pictures))
            for result in search_pictures(search, pictures, out_folder, top=people, draw=draw, embeddings=embeddings):
                bar.advance(task)
                if result.error is not None:
                    failures.append(result)
                if result.damage:
                    damages.append(result.damage)
                if result.people is not None:
                    searched += 1
                    seen += len(result.people)
                    milliseconds += result.people.timings["total"]
        done = len(pictures) - len(failures)
        if not done and len(pictures) == 1 and failures[0].error:
            raise failures[0].error
        for failure in failures:
            warn(f"skipped: {failure.error}")
        for damage in damages:
            warn(f"searched as far as it could be decoded: {damage}")
        for sentence in found.told:
            warn(f"{sentence}.")
        out.print(
            f"{people_of(seen)} in {done} of {len(pictures)} pictures, mode {search.mode}, {search.runtime.backend} on "
            f"{search.runtime.device}, {milliseconds / max(searched, 1):.0f} ms a picture; written to {out_folder}/"
        )
        notice_untrained(search.bundle.manifest)
    if strict and (failures or damages or found.unseen):
        raise typer.Exit(1)


def _check_names(pictures: Sequence[tuple[Path, Path]], folder: Path) -> None:
    """Refuse to begin where a result would take the place of another one, or of a picture.

    Raises:
        MgtsError: It would.
    """
    from mgts_trt.pictures.folders import DRAWN

    inputs = {os.path.realpath(path): path for path, _ in pictures}
    outputs = dict[str, Path]()
    for path, name in pictures:
        for written in (f"{folder / name}.json", f"{folder / name}{DRAWN}"):
            place = os.path.realpath(written)
            other = inputs.get(place) or outputs.get(place)
            if other is not None:
                raise MgtsError(
                    f"What is found in {path} would be written to {written}, over what belongs to {other}. "
                    "Rename one of them, or name another folder with --out."
                )
            outputs[place] = path
