"""Indexing by many workers, on one machine or a cluster: the same work in a Ray Data job."""

import math
import os
import pickle
import platform
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mgts_trt.choices import Backend, DecodeChoice, Mode
from mgts_trt.errors import BackendError, GalleryError, MgtsError, SourceError
from mgts_trt.gallery.commits import OPTIMISE_EVERY
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.index import IndexReport, index
from mgts_trt.gallery.indexing.ray_cluster import connected, import_ray
from mgts_trt.gallery.indexing.reading import Failure, count_expected
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.store import Gallery
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.urls import masked

_CPU_TASK, _GPU_TASK = 16, 256
"""Most pictures a worker is handed at once: some seconds of work. Each task ends with a commit."""

_DEATHS = 3
"""Workers that may die on a source before it is given up."""


@dataclass(frozen=True)
class _Job:
    """What every worker needs to know."""

    bundle: str
    gallery: str = field(repr=False)
    mode: Mode
    backend: Backend
    precision: str
    threads: int
    every: int
    thumbnails: bool
    batch_size: int | None = None
    gpu: bool = False
    """Whether it has a GPU, and must use it whatever `backend` is chosen."""
    decode: DecodeChoice = "auto"


def index_with_ray(
    bundle: str | os.PathLike[str],
    sources: Sequence[Source],
    gallery: Gallery,
    *,
    workers: int,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    threads: int | None = None,
    backend: Backend = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    every: int = 1,
    decode: DecodeChoice = "auto",
    thumbnails: bool = True,
    stop: threading.Event | None = None,
    on_progress: Callable[[IndexReport], None] = lambda _: None,
) -> IndexReport:
    """Do what `indexing.index` does with many pipelines at once, and leave the same gallery behind.

    Each worker is a process with a pipeline of its own, which reads, searches and writes some pictures at a time, or
    one video. A worker that dies is replaced, and its task done again but for what it had stored. A picture that
    kills its worker every time costs itself alone.

    Example:
        ```python
        with Gallery.create("s3://bucket/gallery", Space.of(Bundle.open("bundle"), "box")) as gallery:
            report = index_with_ray("bundle", find_sources(["s3://bucket/photos/"]), gallery, workers=8, address="auto")
        ```

    Args:
        bundle: The bundle's folder, which every node has in the same place.
        sources: Pictures and videos, which every node can read.
        gallery: Where every node can write; its mode is the one searched in.
        workers: How many.
        address: See `ray_cluster.connected`.
        gpus_per_worker: GPUs of each; with 0 they run on the CPU. Half a GPU is 0.5.
        threads: CPU cores of each; by default as many as all can have alike.
        backend: `auto` takes TensorRT or ONNX Runtime's CUDA provider with GPUs, and fails where neither runs; without
            GPUs it takes ONNX Runtime on the CPU.
        precision: Of the models.
        batch_size: See `PersonSearch.open`, of each worker.
        every: Of videos, every n-th frame is taken.
        decode: What decodes videos and live streams, see `choose_decoders`.
        thumbnails: Whether to keep a small picture of each person.
        stop: When set, workers are ended; what they had not yet written is done next time.
        on_progress: Called after each task, with the report so far.

    Returns:
        What was done. What a worker had stored before it died counts as skipped.

    Raises:
        ClusterError: See `ray_cluster.connected`.
        SourceError: There is a live stream among the sources.
        GalleryError: A worker cannot read or write the gallery, or has a bundle of another space.
        BundleError: A worker cannot read the bundle.
        BackendError: A worker's backend cannot run or fails, or Ray fails.
    """
    _check(sources, workers, gpus_per_worker)
    start, stop = time.monotonic(), stop or threading.Event()
    total = IndexReport(expected=count_expected(sources, every))
    on_progress(total)
    with connected(address, workers=workers, threads=threads, gpus=gpus_per_worker) as cores:
        job = _Job(
            bundle=os.path.abspath(bundle),
            gallery=gallery.url,
            mode=gallery.space.mode,
            backend="onnxruntime" if backend == "auto" and not gpus_per_worker else backend,
            precision=precision,
            batch_size=batch_size,
            threads=cores,
            every=every,
            decode=decode,
            thumbnails=thumbnails,
            gpu=backend == "auto" and gpus_per_worker > 0,
        )

        size = _GPU_TASK if gpus_per_worker else _CPU_TASK
        for i, part in enumerate(_run(job, _tasks(sources, workers, size), workers, gpus_per_worker, stop), 1):
            _add(total, part)
            total.seconds = time.monotonic() - start
            on_progress(total)
            if not i % OPTIMISE_EVERY:
                gallery.optimise()
        if total.frames and not stop.is_set():
            gallery.optimise()
    return replace(total, seconds=time.monotonic() - start, interrupted=stop.is_set())


class _Ledger:
    """How often a task or source was begun and not ended; in an actor of its own it outlives the workers."""

    def __init__(self) -> None:
        self._begun = Counter[str]()

    def begin(self, name: str) -> int:
        """Which attempt this is."""
        self._begun[name] += 1
        return self._begun[name]

    def end(self, name: str) -> None:
        """Attempts so far do not count."""
        del self._begun[name]


