"""One process at a time changes a bundle."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.machine.locks import locked
from mgts_trt.plans.builder.staging import disk_errors

CONVERTED = "converted models"
"""What is written, for `disk_errors`."""


@contextmanager
def alone(bundle: Bundle, on_note: Callable[[str], None]) -> Iterator[None]:
    """Hold a bundle's lock, which lies in the folder of its plans (made if need be); wait for whoever else holds it.

    Args:
        bundle: An opened bundle; what it is once the lock is held, must be read again.
        on_note: Told, in a sentence, that another process is waited for.

    Raises:
        BuildError: The bundle cannot be written.
    """
    waiting = f"Another process converts {bundle.root}; this one waits for it."
    with ExitStack() as stack:
        with disk_errors(bundle.root, CONVERTED):
            bundle.plans.mkdir(exist_ok=True)
            stack.enter_context(locked(bundle.plans, on_wait=lambda: on_note(waiting)))
        yield
