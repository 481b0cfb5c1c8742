"""What `detect` is given: photos, videos, webcams and streams, each with a name for its results."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from mgts_trt.errors import MgtsError, SourceError
from mgts_trt.gallery.indexing.sources import Source, find_sources
from mgts_trt.machine.files import place_kind
from mgts_trt.pictures.folders import DRAWN, FILMED, Found, list_files
from mgts_trt.urls import file_path

InputKind: TypeAlias = Literal["picture", "video", "stream", "webcam"]


@dataclass(frozen=True)
class Input:
    """Something to look for people in.

    Attributes:
        location: Path as it was named, URL, or `/dev/videoN` of a webcam.
        kind: Which of them it is.
        name: Of its results, below the folder for them, without their suffixes.
        camera: A name of the camera, if there is one.
    """

    location: str
    kind: InputKind
    name: Path
    camera: str | None = None

    @property
    def source(self) -> str:
        """What results and messages call it: without user name and password."""
        return self.location if "://" not in self.location else Source(self.location, "stream").name

    @property
    def key(self) -> str:
        """What tells it from the others, in UTF-8: absolute path or URL."""
        return Source(self.location if "://" in self.location else os.path.abspath(self.location), "picture").name

    @property
    def is_live(self) -> bool:
        """Whether its frames come as time passes, and are gone if they are not taken."""
        return self.kind in ("stream", "webcam")

    @property
    def is_film(self) -> bool:
        """Whether it has many frames."""
        return self.kind != "picture"

    def results(self, out: Path) -> tuple[Path, Path]:
        """The files of its results: the numbers, and what is drawn."""
        numbers, drawn = (".jsonl", FILMED) if self.is_film else (".json", DRAWN)
        return Path(f"{out / self.name}{numbers}"), Path(f"{out / self.name}{drawn}")


def find_inputs(arguments: Sequence[str], *, out: Path) -> tuple[list[Input], Found]:
    """Everything that was named: files, of folders pictures and videos, patterns, webcams, URLs.

    Results of files have their names below the folder that all of them have in common; those of webcams and streams
    are named after device and URL, with a number where an earlier recording is there.

    Args:
        arguments: Files, folders, patterns such as `shop/**/*.mp4`, numbers of webcams or their devices, or URLs.
        out: Where results go; it is not looked into.

    Returns:
        The inputs, each once, and what else was found in folders.

    Raises:
        MgtsError: Something does not exist, or there is nothing at all.
    """
    places: list[tuple[Path, bool]] = []
    others: dict[str, Input] = {}
    for argument in arguments:
        here = place_kind(Path(argument)) is not None
        device = _webcam(argument, here)
        if device is not None:
            others.setdefault(device, Input(device, "webcam", _free(out, Path(device).name)))
        elif "://" in argument and not here and not argument.startswith("file://"):
            for found in find_sources([argument]):
                if found.kind == "stream":
                    name = _free(out, _slug(found.name))
                    others.setdefault(found.location, Input(found.location, "stream", name))
                else:
                    others.setdefault(found.location, Input(found.location, "picture", Path(_slug(found.name))))
        else:
            places += _expand(file_path(argument) if argument.startswith("file://") and not here else argument, here)
    files, beside = list_files(places, ("picture", "video"), without=out)
    inputs = [Input(str(path), kind, name) for path, name, kind in files] + list(others.values())
    if not inputs:
        what = f" ({'; '.join(told)})" if (told := beside.told[:3]) else ""
        raise MgtsError(
            f"No pictures in {', '.join(arguments)}, and no videos{what}. Name photos, videos, folders of them, the "
            "number of a webcam, or the URL of a stream."
        )
    return inputs, beside


def check_names(inputs: Sequence[Input], out: Path) -> None:
    """Refuse to begin where a result would take the place of another one, or of what is searched.

    Raises:
        MgtsError: It would.
    """
    read = {os.path.realpath(each.location): each for each in inputs if "://" not in each.location}
    outputs = dict[str, Input]()
    for each in inputs:
        for written in each.results(out):
            place = os.path.realpath(written)
            other = read.get(place) or outputs.get(place)
            if other is not None:
                raise MgtsError(
                    f"What is found in {each.source} would be written to {written}, over what belongs to "
                    f"{other.source}. Rename one of them, or name another folder with --out."
                )
            outputs[place] = each


def _webcam(argument: str, here: bool) -> str | None:
    """The device that is meant, if a webcam is: its number where no file is called so, or its path."""
    if re.fullmatch(r"\d{1,3}", argument) and not here:
        return f"/dev/video{int(argument)}"
    return argument if re.fullmatch(r"/dev/video\d{1,3}", argument) else None


def _expand(argument: str, here: bool) -> list[tuple[Path, bool]]:
    """The places an argument names, and whether it names them itself or by a pattern."""
    if here or not glob.has_magic(argument):
        return [(Path(argument), True)]
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise SourceError(f"Nothing matches {argument}. Check the pattern; ** stands for folders within folders.")
    return [(Path(match), False) for match in matches]


def _slug(url: str) -> str:
    """A URL as the name of a file."""
    return re.sub(r"[^\w.-]+", "_", url.partition("://")[2]).strip("_.")[:100] or "stream"


def _free(out: Path, name: str) -> Path:
    """A name whose results are not there: what was live cannot be had again."""
    number = 1
    tried = Path(name)
    while any(path.exists() for path in Input(name, "stream", tried).results(out)):
        number += 1
        tried = Path(f"{name}.{number}")
    return tried
