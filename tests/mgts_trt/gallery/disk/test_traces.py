import numpy as np
import pytest

from mgts_trt.gallery.disk import traces as module
from mgts_trt.gallery.disk.traces import Traces, picture_trace, vector_traces

CHANCE = np.random.default_rng(0)
NOISE = CHANCE.bytes(4096)


@pytest.mark.parametrize("at", [*range(9), 100, 4095])
@pytest.mark.parametrize("trace", [CHANCE.bytes(16), b"/films/one.mp4", b"/films/much-longer-than-a-word.mp4"])
def test_a_trace_is_found_wherever_it_lies(at, trace, tmp_path, monkeypatch) -> None:
    traces = Traces([trace, CHANCE.bytes(20), b"elsewhere", *(CHANCE.bytes(16) for _ in range(500))])
    data = NOISE[:at] + trace + NOISE[at:]
    assert traces.within(data) == {trace}
    assert traces.within(NOISE) == set()
    for end in range(1, len(trace)):
        assert traces.within(NOISE[:at] + trace[:end]) == set()
    monkeypatch.setattr(module, "_BLOCK", 64)  # it then lies over the border of blocks, too
    (tmp_path / "file").write_bytes(data)
    assert traces.within_file(tmp_path / "file") == {trace}


def test_traces_that_end_alike_are_told_apart() -> None:
    one, other = b"/a/the same name.jpg", b"/b/the same name.jpg"
    traces = Traces([one, other])
    assert traces.within(b"..." + other + b"...") == {other}
    assert traces.within(one + other) == {one, other}


def test_what_tells_nothing_is_not_looked_for() -> None:
    traces = Traces([b"", b"3", b"abc", bytes(600), b"\0\1" * 20])
    assert len(traces) == 0
    assert traces.within(NOISE + bytes(64)) == set()


def test_embeddings_are_found_as_they_are_and_at_length_one() -> None:
    vectors = CHANCE.normal(size=(3, 128)).astype(np.float32)
    traces = Traces(vector_traces(vectors))
    assert traces.within(b"\1" * 4 + vectors[1].tobytes())
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    unit[:, 0] = np.nextafter(unit[:, 0], np.float32(2))  # rounded otherwise
    assert traces.within(b"\1" * 3 + unit[2].tobytes())
    assert not traces.within(CHANCE.normal(size=(50, 128)).astype(np.float32).tobytes())


def test_the_part_of_a_picture_that_is_its_own() -> None:
    own = bytes(range(64, 128))
    assert picture_trace(bytes(500) + own + bytes(500)) in own
    assert picture_trace(b"short") == b""


def test_few_among_very_many_are_found() -> None:
    rng = np.random.default_rng(0)
    many = [rng.bytes(32) for _ in range(20_000)]
    data = b"".join([rng.bytes(101), many[7], rng.bytes(1_000_000), many[-1], rng.bytes(50)])
    assert Traces(many).within(data) == {many[7], many[-1]}
