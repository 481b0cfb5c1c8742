import pytest

from mgts_trt.errors import ImageError, SourceError
from mgts_trt.gallery.indexing.sources import Source, find_sources

fsspec = pytest.importorskip("fsspec")

from mgts_trt.gallery.indexing.remote import read_remote  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def bucket() -> None:
    storage = fsspec.filesystem("memory")
    for path in ("/shop/day 1/b.jpg", "/shop/a.PNG", "/shop/notes.txt", "/shop/no_suffix", "/other/c.jpg"):
        storage.pipe(path, path.encode())
    storage.pipe("/empty/d.jpg", b"")


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("memory://shop", ["shop/a.PNG", "shop/day 1/b.jpg"]),
        ("memory://shop/", ["shop/a.PNG", "shop/day 1/b.jpg"]),
        ("memory://*/*.[jP]*", ["empty/d.jpg", "other/c.jpg", "shop/a.PNG"]),
        ("memory://shop/**/*.jpg", ["shop/day 1/b.jpg"]),
        ("memory://shop/no_suffix", ["shop/no_suffix"]),
    ],
)
def test_pictures_on_remote_storage(url: str, paths: list[str]) -> None:
    assert find_sources([url], camera="2") == [Source(f"memory://{path}", "picture", "2") for path in paths]


def test_what_is_found_can_be_read() -> None:
    assert [read_remote(source.location) for source in find_sources(["memory://shop"])] == [
        b"/shop/a.PNG",
        b"/shop/day 1/b.jpg",
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [("memory://nowhere", "There is no picture"), ("no-such://x", "Protocol not known: no-such")],
)
def test_nothing_to_find(url: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        find_sources([url])


@pytest.mark.parametrize(
    ("url", "message"),
    [("memory://shop/gone.jpg", "There is no file memory://shop/gone.jpg"), ("memory://empty/d.jpg", "is empty")],
)
def test_nothing_to_read(url: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_remote(url)


def test_a_password_is_not_stored() -> None:
    assert Source("sftp://ann:s3cret@host/a.jpg", "picture").name == "sftp://host/a.jpg"
