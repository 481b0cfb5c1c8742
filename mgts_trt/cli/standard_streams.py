"""Standard output and standard error, whatever they are: a closed pipe, a full disk, an encoding of 128 letters."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from mgts_trt.errors import MgtsError


class OutputError(MgtsError):
    """Standard output that cannot be written."""


class _Stream(io.FileIO):
    """A file descriptor that takes everything once it cannot be written: the work behind it goes on."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._said, self._gone = name, False

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        if self._gone:
            return size
        try:
            return super().write(data)
        except BrokenPipeError:  # the reader has seen enough
            self._gone = True
            return size
        except OSError as error:
            self._gone = True
            raise OutputError(
                f"Cannot write to {self._said}: {error.strerror}. Make room, or send it somewhere else."
            ) from error


@contextmanager
def standard_streams() -> Iterator[Callable[[], None]]:
    """Standard output and error that show what their encoding lacks as `?`, and outlive their reader.

    A reader that closes a pipe (`| head`) neither ends nor fails the command. Streams that a program has put in the
    place of Python's own are left as they are.

    Yields:
        Writes out what is still held back. It raises `OutputError`, as printing does, if standard output cannot be
        written for another reason, such as a full disk.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout = _guarded(sys.stdout, sys.__stdout__, "standard output")
    sys.stderr = _guarded(sys.stderr, sys.__stderr__, "standard error")
    try:
        yield _flush
    finally:
        with suppress(OutputError):
            _flush()
        sys.stdout, sys.stderr = before


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _guarded(stream: TextIO, own: TextIO | None, name: str) -> TextIO:
    if stream is None or stream is not own or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(stream.fileno(), name)),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_closed_descriptors() -> None:
    """Without this, the first file that is opened becomes standard output, and what a C library prints goes there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
