"""What the tests of this room share."""

from pathlib import Path

import pytest

from mgts_trt.gallery import Gallery, Space
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.bucket_server import BUCKET, bucket_server


@pytest.fixture
def gallery(search: PersonSearch, tmp_path: Path):
    """An empty one, for what the module's own `search` finds."""
    with Gallery.create(tmp_path / "gallery", Space.of(search.bundle, search.mode)) as opened:
        yield opened


@pytest.fixture(scope="module")
def bucket():
    """The URL of an empty bucket on a server of its own, to which the environment leads."""
    pytest.importorskip("moto.server")
    with bucket_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}"
