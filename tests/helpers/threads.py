"""The same work in several threads at once."""

import threading
from collections.abc import Callable
from typing import Any


def in_threads(work: Callable[[int], Any], count: int) -> dict[int, Any]:
    """Number → what `work` gave for it, each of `count` in a thread of its own; what failed is missing."""
    answers: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: work(n)})) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