class _SharedLedger(_Ledger):
    """The one in the actor, as workers have it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, name: str) -> int:
        import ray

        return int(ray.get(self._actor.begin.remote(name)))

    def end(self, name: str) -> None:
        import ray

        ray.get(self._actor.end.remote(name))


class _Worker:
    """An actor with a pipeline and the gallery. Errors are returned: Ray would wrap them, and try again."""

    def __init__(self, job: _Job, ledger: _Ledger) -> None:
        self._job, self._ledger = job, ledger
        self._error: MgtsError | None = None
        try:
            self._search = PersonSearch.open(
                job.bundle,
                mode=job.mode,
                backend=job.backend,
                precision=job.precision,
                threads=job.threads,
                batch_size=job.batch_size,
            )
            if job.gpu:
                _require_gpu(self._search)
            self._gallery = Gallery.open(job.gallery)
        except MgtsError as error:
            self._error = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """From a task's number and sources to its report, or to what makes going on pointless."""
        try:
            outcome = self._error or self._work(f"task {row['task']}", pickle.loads(row["sources"]))
        except MgtsError as error:
            outcome = error
        except Exception as error:
            outcome = BackendError(
                f"A worker on {platform.node()} failed with {type(error).__name__}: {error}. This is a defect of "
                "mgts-trt: run the command again with --debug, and report what it prints."
            )
            if sys.version_info >= (3, 11):  # before, errors carry no notes
                outcome.add_note(masked("".join(traceback.format_exception(error))))
        return {"outcome": pickle.dumps(outcome)}

    def _work(self, task: str, sources: Sequence[Source]) -> IndexReport:
        if self._ledger.begin(task) == 1:
            return self._index(sources)
        # A worker died on this task: one by one, so that a source that kills is told from the others.
        report = IndexReport()
        for source in sources:
            if self._ledger.begin(source.location) > _DEATHS:
                report.failures.append(_deadly(source))
                continue
            _add(report, self._index([source]))
            self._ledger.end(source.location)
        return report

    def _index(self, sources: Sequence[Source]) -> IndexReport:
        return index(
            self._search,
            sources,
            self._gallery,
            every=self._job.every,
            decode=self._job.decode,
            thumbnails=self._job.thumbnails,
            latency=math.inf,
            optimise=False,
        )


def _require_gpu(search: PersonSearch) -> None:
    """Refuse a worker that was given a GPU and found it of no use: on the CPU it would be slow, and nobody told why."""
    if search.runtime.backend == "onnxruntime":
        search.close()
        raise BackendError(
            f"A worker on {platform.node()} has a GPU and cannot use it: {search.runtime.reason} Mend that, or "
            "leave out --gpus-per-worker to index on CPUs."
        )


def _run(
    job: _Job, tasks: Sequence[Sequence[Source]], workers: int, gpus: float, stop: threading.Event
) -> Iterator[IndexReport]:
    """The reports of tasks as they are done, in any order; it ends early when stopped."""
    if not tasks:
        return
    ray = import_ray()
    rows = [{"task": number, "sources": pickle.dumps(list(task))} for number, task in enumerate(tasks)]
    ledger = _SharedLedger(ray.remote(_Ledger).options(num_cpus=0).remote())
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(job, ledger),
        # One task at work and one waiting: none is idle, and the last tasks are not queued behind one worker.
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows)), max_tasks_in_flight_per_actor=2),
        num_cpus=job.threads,
        num_gpus=gpus,
    )
    channel = Channel[IndexReport | MgtsError](2 * workers, stop)
    failed: list[Exception] = []

    def follow() -> None:
        try:
            for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                if not all(channel.put(pickle.loads(value.as_py())) for value in batch["outcome"]):
                    return
        except Exception as error:  # of many kinds, over versions of Ray
            failed.append(error)
        finally:
            channel.close()

    # Ray's iterator cannot be interrupted; so it is followed by a thread, which ends with the connection.
    threading.Thread(target=follow, name="ray", daemon=True).start()
    try:
        for outcome in channel:
            if isinstance(outcome, MgtsError):
                raise outcome
            yield outcome
    finally:
        channel.close()
    if failed and not stop.is_set():
        raise BackendError(
            f"The workers cannot run: {_innermost(failed[0])}. Check that every node has mgts-trt in this version, "
            "with the same Python and Ray."
        ) from failed[0]


def _innermost(error: BaseException) -> str:
    """What Ray wrapped, in a line: the deepest error that says anything."""
    told = ""
    deeper: BaseException | None = error
    while deeper is not None:
        # A remote error's text is its whole traceback, and ends with what matters.
        if lines := str(deeper).strip().splitlines():
            told = f"{type(deeper).__name__}: {lines[-1].strip()}"
        deeper = getattr(deeper, "cause", None) or deeper.__cause__
    return told.rstrip(".")


def _check(sources: Sequence[Source], workers: int, gpus: float) -> None:
    if workers < 1:
        raise GalleryError(f"{workers} workers were asked for; expected 1 or more.")
    if gpus < 0:
        raise GalleryError(f"{gpus:g} GPUs a worker were asked for; expected 0 or more.")
    for source in sources:
        if source.kind == "stream":
            raise SourceError(
                f"{source.name} is a live stream, which workers cannot share. Index it without --workers, with a "
                "command for each stream."
            )


def _tasks(sources: Iterable[Source], workers: int, most: int) -> list[list[Source]]:
    """Each video alone; of the pictures some, in order, and so many that all workers have several."""
    videos = [[source] for source in sources if source.kind == "video"]
    pictures = [source for source in sources if source.kind == "picture"]
    size = min(most, max(1, len(pictures) // (8 * workers)))
    # Videos take longest: they go first.
    return videos + [pictures[i : i + size] for i in range(0, len(pictures), size)]


def _add(total: IndexReport, part: IndexReport) -> None:
    total.frames += part.frames
    total.people += part.people
    total.skipped += part.skipped
    total.corrected += part.corrected
    total.left_out += part.left_out
    total.failures += part.failures
    total.damaged += part.damaged


def _deadly(source: Source) -> Failure:
    return Failure(
        source.name,
        SourceError(
            f"{source.name} ended {_DEATHS} workers that read it: it makes them crash, or take more memory than a node "
            "has. Look at it alone, with `mgts-trt detect`."
        ),
    )
