"""Something done again and again beside other work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def repeating(write: Callable[[], None], seconds: float, name: str) -> Iterator[None]:
    """Write something at once, then every so many seconds in a thread, and once more at the end of the block.

    Args:
        write: An `OSError` of it, such as a full disk, costs one writing and never the run.
        seconds: Between two writings.
        name: Of the thread.
    """
    with suppress(OSError):
        write()
    ended = threading.Event()

    def run() -> None:
        while True:
            last = ended.wait(seconds)
            with suppress(OSError):
                write()
            if last:
                return

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
