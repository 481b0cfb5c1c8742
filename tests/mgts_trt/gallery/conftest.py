"""What the tests of indexing share."""

from pathlib import Path

import pytest

from mgts_trt.gallery import Gallery, Space
from mgts_trt.runtime.pipeline import PersonSearch


@pytest.fixture
def gallery(search: PersonSearch, tmp_path: Path):
    """An empty one, for what the module's own `search` finds."""
    with Gallery.create(tmp_path / "gallery", Space.of(search.bundle, search.mode)) as opened:
        yield opened
