from pathlib import Path

import pytest

from mgts_trt.gallery.indexing.container import Structure, read_structure
from tests.helpers.video_files import CODECS, announcing, live_muxed, write_film

WHOLE, CUT, BROKEN = Structure(True, True), Structure(False, True), Structure(True, False)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> dict[str, bytes]:
    """Of each container the content of a video, and WebM in two more ways."""
    folder = tmp_path_factory.mktemp("films")
    films = {suffix: write_film(folder / f"film{suffix}", range(30)) for suffix in CODECS}
    return {**films, "announcing": announcing(films[".webm"], 99), "live": live_muxed(films[".webm"])}


@pytest.mark.parametrize("kind", [*CODECS, "announcing", "live"])
def test_whole_and_cut(films: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    data, file = films[kind], tmp_path / "film"
    file.write_bytes(data)
    assert read_structure(file) == WHOLE
    for share in (0.3, 0.6, 0.9):
        file.write_bytes(data[: int(len(data) * share)])
        assert read_structure(file) == (WHOLE if kind == ".ts" else CUT), share


@pytest.mark.parametrize("kind", [".avi", ".mkv", ".webm", "live"])
def test_gaps(films: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    data, file = films[kind], tmp_path / "film"
    begin, end = int(len(data) * 0.4), int(len(data) * 0.6)
    file.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    assert read_structure(file) == BROKEN


@pytest.mark.parametrize(
    ("data", "structure"),
    [
        (b"", WHOLE),
        (b"I am no video, and end where I like", WHOLE),
        (b"\x00\x00\x00\x10ftypisomabcd", WHOLE),
        (b"\x00\x00\x00\x10ftypisomabcd" + b"\x00\x00\x00\x00mdat123", WHOLE),  # to the end
        (b"\x00\x00\x00\x10ftypisomabcd" + b"\x00\x00\x00\x01mdat" + (20).to_bytes(8, "big") + b"1234", WHOLE),
        (b"\x00\x00\x00\x10ftypisomabcd" + b"\x00\x00\x00\x01mdat" + (21).to_bytes(8, "big") + b"1234", CUT),
        (b"\x00\x00\x00\x10ftypisomabcd" + bytes(100), WHOLE),  # appended by a camera
        (b"\x00\x00\x00\x10ftypisomabcd" + b"\x00\x00\x00\x03free", BROKEN),
        (b"RIFF\x00\x00\x00\x00AVI LIST", WHOLE),  # never closed
        (b"RIFF\x04\x00\x00\x00AVI ", WHOLE),
        (b"RIFF\x05\x00\x00\x00AVI ", CUT),
    ],
)
def test_parts(tmp_path: Path, data: bytes, structure: Structure) -> None:
    (tmp_path / "film").write_bytes(data)
    assert read_structure(tmp_path / "film") == structure
