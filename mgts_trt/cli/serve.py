"""`mgts-trt serve`: the service on the command line."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, warn
from mgts_trt.cli.keep_times import apply_policy
from mgts_trt.cli.keys import KEYS_VARIABLE
from mgts_trt.cli.options import (
    BackendOption,
    BundleOption,
    FlavourOption,
    GalleryKeyOption,
    InFlightOption,
    MaxPeopleOption,
    PrecisionOption,
    ThreadsOption,
)
from mgts_trt.errors import AuditError, MgtsError
from mgts_trt.machine.repeating import repeating
from mgts_trt.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from mgts_trt.access.audit_log import AuditLog
    from mgts_trt.access.key_file import StoredKey
    from mgts_trt.access.key_ring import KeyRing
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.gallery import Gallery

KEY_VARIABLE = "MGTS_API_KEY"


def serve(
    bundle: BundleOption = None,
    gallery: Annotated[
        str | None, typer.Option(help="Folder or URL of the gallery; made if it is not there.", metavar="DIR")
    ] = None,
    gallery_key: GalleryKeyOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; one that others reach needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535)] = 8000,
    mode: Annotated[
        Mode | None,
        typer.Option(help="none, net, box or joint; by default the gallery's, or net if the bundle has it."),
    ] = None,
    backend: BackendOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    max_people: MaxPeopleOption = None,
    pictures_in_flight: InFlightOption = None,
    key_file: Annotated[
        Path | None, typer.Option(help=f"File with the key that requests need; by default ${KEY_VARIABLE}, if set.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar=KEYS_VARIABLE, help="Keys with roles: see mgts-trt keys.")
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a proxy before the service: its X-Forwarded-For tells who asks."),
    ] = None,
    max_mib: Annotated[int, typer.Option(help="Largest request, MiB.", min=1)] = 20,
    max_megapixels: Annotated[int, typer.Option(help="Largest picture.", min=1, max=170)] = 50,
    max_files: Annotated[int, typer.Option(help="Most pictures in one request.", min=1, max=1000)] = 64,
    queue: Annotated[int, typer.Option(help="Requests that may wait; the next one gets 429.", min=1)] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds a request may take.", min=1)] = 30,
) -> None:
    """Serve detection, search and indexing over HTTP, with a page at /."""
    try:
        from mgts_trt.service.core import Service
        from mgts_trt.service.limits import MIB, Limits
        from mgts_trt.service.server import is_loopback, listen
        from mgts_trt.service.server import serve as run
        from mgts_trt.service.uploads import require_place
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mgts_trt"):
            raise
        raise MgtsError(
            f"The service needs the package {error.name}, which is not installed: pip install 'mgts-trt[serve]'"
        ) from error
    from mgts_trt.access.key_ring import KeyRing
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.pictures.bounded import MEGAPIXEL
    from mgts_trt.runtime.pipeline import PersonSearch

    require_place()
    key = _find_key(key_file)
    ring = None if key is None and keys is None else KeyRing(key, keys)
    if ring is None and not is_loopback(host):
        raise MgtsError(
            f"Whoever reaches {host} could use the service, and no key guards it. Make keys with mgts-trt keys add and "
            f"name their file with --keys, or put one into a file and name it with --key-file, or into {KEY_VARIABLE}; "
            "or leave out --host to serve this machine alone."
        )
    opened = Bundle.open(find_bundle(bundle))
    stored, chosen = _open_gallery(opened, gallery, mode)
    limits = Limits(max_mib * MIB, max_megapixels * MEGAPIXEL, max_files, queue, timeout)
    try:
        with (
            listen(host, port) as listener,
            PersonSearch(
                opened,
                mode=chosen,
                backend=backend,
                precision=precision,
                threads=threads,
                max_people=max_people,
                pictures_in_flight=pictures_in_flight,
                batch_size=None,  # as many as plans are built for; one on the CPU, where more are no faster
            ) as search,
        ):
            audit = None if stored is None else _open_audit(stored.url, ring)
            service = Service(search, stored, limits=limits, key_needed=ring is not None, audit=audit)
            name = f"[{host}]" if ":" in host else host
            out.print(
                f"Serving on http://{name}:{listener.getsockname()[1]}/ (mode {chosen}, {search.runtime.backend} on "
                f"{search.runtime.device}); end it with Ctrl-C."
            )
            notice_untrained(opened.manifest)
            traces = _open_traces()
            tracer = None if traces is None else traces.get_tracer("mgts_trt", __version__)
            try:
                with nullcontext() if stored is None else repeating(partial(apply_policy, stored), _DAY, "expire"):
                    run(service, listener, keys=ring, proxy=proxy, tracer=tracer)
            finally:
                service.close()
                if traces is not None:
                    traces.shutdown()
    finally:
        if stored is not None:
            stored.close()


_DAY = 86_400.0


def _open_traces() -> "TracerProvider | None":
    """What traces requests, if OpenTelemetry's variables ask for it; they may be meant for others, and end nothing."""
    from mgts_trt.service.tracing import open_traces

    try:
        return open_traces()
    except MgtsError as error:
        warn(f"requests are not traced: {error}")
        return None


