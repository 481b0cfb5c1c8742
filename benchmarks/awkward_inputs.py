"""Awkward names and damaged pictures, thrown at the command line: it may fail in a sentence, and in no other way.

python -m benchmarks.awkward_inputs BUNDLE --names 2000 --pictures 500

Every name is the name of a photo that goes through `detect`, `index`, `search` and `gallery forget` among a hundred
others, and is then given alone to one command after the other: as photo, probe, folder for results, file for JSON,
camera, filter, source. Nothing may end with a traceback, the exit code of a defect, or not at all; no escape sequence
may reach the terminal, no line without a beginning of ours; and no photo may be changed.
"""

import hashlib
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app

app = typer.Typer()

LIMIT = 120
"""Seconds a command may take."""

PIECES = [
    "photo", "IMG_0001", " ", "..", "-", "--help", "@1,2", "@", "[red]", "[bold", "]", ":car:", "%s", "{0}", "$HOME",
    "`id`", "*", "?", "[a-z]", "~", "\\", "'", '"', "\n", "\t", "\r", "\x1b[31m", "\x1b]0;title\x07", "\x7f", "\u202e",
    "\u200d", "é", "e\u0301", "日本", "🚗", "\u2028", "#", "&", ";", "=", ",", "|", "file:", "http:", "s3:", "\ufeff",
    "user:pw@host", "CON", "\udce9", "\udcff\udcfe", ".jpg", ".mp4", ".json", ".people.jpg", "x" * 60, "\x01", "\x08",
]  # fmt: skip
"""What names are made of; a lone surrogate is a byte that is no UTF-8."""

FORMATS = (".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm", ".gif", ".avif", ".jp2", ".ras")
_OURS = re.compile(r"(Note:|Error:|Warning:|Usage:|Try |╭|│|╰|  +|$)")
_DEFECT = 70


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    words: Sequence[str]
    code: int | None
    """None: not within `LIMIT`."""
    stdout: str
    stderr: str

    @property
    def fault(self) -> str | None:
        """What must not be, or None."""
        if self.code is None:
            return f"did not end within {LIMIT} s"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "Traceback" in self.stderr or "This is a defect" in self.stderr:
            return "a traceback"
        if any(ord(letter) < 32 and letter != "\n" for letter in self.stdout + self.stderr):
            return "a control character on the terminal"
        strange = next((line for line in self.stderr.splitlines() if not _OURS.match(line)), None)
        return f"a line of nobody: {strange!r}" if strange is not None else None


class Fault(BaseModel):
    """A command that ended as none may."""

    command: list[str]
    what: str


class Report(BaseModel):
    """What was thrown, and what went wrong."""

    environment: Environment
    seed: int
    names: int
    pictures: int
    commands: int
    faults: list[Fault]


def awkward_names(count: int, generator: random.Random) -> list[str]:
    """File names of at most 200 bytes, all different, that a file system takes."""
    names = set[str]()
    while len(names) < count:
        name = "".join(generator.choices(PIECES, k=generator.randint(1, 5)))
        if generator.random() < 0.7:
            name += generator.choice(FORMATS)
        if len(os.fsencode(name)) <= 200 and name not in (".", ".."):
            names.add(name)
    return sorted(names)


