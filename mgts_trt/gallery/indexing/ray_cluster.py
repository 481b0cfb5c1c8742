"""A Ray cluster for one job: one of our own on this machine, or one that is there; without Ray's own output."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mgts_trt.errors import ClusterError
from mgts_trt.machine.cpu import available_cores

ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Set by `ray job submit` for what it runs."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Nothing of what nodes and workers print, not even that one died: Ray prints tracebacks of its own then.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # Ray would run workers at niceness 15; how nice they are is for whoever starts them to say.
    "RAY_worker_niceness": "0",
    # Otherwise Ray warns that it will change how it hides GPUs from those who asked for none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_STORE = 100 * 2**20
"""Bytes of shared memory for a cluster of our own: all that goes through it are lists of names and reports."""


def import_ray() -> Any:
    """Ray with Ray Data, which reports nothing to its makers.

    Raises:
        ClusterError: It is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(
            f"Several workers need the package ray, which is not installed ({error}): pip install 'mgts-trt[ray]'"
        ) from error
    return ray


@contextmanager
def connected(address: str | None, *, workers: int, threads: int | None, gpus: float) -> Iterator[int]:
    """Connect to a cluster, or start one on this machine, which is gone afterwards.

    An application that is connected already stays so, and its cluster is used.

    Args:
        address: `auto` for the cluster this machine is part of, HOST:PORT for another; by default `$RAY_ADDRESS`, or
            one of our own.
        workers: How many there will be.
        threads: CPU cores of each; by default as many as all can have alike.
        gpus: GPUs of each.

    Yields:
        Cores of each worker.

    Raises:
        ClusterError: There is none, or it has no room for a single worker.
    """
    address = address or os.environ.get(ADDRESS_VARIABLE) or "local"
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} is an address for Ray Client, which loses the work when the connection breaks. Run the command "
            "on a node of the cluster with --ray-address auto, or through `ray job submit`."
        )
    ray = import_ray()
    ours = not ray.is_initialized()
    with _quiet():
        try:
            if ours:
                if address == "local":
                    threads = threads or max(1, available_cores() // workers)
                _start(ray, address, workers * (threads or 1))
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            yield _cores(nodes, workers, threads, gpus)
        finally:
            if ours:
                ray.shutdown()


def _start(ray: Any, address: str, cores: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL, "include_dashboard": False}
    try:
        with _own_signals(), _no_stderr():
            if address == "local":
                ray.init("local", num_cpus=cores, object_store_memory=_STORE, **quiet)
            else:
                del quiet["include_dashboard"]
                ray.init(address, **quiet)
    except Exception as error:  # of many kinds, over versions of Ray
        what = "start Ray on this machine" if address == "local" else f"connect to a Ray cluster at {address}"
        told = " ".join(str(error).split())[:300]
        raise ClusterError(
            f"Cannot {what}: {told}. Check that `ray status` finds it, and that Python and Ray have the same versions "
            "there as here."
        ) from error


def _cores(nodes: Sequence[Mapping[str, float]], workers: int, threads: int | None, gpus: float) -> int:
    """Cores a worker gets: those asked for, or the most that leaves room for all workers."""

    def room(cores: int) -> int:
        places = 0
        for node in nodes:
            by_gpu = node.get("GPU", 0) / gpus if gpus else float("inf")
            places += int(min(node.get("CPU", 0) / cores, by_gpu))
        return places

    if threads is None:
        most = int(max((node.get("CPU", 0) for node in nodes), default=1))
        threads = next((cores for cores in range(most, 1, -1) if room(cores) >= workers), 1)
    if not room(threads):
        needed = f"{threads} cores" + (f" and {gpus:g} GPUs" if gpus else "")
        largest = max((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes) if nodes else (0, 0)
        raise ClusterError(
            f"A worker needs {needed}, but no node of the cluster has them: the largest of {len(nodes)} has "
            f"{largest[0]:g} cores and {largest[1]:g} GPUs. Ask for less with --threads or --gpus-per-worker, or add "
            "such a node."
        )
    return threads


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it starts; whoever had it keeps it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """While Ray's own code, which is not Python's, says which log level it took from the environment."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's logs, bars and warnings from the terminal; what matters of them is raised."""
    context = import_ray().data.DataContext.get_current()
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    names = ("enable_progress_bars", "print_on_execution_start")
    before = {name: getattr(context, name) for name in names if hasattr(context, name)}
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        for name in before:
            setattr(context, name, False)
        with warnings.catch_warnings():
            # Ray starts its processes by fork and exec: nothing of LanceDB runs between.
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
