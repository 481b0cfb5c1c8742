"""Sources that are let in again, at the command line, and what is said of those that stay out."""

from collections.abc import Callable, Sequence

from mgts_trt.cli.console import warn
from mgts_trt.cli.recorded import recorded
from mgts_trt.urls import without_login

STAYS_OUT = "It stays out, and so do copies of its files; `mgts-trt index … --recall SOURCE` lets it in again."


def let_in(url: str, recall: Callable[[str], int], sources: Sequence[str]) -> None:
    """Let sources in that were forgotten, and record it; one that was not forgotten is told.

    Args:
        url: Of the gallery, or of the folder of galleries.
        recall: Lets one in, and returns how often it was kept out.
        sources: As they were named.
    """
    for source in sources:
        with recorded(url, "recall", changes=True, subjects={"source": [without_login(source)]}) as lifting:
            lifting.rows = recall(source)
        if not lifting.rows:
            warn(f"--recall {without_login(source)}: the gallery was not told to forget it.")