def _find_key(path: Path | None) -> str | None:
    """The key of a file, else of the environment; None if there is none.

    Raises:
        MgtsError: The file cannot be read, or the key is empty, nothing a header can hold, or can be guessed.
    """
    from mgts_trt.access.strength import weakness

    if path is None:
        text, place = os.environ.get(KEY_VARIABLE), f"${KEY_VARIABLE}"
        if text is None:
            return None
    else:
        try:
            text, place = path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise MgtsError(f"Cannot read the key from {path}: {error}. Name a text file that holds it.") from error
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise MgtsError(
            f"The key in {place} is empty or holds more than printable ASCII characters. "
            "Make one with: openssl rand -hex 32"
        )
    if why := weakness(key):
        raise MgtsError(f"The key in {place} {why}. Make one with: openssl rand -hex 32")
    if path is not None and path.stat().st_mode & 0o077:
        warn(f"others on this machine may read the key in {path}; keep them out with: chmod 600 {path}")
    return key


def _open_audit(url: str, ring: "KeyRing | None") -> "AuditLog":
    """The gallery's log, with the beginning of the service in it, and from now on each change of its keys.

    Raises:
        AuditError: It cannot be written.
    """
    from mgts_trt.gallery.audit_place import audit_log, this_user

    log = audit_log(url)

    def told(keys: "Sequence[StoredKey]") -> dict[str, list[str]]:
        return {key.name: list(key.roles) for key in keys}

    def changed(keys: "Sequence[StoredKey]") -> None:
        try:
            log.record({"by": "service"}, "keys", keys=told(keys), sync=True)
        except AuditError as error:
            warn(str(error))  # and requests are refused until it can be written again

    log.record(this_user(), "serve", keys=None if ring is None else told(ring.keys), sync=True)
    if ring is not None:
        ring.on_change = changed
    return log


def _open_gallery(bundle: "Bundle", url: str | None, mode: Mode | None) -> "tuple[Gallery | None, Mode]":
    """The gallery, and the mode to serve in: the gallery's own, unless it is to be made."""
    from mgts_trt.runtime.modes import default_mode

    if url is None:
        return None, mode or default_mode(bundle)
    from mgts_trt.access.master_key import key_is_named
    from mgts_trt.gallery import Gallery, Space
    from mgts_trt.gallery.store import stored_mode

    chosen = mode or stored_mode(url) or default_mode(bundle)
    stored = Gallery.create(url, Space.of(bundle, chosen))
    if stored.encryption and not key_is_named():
        warn(
            "the gallery's pictures are encrypted, and no key was given: people are found, and neither shown nor "
            "added. Name the key's file with --gallery-key."
        )
    return stored, chosen
