"""TensorRT's builder at work: it tells how far it is, and can be stopped."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mgts_trt.machine.signals import signals_handled
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.listeners import OnProgress


def serialize(
    flavour: Flavour,
    builder: Any,
    network: Any,
    config: Any,
    on_progress: OnProgress | None,
    interrupted: threading.Event,
) -> Any:
    """Run the builder; Ctrl-C and whatever `on_progress` raises cancel it between two steps.

    Args:
        flavour: The installed TensorRT.
        builder: Made by it.
        network: As parsed.
        config: The builder's configuration.
        on_progress: Called often. What it raises cancels the build and is raised again.
        interrupted: Cancels the build once it is set; see `interrupt_as_flag`.

    Returns:
        The plan's bytes; None where TensorRT fails or was cancelled by `interrupted`.
    """
    failure: list[BaseException] = []

    def progress(phase: str, fraction: float) -> None:
        if on_progress is not None and not failure:
            try:
                on_progress(phase, fraction)
            except BaseException as error:
                failure.append(error)

    # The configuration does not keep the monitor alive.
    monitor = flavour.monitor(progress, lambda: bool(failure) or interrupted.is_set())
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if failure:
        raise failure[0]
    return plan


@contextmanager
def interrupt_as_flag() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event: an exception must not travel through TensorRT's C++ out of a callback.

    Python takes signals in the main thread only; in another one there is nothing to do.
    """
    interrupted = threading.Event()
    with signals_handled(lambda number, frame: interrupted.set(), signal.SIGINT):
        yield interrupted
