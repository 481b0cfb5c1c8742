"""What a command writes where its user says: a file, or `-`, standard output. A bad place is refused at once."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import out
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt._typing import Image

STANDARD_OUTPUT = Path("-")
_PICTURES = (".jpg", ".jpeg", ".png")
_FIGURES = (".png", ".svg", ".pdf")


def check_place(file: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse a file that could not be written.

    Args:
        file: Where something is to be written.
        suffixes: Those it may have, lower case; none for any.

    Raises:
        MgtsError: It has another suffix, is a folder, or its folder is not there; or the system forbids it.
    """
    if suffixes and file.suffix.lower() not in suffixes:
        raise MgtsError(f"Cannot write {file}: its name must end in {' or '.join(suffixes)}. Rename it.")
    try:
        if file.is_dir():
            raise MgtsError(f"Cannot write {file}: it is a folder, and a file is expected. Name a file in it.")
        if not file.parent.is_dir():
            raise MgtsError(f"Cannot write {file}: there is no folder {file.parent}. Make it, or name another.")
        file.stat()
    except FileNotFoundError:
        place = file.parent
    except OSError as error:
        raise MgtsError(f"Cannot write {file}: {error.strerror}. Name another file.") from error
    else:
        place = file
    if not os.access(place, os.W_OK):
        raise MgtsError(f"Cannot write {file}: {place} is not yours to write to. Name another file.")


def make_folder(folder: Path) -> None:
    """Make a folder for results, if it is not there.

    Raises:
        MgtsError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise MgtsError(f"Cannot write to {folder}: it is a file, and a folder is expected. Name another.") from None
    except OSError as error:
        raise MgtsError(f"Cannot write to {folder}: {error.strerror}. Name another folder.") from error
    if not os.access(folder, os.W_OK):
        raise MgtsError(f"Cannot write to {folder}: it is not yours to write to. Name another folder.")


def write_json(file: Path, text: str) -> None:
    """Write JSON to a file, or to standard output for `-`, with a line's end.

    Raises:
        MgtsError: It cannot be written.
    """
    from mgts_trt.machine.files import write_text

    if file == STANDARD_OUTPUT:
        print(text)
    else:
        write_text(file, text + "\n")


def write_picture(file: Path, image: "Image") -> None:
    """Write a picture, uint8 [H, W, 3], RGB, as JPEG or PNG by the name of the file; for `-` as PNG.

    Raises:
        ImageError: It cannot be written.
    """
    from mgts_trt.pictures.image import encode_image, write_image

    if file == STANDARD_OUTPUT:
        sys.stdout.buffer.write(encode_image(image, ".png", file))
    else:
        write_image(file, image)


@contextmanager
def figure_file(file: Path) -> Iterator[Path]:
    """The file to draw a figure to: the one named, or for `-` one whose content, PNG, goes to standard output."""
    if file != STANDARD_OUTPUT:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "figure.png"
        yield drawn
        sys.stdout.buffer.write(drawn.read_bytes())


def _json(context: typer.Context, file: Path | None) -> Path | None:
    return _claimed(context, file, ())


def _picture(context: typer.Context, file: Path | None) -> Path | None:
    return _claimed(context, file, _PICTURES)


def _figure(context: typer.Context, file: Path | None) -> Path | None:
    return _claimed(context, file, _FIGURES)


def _claimed(context: typer.Context, file: Path | None, suffixes: tuple[str, ...]) -> Path | None:
    """The file, checked; if it is standard output, everything for people goes to standard error from here on."""
    if file is None:
        return None
    if file != STANDARD_OUTPUT:
        check_place(file, suffixes)
        return file
    if out.stderr:
        _give_back()
        raise MgtsError("Standard output takes one thing, and - was given twice. Name a file for one of them.")
    out.stderr = True
    context.call_on_close(_give_back)
    return file


def _give_back() -> None:
    out.stderr = False


JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", callback=_json, help="Write the same as JSON to this file; - prints it."),
]
FigureOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", callback=_figure, help="Draw them to this .png, .svg or .pdf; - prints PNG."),
]
PictureOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", callback=_picture, help="Draw it to this .jpg or .png; - prints PNG."),
]
