"""What has been read already is searched together."""

import threading
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.gallery import Gallery
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.reading import Picture
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.camera_scenes import write_scenes, write_video
from tests.helpers.stored_people import content

pytest.importorskip("lancedb")


def test_pictures_together_leave_the_same_gallery(
    search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch
) -> None:
    write_scenes(tmp_path / "in", range(9))
    (tmp_path / "in" / "0001_broken.jpg").write_bytes(b"\xff\xd8 none")
    write_video(tmp_path / "in" / "v.avi", range(20, 25))
    sources = find_sources([str(tmp_path / "in")], camera="3")
    alone = index(search, sources, gallery)
    sizes, read, put = [], threading.Semaphore(0), Channel.put

    def counting_put(channel: Channel, item: object, **options: bool) -> bool:
        went_in = put(channel, item, **options)
        if isinstance(item, Picture):
            read.release()
        return went_in

    def once_some_are_read(done: int, total: int) -> None:
        if done == total:
            for _ in range(4):  # the first, and three that are ready behind it
                assert read.acquire(timeout=60)

    monkeypatch.setattr(Channel, "put", counting_put)
    with (
        PersonSearch(search.bundle, mode="none", threads=1, batch_size=3) as together,
        Gallery.create(tmp_path / "together", gallery.space) as other,
    ):
        detector = together._pipeline._sessions["detector"]  # type: ignore[attr-defined]
        run = detector.run
        monkeypatch.setattr(detector, "run", lambda inputs: sizes.append(len(inputs["image"])) or run(inputs))
        report = index(together, sources, other, on_warm_up=once_some_are_read)
        assert (report.frames, report.people) == (alone.frames, alone.people) == (14, report.people)
        assert [Path(failure.source).name for failure in report.failures] == ["0001_broken.jpg"]
        assert (sizes[:2], sum(sizes), max(sizes)) == ([1, 3], 15, 3), "the warm-up, and then together"
        got, wanted = content(other), content(gallery)
        np.testing.assert_allclose(*(_embeddings(rows) for rows in (got, wanted)), atol=1e-6)
        assert [row[:6] for row in got] == [row[:6] for row in wanted]
        assert index(together, sources, other).skipped == 14
    with PersonSearch(search.bundle, mode="none", threads=1, batch_size=None) as open_for:
        assert open_for.batch_size == 1, "no plans"


def _embeddings(rows: list[tuple]) -> np.ndarray:
    return np.stack([np.frombuffer(row[-1], np.float32) for row in rows])
