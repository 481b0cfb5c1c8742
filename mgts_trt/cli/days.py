"""Galleries by day, at the command line: `mgts-trt gallery days`, and what `index` and `search` need of them."""

import datetime as dt
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import out, table
from mgts_trt.cli.keep_times import read_time
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.recalling import STAYS_OUT, let_in
from mgts_trt.cli.recorded import recorded
from mgts_trt.counts import people_of
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.choices import Mode
    from mgts_trt.gallery.indexing.sources import Source
    from mgts_trt.gallery.partitions import PartitionedGallery

_DAY = 86400


def days(
    gallery: Annotated[str, typer.Argument(metavar="GALLERY", help="A folder of galleries by day.")],
    keep: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Erase days that ended so long ago, for good: 30d, 4w; in whole days."),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Show the days of a folder that `index --partition day` filled; with --keep, erase those that are over."""
    from mgts_trt.gallery.partitions import PartitionedGallery

    with PartitionedGallery.open(gallery) as opened:
        if keep is not None:
            seconds = read_time(keep)
            if seconds < _DAY:
                raise MgtsError(f"--keep {keep}: days are erased as a whole. Keep at least 1d.")
            limit = dt.datetime.fromtimestamp(time.time() - seconds, dt.timezone.utc).date()
            with recorded(opened.url, "expire", changes=True) as done:
                gone, done.rows = opened.erase_before(limit)
            out.print(f"Erased {len(gone)} galleries with {people_of(done.rows)}: of days before {limit}")
        summaries = {part.name: opened.gallery(part).summary() for part in opened.parts()}
    if json_file:
        held = {name: vars(each) for name, each in summaries.items()}
        write_json(json_file, json.dumps({"gallery": gallery, "days": held}, indent=2))
    shown = table("day, UTC", ">frames", ">people", ">sightings", ">bytes", ">indexed")
    for name, each in summaries.items():
        numbers = (each.frames, each.people, each.sightings or 0, each.bytes or 0, each.indexed)
        shown.add_row(name, *(f"{number:,}" for number in numbers))
    out.print(shown)


def read_day(option: str, text: str | None) -> dt.date | None:
    """A day of `2026-11-29`; None of None.

    Raises:
        MgtsError: It is none.
    """
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise MgtsError(f"{option} {text!r} is no day. Expected such as 2026-11-29, UTC.") from None


def open_days(places: Sequence[str], bundle: "Bundle", mode: "Mode | None") -> "PartitionedGallery | None":
    """The folder of galleries by day, if one was named.

    Raises:
        MgtsError: More places were named, or it is of another space.
    """
    from mgts_trt.gallery import Space
    from mgts_trt.gallery.day_part import is_partitioned
    from mgts_trt.gallery.partitions import PartitionedGallery

    named = [place for place in places if is_partitioned(place)]
    if not named:
        return None
    if len(places) > 1:
        raise MgtsError(f"{named[0]} holds galleries by day, and more places were named. Search it alone.")
    opened = PartitionedGallery.open(named[0])
    if mode is not None and mode != opened.space.mode:
        raise MgtsError(f"{named[0]} was indexed in mode {opened.space.mode}, not {mode}. Leave --mode out.")
    opened.space.require_same(Space.of(bundle, opened.space.mode), what=f"The gallery {named[0]}")
    return opened


def days_galleries(
    place: str,
    bundle: "Bundle",
    mode: "Mode",
    sources: Sequence["Source"],
    duration: float | None,
    recall: Sequence[str] = (),
) -> Iterator[tuple[str, float | None]]:
    """Where `index --partition day` puts its sources, and for how many seconds: one day's gallery after another.

    Live streams go into the gallery of today, UTC, and of each day that begins while they are watched, until they have
    ended or `duration` is over. Files go into that of what has no time of a clock. First, sources to `recall` are let
    in again.

    Raises:
        MgtsError: Streams and files are mixed, or cameras belong to several groups.
    """
    from mgts_trt.gallery import Space
    from mgts_trt.gallery.day_part import day_of
    from mgts_trt.gallery.partitions import PartitionedGallery

    streams = [source.kind == "stream" for source in sources]
    if any(streams) and not all(streams):
        raise MgtsError("--partition day puts live streams and files into different galleries: a command for each.")
    cameras = {source.camera for source in sources}
    end = math.inf if duration is None else time.time() + duration
    with PartitionedGallery.create(place, Space.of(bundle, mode)) as opened:
        let_in(opened.url, opened.recall, recall)
        while True:
            now = time.time()
            midnight = now - now % _DAY + _DAY
            day = day_of(now) if any(streams) else None
            names = {opened.make(day, camera).url for camera in cameras}
            if len(names) != 1:
                raise MgtsError(
                    f"These cameras belong to {len(names)} groups of {place}: a command for the cameras of each."
                )
            opened.close()
            yield names.pop(), duration if day is None else min(midnight, end) - now
            if day is None or not midnight <= time.time() < end:  # the sources ended, or what was asked for
                return


def forget_in_days(place: str, source: str) -> None:
    """`mgts-trt gallery forget` of a source, in all days."""
    from mgts_trt.gallery.partitions import PartitionedGallery

    with PartitionedGallery.open(place) as opened:
        name = opened.find_source(source)
        with recorded(opened.url, "forget", changes=True, subjects={"source": [name]}) as done:
            done.rows = opened.forget(name)
    out.print(f"Forgot {people_of(done.rows)} of {name}, on all days")
    out.print(STAYS_OUT)


def stored_days_mode(place: str, partition: str | None) -> "Mode | None":
    """The mode of the galleries by day at a place; None where there are none.

    Raises:
        MgtsError: There are, and `--partition day` was not said.
    """
    from mgts_trt.gallery.day_part import is_partitioned
    from mgts_trt.gallery.partitions import PartitionedGallery

    if not is_partitioned(place):
        return None
    if partition is None:
        raise MgtsError(f"{place} holds galleries by day. Say --partition day, or name another folder.")
    with PartitionedGallery.open(place) as opened:
        return opened.space.mode
