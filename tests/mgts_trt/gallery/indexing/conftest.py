from collections.abc import Iterator

import pytest

from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersonSearch]:
    """The tiny bundle in mode `none`, whose patches are the cells, whatever is around them."""
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="none", threads=1) as opened:
        yield opened
