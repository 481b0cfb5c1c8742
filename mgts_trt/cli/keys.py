"""`mgts-trt keys`: who may use a service, and for what."""

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import err, out, table
from mgts_trt.cli.help import Command, Group
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.errors import AccessError

if TYPE_CHECKING:
    from mgts_trt.access.key_file import Role

KEYS_VARIABLE = "MGTS_KEYS"
KeysOption = Annotated[
    Path, typer.Option("--keys", metavar="FILE", envvar=KEYS_VARIABLE, help="The file of keys, as serve takes it.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whom the key is for.")]

keys_app = typer.Typer(cls=Group, no_args_is_help=True, help="Keys of a service, with roles: add, list, revoke.")

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


@keys_app.command(
    cls=Command, epilog="Example: mgts-trt keys add reception --role search --expires 30d --keys keys.json"
)
def add(
    name: NameArgument,
    keys: KeysOption,
    role: Annotated[
        list[str], typer.Option(help="search (find and look), index (add), forget (erase) or admin (all); repeatable.")
    ],
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="After 90m, 12h, 30d or 8w; or on a day, such as 2030-12-31.")
    ] = None,
) -> None:
    """Make a key, and print it: it is shown this once, and its hash alone is kept."""
    from mgts_trt.access.key_file import add_key

    end = None if expires is None else parse_expiry(expires, time.time())
    key = add_key(keys, name, [_role(each) for each in role], expires=end)
    typer.echo(key)
    err.print(f"This is the key of {name}. It is not shown again: keep it, or hand it on, now.")


@keys_app.command("list", cls=Command)
def list_keys(keys: KeysOption, json_file: JsonOption = None) -> None:
    """Show whose keys there are, and what they are for."""
    from mgts_trt.access.key_file import read_keys

    found, now = read_keys(keys), time.time()
    if json_file:
        shown_of = [
            {"name": each.name, "roles": each.roles, "made": each.made, "expires": each.expires,
             "expired": each.expired(now)}
            for each in found
        ]  # fmt: skip
        write_json(json_file, json.dumps({"keys": shown_of}, indent=2))
    shown = table("name", "roles", "made", "expires")
    for each in found:
        end = "never" if each.expires is None else _day(each.expires) + " (expired)" * each.expired(now)
        shown.add_row(each.name, ", ".join(each.roles), _day(each.made), end)
    out.print(shown)


@keys_app.command(cls=Command)
def revoke(name: NameArgument, keys: KeysOption) -> None:
    """End a key, also for services that run: they look at the file with each request."""
    from mgts_trt.access.key_file import revoke_key

    revoke_key(keys, name)
    out.print(f"The key of {name} is none any more")


def parse_expiry(text: str, now: float) -> float:
    """When a key expires, in seconds since 1970.

    Args:
        text: `30d` and the like, from now on; or a day or time as ISO 8601 has it, of this machine's time zone.
        now: Seconds since 1970.

    Raises:
        AccessError: It is neither, or has passed.
    """
    if span := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        when = now + int(span[1]) * _SECONDS[span[2]]
    else:
        try:
            when = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError) as error:
            raise AccessError(
                f"{text[:100]!r} says not when a key expires: expected 90m, 12h, 30d, 8w or a day such as 2030-12-31."
            ) from error
    if when <= now:
        raise AccessError(f"{text} has passed: a key is to expire later than now.")
    return when


def _role(text: str) -> "Role":
    from mgts_trt.access.key_file import ROLES

    for role in ROLES:
        if text == role:
            return role
    raise AccessError(f"There is no role {text[:100]!r}. Roles are: {', '.join(ROLES)}.")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
