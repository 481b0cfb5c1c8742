import numpy as np
import pytest

from mgts_trt.gallery import Frame, Sighting
from mgts_trt.gallery.gathering import Gathering, Row, qualities
from tests.helpers.stored_people import unit


def gather(good: list[float], embeddings: np.ndarray | None = None) -> Sighting:
    embeddings = unit(1, rows=len(good)) if embeddings is None else embeddings
    gathering = None
    for n, quality in enumerate(good):
        frame, box = Frame("/v.mp4", 10 + n, "1" * 64, 5.0 + n, "c"), np.float32([n, 0, n + 10, 20])
        row = Row(f"r{n}", box, 0.5 + n / 1000, embeddings[n], quality)
        if gathering is None:
            gathering = Gathering(frame, row, frame.time)
        else:
            gathering.add(frame, row, frame.time)
    return gathering.sighting(closed=True)


def test_one_frame_is_a_sighting() -> None:
    one = gather([1.0])
    assert (one.id, one.best, one.frames, one.start, one.end, one.first, one.last) == ("s-r0", ("r0",), 1, 5, 5, 10, 10)
    assert one.path.tolist() == [[0, 0, 0, 10, 20]]
    assert one.embedding == pytest.approx(unit(1, rows=1)[0], abs=1e-6)
    assert one.scores == (0.5, 0.5)


@pytest.mark.parametrize("frames", [2, 3, 13, 31, 32, 33, 64, 65, 400, 1000])
def test_its_path_begins_and_ends_with_it_and_is_even(frames: int) -> None:
    seen = gather([1.0] * frames)
    steps = np.diff(seen.path[:, 0])
    assert (seen.path[0, 0], seen.path[-1, 0]) == (0, frames - 1 == seen.frames - 1 and frames - 1)
    assert min(frames, 16) <= len(seen.path) <= 32
    assert len(set(steps[:-1].tolist())) <= 1, "but for the last step all are the same"
    assert 0 < steps[-1] <= max(steps[0], 1)
    assert np.array_equal(seen.path[:, 0], seen.path[:, 1])
    assert (seen.start, seen.end, seen.scores[1]) == (5, 4 + frames, pytest.approx(0.499 + frames / 1000))


def test_the_best_are_good_and_spread_over_it() -> None:
    good = [1.0] * 90
    good[5], good[40], good[41], good[80] = 2.0, 4.0, 3.9, 3.0
    assert gather(good).best == ("r40", "r80", "r5")
    good[5] = 1.9  # less than half of the best
    assert gather(good).best == ("r40", "r80")
    chance = np.random.default_rng(0)
    for frames in chance.integers(1, 500, 40):
        good = chance.uniform(0.6, 1, frames).tolist()
        best = [int(name[1:]) for name in gather(good).best]
        assert len(best) == min(3, frames) == len(set(best))
        assert best[0] == int(np.argmax(good))
        assert [good[n] for n in best] == sorted((good[n] for n in best), reverse=True)
        assert max(best) - min(best) >= frames / 6 - 1, "not all from one moment"


def test_its_embedding_is_the_weighted_mean_of_the_best() -> None:
    rows = unit(3, rows=3)
    mean = rows[0] * 1.0 + rows[1] * 2.0 + rows[2] * 1.5
    seen = gather([1.0, 2.0, 1.5], rows)
    assert seen.best == ("r1", "r2", "r0")
    assert seen.embedding == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    against = np.concatenate([rows[:1], -rows[:1]])
    assert gather([1.0, 1.0], against).embedding == pytest.approx(rows[0], abs=1e-6), "no mean: the best"


def test_quality_is_of_large_sure_boxes_by_themselves() -> None:
    boxes = np.float32([[0, 0, 10, 20], [100, 0, 120, 40], [200, 0, 220, 40], [210, 0, 230, 40], [300, 0, 300, 40]])
    good = qualities(boxes, np.float32([1, 1, 1, 0.5, 1]))
    assert good[1] == pytest.approx(2 * good[0])
    assert good[2] == pytest.approx(good[1] / 2)
    assert good[3] == pytest.approx(good[1] / 4)
    assert (good > 0).all()
    assert (qualities(boxes[:1].repeat(2, 0), np.float32([1, 0])) > 0).all()
    assert qualities(boxes[:0], np.float32([])).shape == (0,)