def write_photos(folder: Path, names: Sequence[str], pixels: np.ndarray) -> list[Path]:
    """One photo under each name that the file system takes; they differ in a pixel."""
    folder.mkdir(parents=True)
    written = []
    for i, name in enumerate(names):
        pixels[0, 0] = (i % 256, i // 256 % 256, 7)
        try:
            (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        except OSError:  # one that wants UTF-8 alone
            continue
        written.append(folder / name)
    return written


def write_damaged(folder: Path, count: int, generator: random.Random, pixels: np.ndarray) -> list[Path]:
    """Pictures of ten formats, each cut, with a hole, with flipped bits, or with bytes too many or too few."""
    folder.mkdir(parents=True)
    written = []
    whole = {}
    for suffix in FORMATS:
        try:
            done, data = cv2.imencode(suffix, pixels)
        except cv2.error:
            continue
        if done:
            whole[suffix] = data.tobytes()
    for i in range(count):
        suffix = sorted(whole)[i % len(whole)]
        path = folder / f"{i:04}{suffix}"
        path.write_bytes(_damaged(whole[suffix], generator))
        written.append(path)
    return written


def _damaged(data: bytes, generator: random.Random) -> bytes:
    changed, size = bytearray(data), len(data)
    start = generator.randrange(size)
    how = generator.randrange(6)
    if how == 0:
        del changed[start:]
    elif how == 1:
        del changed[start : start + generator.randrange(1, 400)]
    elif how == 2:
        changed[start : start + 300] = bytes(min(300, size - start))
    elif how == 3:
        for _ in range(generator.randrange(1, 20)):
            changed[generator.randrange(size)] ^= 1 << generator.randrange(8)
    elif how == 4:
        changed[start:start] = generator.randbytes(generator.randrange(1, 200))
    else:
        place = generator.randrange(min(size, 64))
        changed[place : place + 4] = generator.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
    return bytes(changed)


def throw(words: Sequence[str], folder: Path) -> Outcome:
    """Run a command line of `mgts-trt` in a process of its own, in a folder; its packages are loaded here already."""
    files = [folder / "stdout", folder / "stderr"]
    child = os.fork()
    if child == 0:
        _become(words, folder, files)
    deadline = time.monotonic() + LIMIT
    status = None
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = None
    said = [file.read_bytes().decode("utf-8", "surrogateescape") for file in files]
    return Outcome(words, None if status is None else os.waitstatus_to_exitcode(status), *said)


def _become(words: Sequence[str], folder: Path, files: Sequence[Path]) -> None:
    code = 99
    try:
        for descriptor, file in zip((1, 2), files, strict=True):
            opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream = open(descriptor, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        (folder / "in").mkdir(exist_ok=True)
        os.chdir(folder / "in")
        os.environ.update(MGTS_BUNDLE="/nowhere", COLUMNS="80")
        sys.argv = ["mgts-trt", *words]
        from mgts_trt.cli.app import main

        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # what gets here is a fault of the command's own handling
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def together(bundle: Path, names: Sequence[str], folder: Path, photo: Path, pixels: np.ndarray) -> Iterator[Outcome]:
    """All names in one folder, through the commands that take folders."""
    photos = write_photos(folder / "photos", names, pixels)
    common = ["-b", str(bundle)]
    yield throw(["detect", str(folder / "photos"), *common, "-o", str(folder / "found"), "--mode", "none"], folder)
    gallery = str(folder / "gallery")
    yield throw(["index", str(folder / "photos"), *common, "-g", gallery, "--mode", "none"], folder)
    for place in (gallery, str(folder / "photos")):
        found = ["--top", "200", "--json", str(folder / "found.json")]
        query = ["search", "-q", str(photo), "-g", place, *common, "--mode", "none", *found]
        yield throw(query, folder)
    for path in photos[:3]:
        yield throw(["gallery", "forget", gallery, str(path)], folder)


def alone(bundle: Path, name: str, turn: int, folder: Path, photo: Path) -> Outcome:
    """A name given to one command, in turns."""
    common = ["-b", str(bundle), "--mode", "none"]
    gallery = str(folder / "gallery")
    given = name if not name.startswith("-") else f"./{name}"
    bench = [str(bundle), "--image", str(photo), "--runs", "1", "--warmup", "0", "--mode", "none"]
    ways: list[Callable[[], list[str]]] = [
        lambda: ["detect", given, *common, "-o", str(folder / "found")],
        lambda: ["detect", str(photo), *common, "-o", str(folder / "places" / name)],
        lambda: ["search", "-q", given, "-g", str(photo), *common],
        lambda: ["search", "-q", str(photo), "-g", given, *common],
        lambda: ["search", "-q", str(photo), "-g", gallery, *common, "--where", f"source~{name}"],
        lambda: ["inspect", given],
        lambda: ["bench", *bench, "--json", str(folder / "json" / name)],
        lambda: ["gallery", "info", given],
        lambda: ["gallery", "forget", gallery, given],
        lambda: ["index", str(photo), *common, "-g", gallery, "--camera", name],
        lambda: ["index", given, *common, "-g", gallery],
        lambda: ["doctor", given],
        lambda: ["detect", str(photo), "-b", given, "-o", str(folder / "found")],
        lambda: [given],
    ]
    (folder / "json").mkdir(exist_ok=True)
    return throw(ways[turn % len(ways)](), folder)


def sweep(
    bundle: Path, names: int, pictures: int, seed: int, folder: Path, on_step: Callable[[], None] = lambda: None
) -> tuple[int, list[Fault]]:
    """Throw so many names and pictures, and return how many commands ran and what went wrong."""
    generator = random.Random(seed)
    pixels = np.random.default_rng(seed).integers(0, 255, (96, 128, 3), np.uint8)
    pixels[20:80, 40:70] = 255
    photo = folder / "photo.png"
    cv2.imwrite(str(photo), pixels)
    before = hashlib.sha256(photo.read_bytes()).hexdigest()
    outcomes: list[Outcome] = []
    every, size = awkward_names(names, generator), 100
    for start in range(0, names, size):
        place = folder / f"together{start}"
        place.mkdir()
        outcomes += together(bundle, every[start : start + size], place, photo, pixels.copy())
        on_step()
    place = folder / "alone"
    place.mkdir()
    for turn, name in enumerate(every):
        outcomes.append(alone(bundle, name, turn, place, photo))
        on_step()
    if pictures:
        write_damaged(folder / "damaged", pictures, generator, pixels)
        words = ["detect", str(folder / "damaged"), "-b", str(bundle), "-o", str(folder / "found")]
        outcomes.append(throw(words, folder))
        on_step()
    faults = [Fault(command=_printable(each.words), what=each.fault) for each in outcomes if each.fault]
    if hashlib.sha256(photo.read_bytes()).hexdigest() != before:
        faults.append(Fault(command=[], what="the photo was written over"))
    return len(outcomes), faults


def _printable(words: Sequence[str]) -> list[str]:
    return [word.encode("unicode_escape").decode() for word in words]


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="A small one: it is opened for every command.")],
    names: Annotated[int, typer.Option(min=1)] = 2000,
    pictures: Annotated[int, typer.Option(min=0)] = 500,
    seed: int = 2018,
    json_file: JsonOption = None,
) -> None:
    """Throw awkward names and damaged pictures at the command line; exit with 1 if one gets through."""
    with TemporaryDirectory() as folder, progress() as bar:
        line = bar.add_task("throwing", total=names + (names + 99) // 100 + bool(pictures))
        commands, faults = sweep(bundle.resolve(), names, pictures, seed, Path(folder), lambda: bar.advance(line))
    report = Report(
        environment=environment(), seed=seed, names=names, pictures=pictures, commands=commands, faults=faults
    )
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    shown = table("what", "command", title=f"{len(faults)} of {commands} commands ended as none may")
    for fault in faults[:50]:
        shown.add_row(fault.what, " ".join(fault.command))
    out.print(shown)
    if faults:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_app(app)
