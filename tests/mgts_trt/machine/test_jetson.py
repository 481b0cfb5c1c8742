import pytest

from mgts_trt.machine import jetson as module
from mgts_trt.machine.jetson import Jetson, find_jetson


@pytest.mark.parametrize(
    ("release", "model", "expected", "jetpack"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "Orin\0", Jetson("Orin", (36, "4.3")), 6),
        ("# R38 (release), REVISION: 2.1, GCID: 1", "Thor\0", Jetson("Thor", (38, "2.1")), 7),
        ("# R35 (release), REVISION: 6.0, GCID: 1", None, Jetson("a Jetson", (35, "6.0")), None),
        ("# R41 (release), REVISION: 1.0", None, Jetson("a Jetson", (41, "1.0")), 7),
        ("something else", "Orin", None, None),
        (None, "Orin", None, None),
    ],
)
def test_what_the_files_say(tmp_path, monkeypatch, release, model, expected, jetpack):
    for name, text in (("RELEASE", release), ("MODEL", model)):
        monkeypatch.setattr(module, name, tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    found = find_jetson()
    assert found == expected
    assert found is None or found.jetpack == jetpack
