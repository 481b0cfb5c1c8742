"""Photographs gathered out of public repositories, and none of them a copy of one that is known or held out."""

import csv
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mgts_trt._typing import Image
from mgts_trt.errors import first_fault
from training.data.files import DataError
from training.data.fingerprints import Fingerprints, copies, fingerprints

SOURCES = Path(__file__).with_suffix(".toml")
"""What is gathered: repositories, their commits, and which of their pictures."""
LIST = "sources.csv"
"""In a gathered folder: where each picture came from."""

_LONGEST = 640
"""Pixels of a picture's longer side, if it had more: as long as COCO's photos, and as sharp."""
_QUALITY = 90
"""Of JPEG, 0 … 100."""
_SMALLEST = 120
"""Pixels of a picture's shorter side; with fewer it is an icon or a crop."""


class Source(BaseModel):
    """One repository's pictures, as `gathered.toml` lists them."""

    model_config = ConfigDict(extra="forbid")

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    pictures: re.Pattern[str]
    at_most: int | None = Field(default=None, ge=1)
    terms: str = Field(min_length=1)


_SOURCES = TypeAdapter(list[Source])


@dataclass(frozen=True)
class Gathered:
    """What became of the pictures of one source.

    Attributes:
        repository: Owner and name.
        kept: Pictures that are new.
        copies: Pictures left out for being a copy of one that is known, or of one gathered before.
        unusable: Files that are no picture, or too small a one.
    """

    repository: str
    kept: int
    copies: int
    unusable: int


def read_sources(path: Path = SOURCES) -> list[Source]:
    """The list of sources.

    Raises:
        DataError: There is no such file, or it is malformed.
    """
    try:
        return _SOURCES.validate_python(tomllib.loads(path.read_text(encoding="utf-8")).get("source"))
    except FileNotFoundError:
        raise DataError(
            f"There is no file {path}, but the sources of pictures are listed there. Check the path."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no TOML: {error}. Correct it.") from error
    except ValidationError as error:
        raise DataError(f"{path} is malformed {first_fault(error)}. Correct it.") from error


def gather(
    clones: Path, out: Path, known: Fingerprints, sources: Iterable[Source], on_source: Callable[[Gathered], None]
) -> None:
    """Bring the pictures of repositories into a folder, scaled down, and list where each came from.

    Args:
        clones: Folder of the repositories' clones, each `OWNER+NAME`, bare or not.
        out: Folder for `images/` and `sources.csv`, made if need be; pictures that are there already are made anew.
        known: Of pictures that are to be left out.
        sources: What to take. Of pictures that are alike, the first stays.
        on_source: Is told of each source when it is done.

    Raises:
        DataError: A repository that is not there, or not at its commit; or `out` cannot be written to.
    """
    before: list[Fingerprints] = [known]
    rows: list[tuple[str, ...]] = []
    for source in sources:
        paths, unusable = _bring(_git_folder(clones, source), source, out)
        prints = fingerprints(paths)
        seen = {copy.one for others in before for copy in copies(prints, others)}
        seen |= {max(copy.one, copy.other) for copy in copies(prints, prints)}
        for path in seen:
            path.unlink()
        kept = [path for path in prints.paths if path not in seen]
        rows += [
            (path.relative_to(out).as_posix(), source.repository, paths[path], source.commit, source.terms)
            for path in kept
        ]
        before.append(prints)
        with (out / LIST).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("file", "repository", "path", "commit", "terms"), *rows])
        on_source(Gathered(source.repository, len(kept), len(seen), unusable))


def _bring(git_folder: Path, source: Source, out: Path) -> tuple[dict[Path, str], int]:
    """Write a source's pictures; their files with their paths in the repository, and how many are unusable."""
    folder, paths, unusable = out / "images" / source.repository.replace("/", "+"), {}, 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot write to {out}: {error.strerror}. Name another folder.") from error
    for path, data in _blobs(git_folder, source):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if image is None or min(image.shape[:2]) < _SMALLEST:
            unusable += 1
            continue
        file = folder / Path(re.sub(r"[^A-Za-z0-9._-]", "_", path)).with_suffix(".jpg")
        cv2.imwrite(str(file), _scaled(image), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        paths[file] = path
    return paths, unusable


def _git_folder(clones: Path, source: Source) -> Path:
    clone = clones / source.repository.replace("/", "+")
    for folder in (clone / ".git", clone, clone / "repo/.git", clone / "repo"):
        if (folder / "HEAD").is_file():
            return folder
    raise DataError(
        f"There is no repository {clone}, but a clone of {source.repository} is expected there. Clone it: "
        f"git clone https://github.com/{source.repository} {clone}"
    )


def _blobs(git_folder: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Path and content of a source's pictures, by path; of too many, some at even distances."""
    git = ["git", f"--git-dir={git_folder}"]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", source.commit], capture_output=True, check=False)
    if listed.returncode:
        raise DataError(
            f"{git_folder} does not hold the commit {source.commit} of {source.repository}. Fetch it: "
            f"git --git-dir={git_folder} fetch origin {source.commit}"
        )
    chosen = []
    for line in listed.stdout.decode("utf-8", "replace").split("\0")[:-1]:
        entry, path = line.split("\t", 1)
        _, kind, blob = entry.split()
        if kind == "blob" and PurePosixPath(path).suffix and source.pictures.fullmatch(path):
            chosen.append((path, blob))
    chosen.sort()
    if source.at_most is not None and len(chosen) > source.at_most:
        chosen = [chosen[number * len(chosen) // source.at_most] for number in range(source.at_most)]
    for path, blob in chosen:
        yield path, subprocess.run([*git, "cat-file", "blob", blob], capture_output=True, check=False).stdout


def _scaled(image: Image) -> Image:
    scale = _LONGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
