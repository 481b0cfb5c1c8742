"""`mgts-trt gallery audit`: who did what with a gallery."""

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mgts_trt.cli.console import out, table
from mgts_trt.cli.help import Command, Group
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.errors import AuditError

if TYPE_CHECKING:
    from mgts_trt.access.audit_log import AuditLog, Entry

GalleryArgument = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's folder or URL.")]
audit_app = typer.Typer(cls=Group, no_args_is_help=True, help="Who did what with a gallery: show, verify.")


@audit_app.command(cls=Command)
def verify(
    gallery: GalleryArgument,
    expect: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HASH", help="An entry as it was noted once: nothing before it was changed since."),
    ] = None,
    begins: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="The first entry that is to be there, where old files went.")
    ] = 1,
    json_file: JsonOption = None,
) -> None:
    """Read the whole log, and exit with 1 if an entry was changed or is missing."""
    from mgts_trt.access.audit_check import check_log
    from mgts_trt.gallery.audit_place import audit_log

    report = check_log(audit_log(gallery).folder, begins=begins, expected=_noted(expect))
    if json_file:
        last = report.last and {"number": report.last[0], "hash": report.last[1]}
        told = {"entries": report.entries, "files": report.files, "last": last}
        write_json(json_file, json.dumps({**told, "faults": report.faults, "notes": report.notes}, indent=2))
    for note in report.notes:
        out.print(f"Note: {note}.")
    for fault in report.faults:
        out.print(f"Fault: {fault}.")
    number, digest = report.last or (0, "")
    counted = f"{report.entries:,} entr{'y' if report.entries == 1 else 'ies'} in {report.files:,} file"
    out.print(f"{counted}{'s' * (report.files != 1)}; {'none' if not report.faults else len(report.faults)} at fault")
    out.print(f"Note elsewhere what the log ends with: {number}:{digest}")
    if report.faults:
        raise typer.Exit(1)


@audit_app.command(cls=Command)
def show(
    gallery: GalleryArgument,
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Of a key, or a user of this machine.")] = None,
    what: Annotated[str | None, typer.Option(metavar="WORD", help="search, see crop, index, forget, keys, …")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From 2030-12-31 or 2030-12-31T08:00 on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until then.")] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What was done with this picture, video or stream, as it was named."),
    ] = None,
    person: Annotated[str | None, typer.Option(metavar="ID", help="Who saw this person or sighting.")] = None,
    probe: Annotated[Path | None, typer.Option(metavar="PHOTO", help="Who searched by this photo.")] = None,
    last: Annotated[int | None, typer.Option(metavar="N", min=1, help="The last N of them.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Show what the log has, the oldest first."""
    from mgts_trt.access.audit_check import read_log
    from mgts_trt.gallery.audit_place import audit_log

    log = audit_log(gallery)
    begin, end = _time(since), _time(until)
    photo = None if probe is None else _sha256(probe)

    def wanted(entry: "Entry") -> bool:
        fields = entry.fields
        time = datetime.fromisoformat(str(fields.get("time")))
        return (
            (who is None or fields.get("who", {}).get("name") == who)
            and (what is None or fields.get("what") == what)
            and (begin is None or time >= begin)
            and (end is None or time <= end)
            and (source is None or _has(fields, "source", source, log))
            and (person is None or _has(fields, "person", person, log))
            and (photo is None or photo in fields.get("probes", ()))
        )

    found = [entry for entry in read_log(log.folder) if wanted(entry)]
    found = found[-last:] if last else found
    if json_file:
        write_json(json_file, json.dumps([entry.fields for entry in found], indent=1))
    shown = table(">n", "time", "who", "what", ">rows", "more")
    for entry in found:
        fields = dict(entry.fields)
        by, rows = fields.get("who", {}), fields.get("rows")
        name = " ".join(str(by[key]) for key in ("by", "name", "address") if key in by)
        left = {
            k: v for k, v in fields.items() if k not in ("n", "time", "who", "what", "rows", "before", "hash", "marks")
        }
        more = ", ".join(f"{key} {_short(value)}" for key, value in left.items())
        rows_told = "" if rows is None else f"{rows:,}"
        shown.add_row(f"{entry.number:,}", str(fields["time"]), name, str(fields["what"]), rows_told, more)
    out.print(shown)


def _has(fields: dict[str, Any], kind: str, name: str, log: "AuditLog") -> bool:
    return log.mark(name) in fields.get("marks", {}).get(kind, ())


def _short(value: object) -> str:
    """Hashes are told by their beginnings."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1…", value if isinstance(value, str) else json.dumps(value))


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise AuditError(f"{text[:100]!r} is no time: expected a day or time such as 2030-12-31T08:00.") from error


def _sha256(photo: Path) -> str:
    try:
        return hashlib.sha256(photo.read_bytes()).hexdigest()
    except OSError as error:
        raise AuditError(f"Cannot read {photo}: {error.strerror}. Name the photo that was searched by.") from error


def _noted(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,12}):([0-9a-f]{64})", text)
    if not found:
        raise AuditError(f"{text[:100]!r} is no entry: expected NUMBER:HASH, as audit verify prints it at its end.")
    return int(found[1]), found[2]
