import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.commits import Commits


class Store:
    def __init__(self) -> None:
        self.batches = []

    def add(self, entries: list[str], sightings: object) -> None:
        if "bad" in entries:
            raise GalleryError("bad")
        self.batches.append(entries)


def test_it_is_optimised_after_every_so_many() -> None:
    store, optimised = Store(), []
    commits = Commits(store, lambda: optimised.append(len(store.batches)), every=3)
    for n in range(7):
        commits.add([str(n)])
    assert (commits.count, optimised) == (7, [3, 6])
    assert store.batches == [[str(n)] for n in range(7)]


def test_what_fails_does_not_count() -> None:
    commits = Commits(Store(), pytest.fail, every=1)
    with pytest.raises(GalleryError, match="bad"):
        commits.add(["bad"])
    assert commits.count == 0


def test_it_is_left_as_it_is() -> None:
    commits = Commits(Store(), None, every=1)
    commits.add(["one"])
    assert commits.count == 1
