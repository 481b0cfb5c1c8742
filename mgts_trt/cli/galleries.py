"""`mgts-trt gallery`: look after a gallery."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.help import Command, Group
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.counts import frames_of, people_of
from mgts_trt.urls import without_login

GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's folder or URL.")]
gallery_app = typer.Typer(cls=Group, no_args_is_help=True, help="Look after a gallery: info, forget, upgrade, …")


@gallery_app.command(cls=Command)
def info(gallery: GalleryArgument, json_file: JsonOption = None) -> None:
    """Show what a gallery holds, and for which model."""
    from mgts_trt.gallery import Gallery

    with Gallery.open(gallery) as opened:
        summary, space = asdict(opened.summary()), opened.space.model_dump(mode="json", exclude_none=True)
    if json_file:
        write_json(json_file, json.dumps({"gallery": without_login(gallery), **summary, "space": space}, indent=2))
    shown = table("gallery", without_login(gallery))
    for name, value in {**summary, **space}.items():
        shown.add_row(name, _told(name, value))
    out.print(shown)


def _told(name: str, value: object) -> str:
    from mgts_trt.gallery.vector_index import INDEX_FROM

    if name == "indexed" and not value:
        return f"none: fewer than {INDEX_FROM:,} people are compared one by one"
    if name == "sightings" and value is None:
        return "none in this format: `mgts-trt gallery upgrade` makes them"
    return f"{value:,}" if isinstance(value, int) else "unknown" if value is None else str(value)


@gallery_app.command(cls=Command)
def forget(
    gallery: GalleryArgument,
    source: Annotated[str, typer.Argument(help="The picture, video or stream, as search shows it.")],
) -> None:
    """Remove everybody a picture, video or stream brought, for good."""
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.source_names import find_source

    with Gallery.open(gallery) as opened:
        name = find_source(opened, source)
        before = opened.summary()
        people = opened.forget(name)
        frames = before.frames - opened.summary().frames
    out.print(f"Forgot {people_of(people)} in {frames_of(frames)} of {name}")


@gallery_app.command(cls=Command)
def optimise(gallery: GalleryArgument) -> None:
    """Gather small files and bring the index up to date; index does so at its end, too."""
    from mgts_trt.gallery import Gallery

    with Gallery.open(gallery) as opened:
        opened.optimise()
        summary = opened.summary()
    out.print(f"{summary.indexed:,} of {summary.people:,} people are in the index; smaller galleries need none")


@gallery_app.command(cls=Command)
def upgrade(gallery: GalleryArgument) -> None:
    """Give a gallery of an older version its sightings, from what it holds; nothing is lost or searched again."""
    from mgts_trt.gallery.tables import FORMAT
    from mgts_trt.gallery.upgrading import upgrade as run_upgrade

    with progress() as bar:
        task = bar.add_task("upgrading", total=None)
        made = run_upgrade(gallery, on_progress=lambda done, total: bar.update(task, completed=done, total=total))
    was = f"was of format {made.before} and is of" if made.before < FORMAT else "is of"
    sources = f"{made.sources:,} video{'s' * (made.sources != 1)} or streams"
    out.print(f"{without_login(gallery)} {was} format {FORMAT}; {sources} tracked, {made.sightings:,} sightings in all")
