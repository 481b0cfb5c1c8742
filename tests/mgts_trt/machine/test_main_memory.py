import pytest

from mgts_trt.machine import main_memory as memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:        7990132 kB\nMemFree: 12 kB\nMemAvailable:    5242880 kB\n", 5 << 30),
        ("MemTotal:        7990132 kB\n", None),
        ("MemAvailable:\n", None),
        ("MemAvailable: much kB\n", None),
        (None, None),
    ],
)
def test_available_memory(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert memory.available_memory() == expected


def test_of_this_machine():
    assert memory.available_memory() > 1 << 20
