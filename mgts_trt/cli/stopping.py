"""Ctrl-C and SIGTERM, where a command ends what it does instead of breaking it off."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mgts_trt.machine.signals import signals_handled


@contextmanager
def stopping(*, alone: bool = True) -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that Ctrl-C and SIGTERM set, and which of them did; a second one breaks off at once.

    Args:
        alone: Whether this process has no workers, which would outlive it.
    """
    stop, signals = threading.Event(), list[int]()

    def on_signal(number: int, _: object) -> None:
        if signals and not alone:
            raise KeyboardInterrupt
        if signals:
            # At once: not before a camera that says nothing has been waited for.
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the cursor, which the progress bar hid
            os._exit(128 + number)
        signals.append(number)
        stop.set()

    with signals_handled(on_signal, signal.SIGINT, signal.SIGTERM):
        yield stop, signals
