"""`python -m training label`: pictures that nobody has labelled, labelled by a teacher."""

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from mgts_trt.cli.console import out as console
from mgts_trt.cli.console import warn
from mgts_trt.errors import MgtsError
from mgts_trt.pictures.folders import find_images
from training.data.datasets.boxes_json import read_entries, write_entries
from training.data.files import DataError
from training.data.teacher import Teacher
from training.data.teacher_labels import (
    SURE,
    SURE_IN_TILES,
    Entry,
    completed,
    labelled,
)
from training.options import steps

_EVERY = 200
"""Pictures between two writings of the labels, so that little is lost when it is stopped."""


def label(
    pictures: Annotated[Path, typer.Argument(help="Folder of the pictures, with those in folders below.")],
    teacher: Annotated[Path, typer.Option(help="ONNX file of a YOLOX detector for COCO.")],
    out: Annotated[Path, typer.Option(help="The boxes.json to write, in PICTURES or a folder above it.")],
    tiles: Annotated[bool, typer.Option("--tiles", help="Look for small people in tiles, too; slower.")] = False,
    sure: Annotated[
        float | None, typer.Option(min=0, max=1, help=f"Score of a person; by default {SURE}, or {SURE_IN_TILES}.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="A boxes.json made by hand, for the same pictures: what the teacher adds is only ignored."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Label pictures: people a teacher is sure of, regions of doubt to ignore, and things; goes on where it was."""
    # As they are named: a set whose pictures are linked to stands where the link is.
    pictures, folder = Path(os.path.abspath(pictures)), Path(os.path.abspath(out)).parent
    if not pictures.is_relative_to(folder):
        raise MgtsError(f"{out} is not above {pictures}, but its names are relative to its folder. Name another --out.")
    files = find_images(pictures)
    entries: dict[str, Entry] = read_entries(out) if out.exists() else {}
    by_hand = read_entries(keep) if keep else None
    # Mixed, so that what is there of a labelling that goes on shows all kinds of pictures.
    mixed = [files[number] for number in np.random.default_rng(0).permutation(len(files))]
    names = {file: file.relative_to(folder).as_posix() for file in mixed}
    if by_hand is not None and (foreign := sorted(set(names.values()) - by_hand.keys())):
        raise DataError(
            f"{keep} does not list {foreign[0]}, but to keep its labels every picture of {pictures} is expected in "
            "it, by the name it has from the folder of --out. Name another folder."
        )
    waiting = [file for file in mixed if names[file] not in entries]
    look = Teacher(teacher, tiled=tiles)
    least = sure if sure is not None else SURE_IN_TILES if tiles else SURE
    with steps() as begin:
        on_step = begin("looking for people", len(waiting))
        for number, entry in enumerate(labelled(look, waiting, names, least, on_unread=warn), 1):
            entries[entry["file"]] = entry if by_hand is None else completed(by_hand[entry["file"]], entry)
            if number % _EVERY == 0:
                write_entries(out, entries)
            on_step()
    write_entries(out, entries)
    console.print(_told(entries, out))


def _told(entries: dict[str, Entry], out: Path) -> str:
    people = sum(len(entry["persons"]) for entry in entries.values())
    ignored = sum(len(entry.get("ignore", [])) for entry in entries.values())
    nobody = sum(not entry["persons"] and not entry.get("ignore") for entry in entries.values())
    return f"{out}: {len(entries)} pictures, {nobody} of them of nobody; {people} people, {ignored} regions to ignore"
