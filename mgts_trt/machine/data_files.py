"""JSON and TOML files that others may have written: read within bounds, and digested by what they say."""

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 256 * 2**20
"""Bytes of the largest file that is read; a manifest has some thousand."""


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    It reads what the standard library reads, and nothing beyond JSON (`NaN`, lone surrogates). What that module answers
    with another exception (brackets too deep, numbers too long) is a `ValueError` here, like every other fault.

    Args:
        path: A file, not a pipe or a device: those may never end.

    Raises:
        OSError: It cannot be opened or read, or is no file; `strerror` says why.
        ValueError: It is no JSON; the message is a clause without a full stop.
    """
    with _faults_in_a_clause():
        data = json.loads(_read(path).decode(), parse_constant=_refuse)
        json.dumps(data, ensure_ascii=False).encode()  # a lone surrogate is no text: it cannot be printed
    return data


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Args:
        path: See `read_json`.

    Raises:
        OSError: It cannot be opened or read, or is no file; `strerror` says why.
        ValueError: It is no TOML; the message is a clause without a full stop.
    """
    with _faults_in_a_clause():
        return tomllib.loads(_read(path).decode())


def json_sha256(data: Any) -> str:
    """SHA-256, in hexadecimal, of what JSON says: layout and the order of keys do not count.

    Args:
        data: What `json.dumps` takes.
    """
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def _faults_in_a_clause() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise ValueError("its brackets stand too deep inside each other") from None
    except UnicodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} in line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's words advise to call a function
            raise ValueError("it holds a number of thousands of digits") from None
        raise


def _read(path: Path) -> bytes:
    # Without O_NONBLOCK, to open a pipe is to wait for who writes it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "It is a pipe or a device, not a file", str(path))
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"It is larger than {LARGEST >> 20} MiB", str(path))
    return data


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
