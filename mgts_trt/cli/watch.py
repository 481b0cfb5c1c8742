"""`mgts-trt watch`: alarms when somebody is seen."""

import json
import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import find_bundle, notice_untrained, warn
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    DecodeOption,
    FlavourOption,
    GalleryKeyOption,
    MetricsOption,
    ModeOption,
    PatienceOption,
    PrecisionOption,
    ThreadsOption,
    TransportOption,
)
from mgts_trt.cli.outputs import make_folder
from mgts_trt.cli.recorded import recorded
from mgts_trt.cli.stopping import stopping
from mgts_trt.counts import frames_of, people_of
from mgts_trt.errors import MgtsError
from mgts_trt.urls import without_login

SECRET = "MGTS_WEBHOOK_SECRET"
"""Environment variable of the key that signs what is posted."""

PASSWORD = "MGTS_MQTT_PASSWORD"
"""Environment variable of the password for the MQTT broker."""

OFF = "off"
"""For --state: nothing is kept."""


def watch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Photos, videos, folders of them, patterns, URLs of streams, or @FILE with these, one a line.",
        ),
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
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery", "-g", help="Keep everybody seen in a gallery, as index does; alarms name them there."
        ),
    ] = None,
    gallery_key: GalleryKeyOption = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|off",
            help="What was told is kept here, so that a restart does not tell it again; by default in the gallery's "
            "folder, or the user's for state.",
        ),
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
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="HOST/TOPIC",
            help="Publish alarms, and how cameras are doing: HOST[:PORT]/TOPIC, mqtt://USER@HOST/TOPIC or mqtts://….",
        ),
    ] = None,
    mqtt_password: Annotated[
        Path | None, typer.Option(help=f"File of the password for the MQTT broker; by default ${PASSWORD}.")
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
    rtsp_transport: TransportOption = "tcp",
    patience: PatienceOption = 10.0,
    attempts: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Give a live stream up that brings no frame in N attempts; otherwise never."
        ),
    ] = None,
    metrics: MetricsOption = None,
    bundle: BundleOption = None,
    mode: ModeOption = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    decode: DecodeOption = "auto",
) -> None:
    """Watch photos, videos and streams for people, and raise an alarm when one is seen: a line of JSON each."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.likeness import Likeness, least_cosine
    from mgts_trt.gallery import Gallery, Space
    from mgts_trt.gallery.indexing.camera_metrics import exposed
    from mgts_trt.gallery.indexing.cameras import Cameras
    from mgts_trt.gallery.indexing.reading import LiveOptions
    from mgts_trt.gallery.indexing.sources import find_sources, from_lists
    from mgts_trt.gallery.probe import find_probe, parse_query
    from mgts_trt.gallery.question import Question
    from mgts_trt.gallery.store import stored_mode
    from mgts_trt.gallery.watched import told_beside
    from mgts_trt.runtime.pipeline import PersonSearch
    from mgts_trt.watching.alarm_journal import AlarmJournal
    from mgts_trt.watching.alarms import Alarms, Watched
    from mgts_trt.watching.delivery import Delivery
    from mgts_trt.watching.mqtt import Mqtt
    from mgts_trt.watching.mqtt_address import MqttAddress
    from mgts_trt.watching.watch_sources import watch as run_watch
    from mgts_trt.watching.watch_sources import watch_into
    from mgts_trt.watching.webhook import Webhook

    names = name or wanted
    if len(names) != len(wanted):
        raise MgtsError(f"There are {len(names)} --name for {len(wanted)} --for. Name each of them, or none.")
    if (far is None) == (likeness is None):
        raise MgtsError("From when on is an alarm to be raised? Give one of --far, such as 1e-4, and --likeness.")
    sources = from_lists(sources)
    found = find_sources(sources, camera=camera, camera_pattern=camera_pattern)
    address = MqttAddress.parse(mqtt) if mqtt else None
    key, password = _secret("key", secret, SECRET), _secret("password", mqtt_password, PASSWORD).decode()
    if webhook and not key:
        warn(f"what is posted is not signed. Put a key into ${SECRET}, or name its file with --secret.")
    if crops:
        make_folder(crops)
    opened = Bundle.open(find_bundle(bundle))
    mode = mode or (stored_mode(gallery) if gallery else None)
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
        store = done = None
        if gallery is not None:
            store = stack.enter_context(Gallery.create(gallery, Space.of(opened, search.mode)))
            done = stack.enter_context(
                recorded(store.url, "watch", changes=True, probes=[parse_query(text)[0] for text in wanted])
            )
        try:
            lines = stack.enter_context(json_file.open("a", encoding="utf-8")) if json_file else sys.stdout
        except OSError as error:
            raise MgtsError(
                f"Cannot write {json_file}: {error.strerror}. Name a file in a folder that exists."
            ) from error
        journal = AlarmJournal(_state(state, [*names, *wanted], sources, gallery))
        stack.callback(journal.close)
        deliveries: list[Delivery] = []
        broker = None
        if webhook:
            deliveries.append(Webhook(webhook, key))
        if address:
            broker = Mqtt(address, password, found, on_note=warn)
            deliveries.append(broker)
        cameras = Cameras(broker.camera_changed) if broker else Cameras()
        if store is not None and any(source.kind == "stream" for source in found):
            stack.enter_context(told_beside(store.url, cameras.as_dicts))
        if metrics is not None:
            stack.enter_context(exposed(cameras, metrics))

        def emit(alarm: dict[str, object]) -> None:
            line = json.dumps(alarm)
            print(line, file=lines, flush=True)
            for delivery in deliveries:
                delivery.put(line.encode())

        live = LiveOptions(limit, duration, attempts=attempts, patience=patience, transport=rtsp_transport)
        alarms = Alarms(
            watched,
            likeness,
            journal,
            emit,
            curve=curve,
            cool_down=cool_down,
            crops=crops,
            gallery=None if store is None else without_login(store.url),
            silence=live.silence,
        )
        stop, signals = stack.enter_context(stopping())
        run = run_watch if store is None else partial(watch_into, store)
        try:
            report = run(
                search,
                found,
                alarms,
                every=every,
                decode=decode,
                live=live,
                cameras=cameras,
                stop=stop,
                on_note=warn,
            )
        finally:
            for delivery in deliveries:
                delivery.close()
        if done is not None:
            done.rows = report.people
        for failure in report.failures:
            warn(f"not watched: {failure.error}")
        for delivery in deliveries:
            if delivery.lost:
                alarms_in_all = f"{delivery.lost:,} of {delivery.lost + delivery.delivered:,} alarms"
                warn(f"{alarms_in_all} could not be delivered to {delivery.name}.")
        there = f", {report.skipped:,} were in the gallery already and not searched" * bool(report.skipped)
        seen = f"{frames_of(report.frames)} with {people_of(report.people)} watched{there}"
        typer.echo(f"{seen}, {alarms.raised:,} alarm{'s' * (alarms.raised != 1)}", err=True)
        notice_untrained(opened.manifest)
    if signals:
        raise typer.Exit(128 + signals[0])
    if report.failures and not report.frames + report.skipped:
        raise MgtsError("Nothing was watched: all sources failed, as said above.")


def _state(named: str | None, people: list[str], sources: list[str], gallery: str | None) -> Path | None:
    """The file that keeps what was told; None where none is to."""
    from mgts_trt.watching.state_place import default_state

    if named == OFF:
        return None
    if named is not None:
        return Path(named)
    file = default_state(people, sources, gallery)
    if file is None:
        warn("this user has no folder for state: a restart tells again what was told. Name a file with --state.")
    else:
        typer.echo(f"what is told is kept in {file}, and not told again; --state names another file, or off", err=True)
    return file


def _secret(what: str, file: Path | None, variable: str) -> bytes:
    """A key or password, without the line break at its end; empty if there is none."""
    if file is None:
        return os.environ.get(variable, "").encode()
    try:
        secret = file.read_bytes().strip()
    except OSError as error:
        raise MgtsError(
            f"Cannot read the {what} {file}: {error.strerror}. Check the path and its permissions."
        ) from error
    if not secret:
        raise MgtsError(f"The {what} {file} is empty. Write one into it.")
    return secret
