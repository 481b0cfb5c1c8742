"""Signals, heard for as long as a piece of work goes on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def is_ignored(number: int) -> bool:
    """Whether this process lets a signal pass: after `nohup` SIGHUP, SIGINT in the background of a script.

    Who starts a process so wants it to outlive that signal; a handler would undo it.
    """
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def signals_handled(handler: Callable[[int, FrameType | None], Any], *numbers: int) -> Iterator[None]:
    """Handle signals; what handled them before does so again afterwards.

    Ignored signals stay ignored. A handler that is not Python's stays, too: Python could not put it back. In other
    threads than the main one, where Python takes no signals, nothing is handled.

    Args:
        handler: Called in the main thread with the signal's number and the frame it interrupts.
        numbers: Of the signals.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not None and not is_ignored(n)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
