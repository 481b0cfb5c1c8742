"""`python -m training leaks`: whether anything held out is in what training sees, by file, by person and by looks."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out as console
from mgts_trt.cli.console import table, warn
from mgts_trt.cli.outputs import JsonOption, make_folder, write_json
from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import write_text
from mgts_trt.pictures.folders import find_images
from training.data.files import DataError
from training.data.fingerprints import copies, fingerprints
from training.data.sources import files_of
from training.options import COMPOSES, Data, Evaluated, load_held_out, load_scenes, steps

SAMPLES = Path(__file__).parents[2] / "docs/pictures/samples"
"""The repository's own sample pictures, which no network may have learnt from."""

HELD_OUT_LISTS = Path(__file__).parents[1] / "data/held_out"
"""The names of what is held out of the public data, a text file a set, as `--lists` writes them."""

_SPANNING = {*COMPOSES, Data.REAL, Data.MASKS, Data.MARKET1501_REID_MIX, Evaluated.COMPOSED}
"""What is made of several sets, and takes the folder that holds them."""

_PUBLISHED = {Evaluated.CUHK_SYSU, Evaluated.PRW}
"""Whose test pictures are those of their publishers' lists."""

_PERSON = re.compile(r"(?P<person>[^_]+)_c\d")

Lists = Mapping[str, Iterable[Path]]
"""Picture files by the name of the list they are on."""


@dataclass(frozen=True)
class Leak:
    """Something held out that training sees.

    Attributes:
        held_out: A picture that is held out.
        training: A picture that training sees.
        by: What they share: "file", "person" or "looks".
        likeness: Of their details where they look the same, else 1.
        mirrored: One looks as the other does in a mirror.
    """

    held_out: Path
    training: Path
    by: str
    likeness: float = 1.0
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class Leaks:
    """What a check found.

    Attributes:
        found: The leaks: those by file first, then by person, one a person, then by looks, the most alike first.
        unread: Files that are no pictures, and why.
        pictures: How many files were compared, held out and in training.
    """

    found: tuple[Leak, ...]
    unread: Mapping[Path, str]
    pictures: tuple[int, int]


