"""`mgts-trt watch`: alarms when somebody is seen."""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, warn
from mgts_trt.cli.options import BackendOption, BundleOption, FlavourOption, ModeOption, PrecisionOption, ThreadsOption
from mgts_trt.cli.outputs import make_folder
from mgts_trt.cli.stopping import stopping
from mgts_trt.counts import frames_of, people_of
from mgts_trt.errors import MgtsError

SECRET = "MGTS_WEBHOOK_SECRET"
"""Environment variable of the key that signs what is posted."""


def watch(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Photos, videos, folders of them, patterns, or URLs of streams."),
    ],
    wanted: Annotated[
        list[str],
        typer.Option("--for", help="Whom to watch for: PHOTO@x1,y1,x2,y2, PHOTO@x,y or PHOTO. May be repeated."),
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(help="Their names, one for each --for; photos of one name are of one person."),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(help="Tell of whom so small a share of other people would look as much alike as, such as 1e-4."),
    ] = None,
    likeness: Annotated[
        float | None, typer.Option(min=-1.0, max=1.0, help="Tell of whom is at least so much alike, instead of --far.")
    ] = None,
    cool_down: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="No second alarm for a person and camera within S seconds.")
    ] = 60.0,
    state: Annotated[
        Path | None, typer.Option(help="A file that keeps what was told, so that a restart does not tell it again.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Append alarms to this file, not to standard output.")
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(help="Folder for crops; without it they are in the alarms, as base64.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Post each alarm to this URL.")] = None,
    secret: Annotated[
        Path | None, typer.Option(help=f"File of the key that signs what is posted; by default ${SECRET}.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Name of the camera.")] = None,
    camera_pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="The first group of this, found in the path, names the camera.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Of videos and streams, every N-th frame.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of each live stream, N frames.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Watch each live stream for S seconds.")
    ] = None,
    bundle: BundleOption = None,
    mode: ModeOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
) -> None:
    """Watch photos, videos and streams for people, and raise an alarm when one is seen: a line of JSON each."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.likeness import Likeness, least_cosine
    from mgts_trt.gallery.indexing.reading import LiveOptions
    from mgts_trt.gallery.indexing.sources import find_sources
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.gallery.question import Question
    from mgts_trt.runtime.pipeline import PersonSearch
    from mgts_trt.watching.alarm_journal import AlarmJournal
    from mgts_trt.watching.alarms import Alarms, Watched
    from mgts_trt.watching.alarms import watch as run_watch
    from mgts_trt.watching.webhook import Webhook

    names = name or wanted
    if len(names) != len(wanted):
        raise MgtsError(f"There are {len(names)} --name for {len(wanted)} --for. Name each of them, or none.")
    if (far is None) == (likeness is None):
        raise MgtsError("From when on is an alarm to be raised? Give one of --far, such as 1e-4, and --likeness.")
    found = find_sources(sources, camera=camera, camera_pattern=camera_pattern)
    journal, key = AlarmJournal(state), _key(secret)
    if webhook and not key:
        warn(f"what is posted is not signed. Put a key into ${SECRET}, or name its file with --secret.")
    if crops:
        make_folder(crops)
    opened = Bundle.open(find_bundle(bundle))
    with ExitStack() as stack:
        search = stack.enter_context(
            PersonSearch(opened, mode=mode, backend=backend, precision=precision, threads=threads)
        )
        curve = Likeness.of(opened, search.mode)
        if far is not None:
            likeness = least_cosine(curve, far, search.mode)
        assert likeness is not None
        probes: dict[str, list[str]] = {}
        for each, text in zip(names, wanted, strict=True):
            probes.setdefault(each, []).append(text)
        watched = [
            Watched(each, Question.of([find_probe(search, *parse_query(text)) for text in texts]))
            for each, texts in probes.items()
        ]
        try:
            lines = stack.enter_context(json_file.open("a", encoding="utf-8")) if json_file else sys.stdout
        except OSError as error:
            raise MgtsError(
                f"Cannot write {json_file}: {error.strerror}. Name a file in a folder that exists."
            ) from error
        hook = Webhook(webhook, key) if webhook else None

        def emit(alarm: dict[str, object]) -> None:
            line = json.dumps(alarm)
            print(line, file=lines, flush=True)
            if hook:
                hook.put(line.encode())

        alarms = Alarms(watched, likeness, journal, emit, curve=curve, cool_down=cool_down, crops=crops)
        stop, signals = stack.enter_context(stopping())
        try:
            live = LiveOptions(limit, duration)
            report = run_watch(search, found, alarms, every=every, live=live, stop=stop, on_note=warn)
        finally:
            if hook:
                hook.close()
        for failure in report.failures:
            warn(f"not watched: {failure.error}")
        if hook and hook.lost:
            warn(f"{hook.lost} of {hook.lost + hook.delivered} alarms could not be delivered to the webhook.")
        seen = f"{frames_of(report.frames)} with {people_of(report.people)} watched"
        typer.echo(f"{seen}, {report.alarms:,} alarm{'s' * (report.alarms != 1)}", err=True)
        notice_untrained(opened.manifest)
    if signals:
        raise typer.Exit(128 + signals[0])
    if report.failures and not report.frames:
        raise MgtsError("Nothing was watched: all sources failed, as said above.")


def _key(file: Path | None) -> bytes:
    """The key that signs, without the line break at its end; empty if there is none."""
    if file is None:
        return os.environ.get(SECRET, "").encode()
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise MgtsError(f"Cannot read the key {file}: {error.strerror}. Check the path and its permissions.") from error
    if not key:
        raise MgtsError(f"The key {file} is empty. Write one into it.")
    return key
