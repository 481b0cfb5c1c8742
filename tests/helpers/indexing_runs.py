"""`index` in processes of their own, which a test may kill at any moment.

They are forked from one that has imported the packages: that takes several times what they then do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from mgts_trt import PersonSearch
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.index import IndexReport, index
from mgts_trt.gallery.indexing.reading import LiveOptions
from mgts_trt.gallery.indexing.sources import find_sources

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["mgts_trt.gallery.indexing.index", "onnx", "onnxruntime", "lancedb", "pyarrow.dataset"])


class IndexingRun:
    """A process that indexes."""

    def __init__(self, process, told: Connection) -> None:
        self.process, self._told = process, told

    def read(self, reports: int) -> int:
        """Wait until it has told so often of pictures searched, or has ended; how often it did."""
        for told in range(reports):
            try:
                self._told.recv_bytes()
            except EOFError:
                return told
        return reports

    def end(self) -> int | None:
        """Wait for it; the exit code."""
        while self.read(1):
            pass
        self.process.join()
        return self.process.exitcode

    def kill(self) -> int | None:
        """SIGKILL, and the exit code: -9, unless it had ended."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode


@contextmanager
def indexing(bundle: Path, source: Path | str, gallery: Path, silence: float | None = None) -> Iterator[IndexingRun]:
    """Index in mode `none`, into a gallery that is made if need be; what runs at the end of the block is killed.

    Args:
        bundle: Whose networks.
        source: A folder, or a stream's URL.
        gallery: Where the gallery lies.
        silence: Of a stream, the seconds that end a sighting.
    """
    told, tells = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_index, args=(tells, bundle, str(source), gallery, silence))
    process.start()
    tells.close()
    try:
        with told:
            yield IndexingRun(process, told)
    finally:
        process.kill()
        process.join()


def _index(tells: Connection, bundle: Path, source: str, gallery: Path, silence: float | None) -> None:
    live = LiveOptions(silence=silence) if silence else None
    frames = 0

    def tell(report: IndexReport) -> None:
        nonlocal frames
        if report.frames > frames:
            tells.send_bytes(b".")
        frames = report.frames

    with (
        PersonSearch.open(bundle, mode="none", threads=1) as search,
        Gallery.create(gallery, Space.of(search.bundle, "none")) as store,
    ):
        index(search, find_sources([source]), store, batch=4, latency=0.05, live=live, on_progress=tell)
