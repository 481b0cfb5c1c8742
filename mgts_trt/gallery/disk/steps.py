"""The steps of writing and erasing, each by a name, so that tests can stop at any of them."""

from collections.abc import Callable


def _go_on(name: str) -> None:
    del name


on_step: Callable[[str], None] = _go_on
"""Called before each step with its name. Whoever proves what kills and full disks leave sets another; it may raise."""


def reached(name: str) -> None:
    """Say that a step comes next."""
    on_step(name)
