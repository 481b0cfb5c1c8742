"""What a pipeline is: person search in one mode on one backend."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from mgts_trt._typing import Array
from mgts_trt.runtime.cuda.device import GraphRefusal
from mgts_trt.runtime.people import People
from mgts_trt.runtime.stream import Errors, PeopleStream


class Pipeline(Protocol):
    """What `PersonSearch` hands its calls to, whose docstrings say what each argument is and what each call raises.

    Several threads may call it at once.
    """

    @property
    def graph_refusals(self) -> Mapping[str, GraphRefusal]:
        """See `Runtime.graph_refusals`."""
        ...

    @property
    def memory_plan(self) -> str:
        """See `PersonSearch.memory_plan`."""
        ...

    def search(self, image: Any, *, top: int | None = None, stream: Any = None) -> People:
        """See `PersonSearch.__call__`."""
        ...

    def embed(self, image: Any, boxes: Array, *, stream: Any = None) -> People:
        """See `PersonSearch.embed`."""
        ...

    def batch(self, images: Iterable[Any], *, top: int | None, errors: Errors) -> list[Any]:
        """See `PersonSearch.batch`."""
        ...

    def stream(self, images: Iterable[Any], *, depth: int, top: int | None, errors: Errors) -> PeopleStream[Any]:
        """See `PersonSearch.stream`."""
        ...

    def warm_up(self, depth: int, on_progress: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """See `PersonSearch.warm_up`."""
        ...

    def close(self) -> None:
        """Free what it holds, but not the sessions or engines it was given. Closing twice is harmless.

        Calls afterwards raise `BackendError`.
        """
        ...
