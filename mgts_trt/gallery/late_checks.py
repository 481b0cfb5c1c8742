"""LanceDB's import in half the time.

It brings a client of remote databases with hundreds of functions whose arguments pydantic checks. To build these
checks takes as long as all the rest of the import, and a gallery uses none of them.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.RLock()


@contextmanager
def built_when_called() -> Iterator[None]:
    """Functions that are defined meanwhile with `pydantic.validate_call` get their checks at their first call.

    Before pydantic 2.11, which cannot do that, they get them at once.
    """
    pydantic: Any = importlib.import_module("pydantic")
    with _LOCK:  # two at once would put back each other's
        at_once = pydantic.validate_call

        def later(function: Any = None, /, *, config: Any = None, validate_return: bool = False) -> Any:
            return at_once(function, config={**(config or {}), "defer_build": True}, validate_return=validate_return)

        pydantic.validate_call = later
        try:
            yield
        finally:
            pydantic.validate_call = at_once
