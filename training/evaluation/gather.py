"""`python -m training gather`: photographs out of clones of public repositories, for a teacher to label."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out as console
from mgts_trt.cli.console import table, warn
from mgts_trt.pictures.folders import find_images
from training.data.fingerprints import fingerprints
from training.data.gathered import SOURCES, Gathered, read_sources
from training.data.gathered import gather as bring
from training.evaluation.leaks import SAMPLES
from training.options import steps


def gather(
    clones: Annotated[Path, typer.Argument(help="Folder of the repositories' clones, each OWNER+NAME.")],
    out: Annotated[Path, typer.Option(help="Folder for images/ and sources.csv.")],
    known: Annotated[
        list[Path], typer.Option(help="Folder of pictures to leave out copies of, and those below; may be repeated.")
    ],
    sources: Annotated[Path, typer.Option(help="What to take, as training/data/gathered.toml says.")] = SOURCES,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Gather photographs, at most 640 pixels a side; no copies of known ones nor of the repository's samples."""
    wanted = read_sources(sources)
    left_out = [picture for folder in (*known, SAMPLES) for picture in find_images(folder)]
    shown = table("repository", ">kept", ">copies", ">unusable", title="Gathered")
    with steps() as begin:
        prints = fingerprints(left_out, on_step=begin("reading what is known", len(left_out)))
        on_step = begin("gathering", len(wanted))

        def note(done: Gathered) -> None:
            shown.add_row(done.repository, str(done.kept), str(done.copies), str(done.unusable))
            on_step()

        bring(clones, out, prints, wanted, note)
    for path, why in prints.unread.items():
        warn(f"{path} was not compared: {why}")
    console.print(shown)