def leaks(
    root: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    also: Annotated[
        list[Path] | None, typer.Option(help="A folder of further pictures to train on; may be given several times.")
    ] = None,
    samples: Annotated[Path, typer.Option(help="Pictures that no training may see.")] = SAMPLES,
    lists: Annotated[
        Path | None, typer.Option(help="Folder to write the names of what is held out to, a text file a set.")
    ] = None,
    json_file: JsonOption = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Look for held-out pictures and people in what training sees; exit code 1 if there are any.

    Pictures are compared by their files, people by the names of their crops, and all pictures by their looks: copies
    that were encoded anew, scaled, mirrored or cropped a little are found. A set that is not there is told, and left
    out.
    """
    absent: dict[str, str] = {}
    trained = _training_lists(root, absent)
    trained |= {str(folder): set(find_images(folder)) for folder in also or ()}
    kept = _held_out_lists(root, absent)
    if not trained or not kept:
        sets = ", ".join(sorted(absent))
        raise MgtsError(f"{root} holds no set to check, but {sets} are looked for. Name the folder that holds them.")
    if lists:
        make_folder(lists)
        for name, names in held_out_names(kept, root).items():
            write_text(lists / f"{name}.txt", "\n".join(names) + "\n")
    kept[str(samples)] = set(find_images(samples))
    with steps() as begin:
        result = find_leaks(trained, kept, begin=begin)
    for name, why in absent.items():
        warn(f"{name} was not checked: {why}")
    for path, why in result.unread.items():
        warn(f"{path} was not compared: {why}")
    shown = table("held out", "in training", "what is the same", title="Leaks")
    for leak in result.found:
        shown.add_row(str(leak.held_out), str(leak.training), _told(leak))
    if result.found:
        console.print(shown)
    held, seen = result.pictures
    console.print(f"{len(result.found) or 'No'} leaks: {held} pictures held out, {seen} that training may see.")
    if json_file:
        write_json(json_file, json.dumps(_as_json(result, trained, kept, absent), indent=1))
    if result.found:
        raise typer.Exit(1)


def find_leaks(
    trained: Lists, held_out: Lists, *, begin: Callable[[str, int], Callable[[], None]] = lambda what, total: _nothing
) -> Leaks:
    """Compare what training sees with what is held out.

    Args:
        trained: What training sees.
        held_out: What it must not see.
        begin: Begins a piece of work; see `training.options.Begin`.
    """
    seen = {_absolute(path) for files in trained.values() for path in files}
    kept = {_absolute(path) for files in held_out.values() for path in files}
    found = [Leak(path, path, "file") for path in sorted(seen & kept)]
    people, others = _people(seen), _people(kept)
    found += [Leak(others[person], people[person], "person") for person in sorted(people.keys() & others.keys())]
    ours = fingerprints(sorted(kept), on_step=begin("reading what is held out", len(kept)))
    theirs = fingerprints(sorted(seen), on_step=begin("reading what is trained on", len(seen)))
    found += [
        Leak(copy.one, copy.other, "looks", round(copy.likeness, 3), copy.mirrored) for copy in copies(ours, theirs)
    ]
    return Leaks(tuple(found), ours.unread | theirs.unread, (len(kept), len(seen)))


def person_of(path: Path) -> str | None:
    """Who a crop shows, by its name: `SET/images/PERSON/PERSON_cCAMERA….jpg`, or `SET/PERSON_cCAMERA….jpg`.

    A set named `SET_extra` shows people of `SET`. None where the name tells nobody.
    """
    match = _PERSON.match(path.name)
    if match is None:
        return None
    folder = path.parents[2] if path.parent.name == match["person"] else path.parent
    return f"{folder.name.removesuffix('_extra')}/{match['person']}"


def held_out_names(held_out: Lists, root: Path) -> dict[str, list[str]]:
    """What to write down, by set, sorted: people where crops name them, else pictures, relative to the set's folder."""
    names: dict[str, set[str]] = {}
    for name in held_out:
        folder = _absolute(root / name)
        inside = [path for path in map(_absolute, held_out[name]) if path.is_relative_to(folder)]
        if inside:
            names[name] = {person_of(path) or path.relative_to(folder).as_posix() for path in inside}
    return {name: sorted(listed) for name, listed in names.items()}


def _training_lists(root: Path, absent: dict[str, str]) -> dict[str, set[Path]]:
    """The files of every dataset to train on; notes why one is not there."""
    return _files(root, list(Data), lambda data, folder: load_scenes(data, folder, length=1, seed=0), absent)


def _held_out_lists(root: Path, absent: dict[str, str]) -> dict[str, set[Path]]:
    chosen = [data for data in Evaluated if data not in _PUBLISHED]
    return _files(root, chosen, lambda data, folder: load_held_out(data, folder, length=1), absent)


def _files(root: Path, chosen: Sequence[Enum], load: Callable, absent: dict[str, str]) -> dict[str, set[Path]]:
    files = {}
    for data in chosen:
        try:
            files[data.value] = files_of(load(data, root if data in _SPANNING else root / data.value))
        except DataError as error:
            absent[data.value] = str(error)
    return files


def _people(paths: Iterable[Path]) -> dict[str, Path]:
    return {person: path for path in sorted(paths, reverse=True) if (person := person_of(path)) is not None}


def _absolute(path: Path) -> Path:
    return path.resolve()


def _told(leak: Leak) -> str:
    if leak.by == "looks":
        return f"looks{', mirrored' if leak.mirrored else ''}: {leak.likeness:.2f}"
    return leak.by


def _as_json(result: Leaks, trained: Lists, kept: Lists, absent: Mapping[str, str]) -> dict[str, object]:
    return {
        "training": {name: len(set(files)) for name, files in trained.items()},
        "held_out": {name: len(set(files)) for name, files in kept.items()},
        "not_checked": dict(absent),
        "unread": {str(path): why for path, why in result.unread.items()},
        "leaks": [
            {
                "held_out": str(leak.held_out),
                "training": str(leak.training),
                "by": leak.by,
                "likeness": leak.likeness,
                "mirrored": leak.mirrored,
            }
            for leak in result.found
        ],
    }


def _nothing() -> None: ...
