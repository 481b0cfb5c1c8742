from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest

from mgts_trt.annotating import webcam
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersonSearch]:
    """The tiny bundle, up to three pictures at once."""
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="net", threads=1, batch_size=3) as opened:
        yield opened


@pytest.fixture
def webcam_of(monkeypatch):
    """Have every webcam show frames, BGR, and then no more; returns those that were opened."""

    def _webcam_of(frames: Sequence[np.ndarray]) -> list:
        opened: list = []

        class Capture:
            def __init__(self, device: int) -> None:
                self.device, self.released, self._at = device, False, -1
                opened.append(self)

            def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
                return True

            def set(self, what: int, value: float) -> bool:
                return what == cv2.CAP_PROP_BUFFERSIZE

            def grab(self) -> bool:
                self._at += 1
                return self._at < len(frames)

            def retrieve(self) -> tuple[bool, np.ndarray]:
                return True, frames[self._at]

            def release(self) -> None:
                self.released = True

        real = cv2.VideoCapture  # reads what was written

        def open_either(where, *how):
            return Capture(where) if isinstance(where, int) else real(where, *how)

        monkeypatch.setattr(webcam.cv2, "VideoCapture", open_either)
        return opened

    return _webcam_of
