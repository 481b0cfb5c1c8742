import numpy as np
import pytest

from mgts_trt.gallery.match import Match, Stay

NOWHERE = np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("start", "end", "live", "told"),
    [
        (1.0, 4.25, False, "0:00:01.0–0:00:04.2"),
        (1.0, 1.04, False, "0:00:01.0"),
        (None, None, False, ""),
        (1_700_000_000.0, 1_700_000_060.0, True, "2023-11-14 22:13:20–22:14:20"),
        (1_700_000_000.0, 1_700_010_000.0, True, "2023-11-14 22:13:20–2023-11-15 01:00:00"),
        (1_700_000_000.0, None, True, "2023-11-14 22:13:20"),
    ],
)
def test_from_when_to_when(start: float | None, end: float | None, live: bool, told: str) -> None:
    stay = Stay("s-1", start, end, 0, 9, 10)
    assert Match(0.5, "v.mp4", NOWHERE, 0.9, None, 3, start, live=live, stay=stay).time == told


def test_as_json() -> None:
    plain = Match(0.5, "v.mp4", NOWHERE, 0.9, None).to_dict()
    assert plain.keys() == {"likeness", "source", "number", "camera", "time", "box", "score"}
    stay = Stay("s-1", 0.0, 1.0, 0, 9, 10, closed=False)
    told = Match(0.5, "v.mp4", NOWHERE, 0.9, None, stay=stay, false_rate=0.0012345).to_dict()
    assert told["false_match_rate"] == 0.00123
    assert told["sighting"] == {
        "id": "s-1", "start": 0.0, "end": 1.0, "first": 0, "last": 9, "frames": 10, "closed": False,
    }  # fmt: skip
