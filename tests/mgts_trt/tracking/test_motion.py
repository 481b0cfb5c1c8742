import itertools

import numpy as np
import pytest

from mgts_trt.tracking.motion import LONGEST, Motion


def walk(*times: float, speed: float = 60.0) -> Motion:
    """Of a box that was seen at these times, going right."""
    boxes = [np.array([[100 + speed * t, 50, 140 + speed * t, 150]]) for t in times]
    motion = Motion.start(boxes[0])
    for before, now, box in zip(times, times[1:], boxes[1:], strict=False):
        motion = motion.ahead(np.array([now - before])).corrected(box)
    return motion


@pytest.mark.parametrize("times", [np.arange(0, 3, 0.04), np.arange(0, 4, 0.2), np.array([0, 0.1, 0.4, 0.5, 1.3, 2.0])])
def test_a_speed_is_learnt_at_any_rate(times: np.ndarray) -> None:
    motion = walk(*times)
    assert motion.speed[0] == pytest.approx([60, 0, 0, 0], abs=6)
    x1 = motion.ahead(np.array([0.5])).boxes[0, 0]
    assert x1 == pytest.approx(100 + 60 * (times[-1] + 0.5), abs=8)


def test_it_is_the_less_sure_the_longer_nobody_is_seen() -> None:
    motion = walk(0, 0.1, 0.2)
    spreads = [motion.ahead(np.array([lapse])).spread[0, :, 0] for lapse in (0, 0.1, 0.5, LONGEST)]
    assert all((less < more).all() for less, more in itertools.pairwise(spreads))


def test_a_speed_is_trusted_for_a_while_only() -> None:
    motion = walk(0, 0.1, 0.2, 0.3)
    boxes = [motion.ahead(np.array([lapse])).boxes for lapse in (LONGEST, LONGEST + 1, 3600.0)]
    assert (boxes[0] == boxes[1]).all()
    assert (boxes[0] == boxes[2]).all()


def test_a_box_that_shrinks_fast_stays_a_box() -> None:
    motion = Motion.start(np.array([[0, 0, 100, 200]])).ahead(np.array([0.1])).corrected(np.array([[40, 80, 50, 90]]))
    sides = motion.ahead(np.array([1.0])).at[0, 2:]
    assert (sides > 0).all()


def test_boxes_come_back_as_they_were_given() -> None:
    boxes = np.array([[1.0, 2, 31, 82], [5, 5, 6, 9]])
    assert Motion.start(boxes).boxes == pytest.approx(boxes)
