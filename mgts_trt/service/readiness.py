"""Whether the service is ready: its pipeline has warmed up."""

import logging
from collections.abc import Callable

from mgts_trt.errors import MgtsError
from mgts_trt.runtime.pipeline import PersonSearch

logger = logging.getLogger("mgts_trt.service")


class Readiness:
    """How far the warm-up is. One thread warms up, any may ask."""

    def __init__(self) -> None:
        self._why_not = "The pipeline has not begun to warm up. Ask again in a second."

    @property
    def why_not(self) -> str:
        """Why the service is not ready, in a sentence without the server's insides; empty once it is."""
        return self._why_not

    def warm_up(self, search: PersonSearch, depth: int, stop: Callable[[], bool]) -> None:
        """Warm a pipeline up; see `PersonSearch.warm_up`. What fails is logged, and the service never ready."""

        def told(done: int, total: int) -> None:
            self._why_not = f"The pipeline is warming up: {done} of {total} steps are done. Ask again in a second."

        try:
            search.warm_up(depth=depth, on_progress=told, stop=stop)
        except MgtsError as error:
            logger.error("Warming up failed, so the service is not ready: %s", error)
            self._why_not = "The pipeline could not be warmed up. The service's log says why."
        except Exception:  # a defect, which must not end the thread that searches
            logger.exception("Warming up failed, so the service is not ready.")
            self._why_not = "The pipeline could not be warmed up. The service's log says why."
        else:
            self._why_not = "The service is shutting down." if stop() else ""
