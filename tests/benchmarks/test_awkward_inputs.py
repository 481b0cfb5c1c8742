import random
from pathlib import Path

import pytest

from tests.helpers.tiny_bundle import make_tiny_bundle


def test_no_name_and_no_damage_ends_a_command_but_in_a_sentence(tmp_path: Path) -> None:
    """A sample of what `python -m benchmarks.awkward_inputs` throws by the thousand."""
    pytest.importorskip("lancedb")
    from benchmarks.awkward_inputs import sweep

    bundle = make_tiny_bundle(tmp_path / "b")
    commands, faults = sweep(bundle, 14, 30, 2, tmp_path)
    assert commands > 15
    assert [fault.model_dump() for fault in faults] == []


def test_what_must_not_be_is_told() -> None:
    from benchmarks.awkward_inputs import Outcome

    def fault(code: int | None = 0, stdout: str = "", stderr: str = "") -> str | None:
        return Outcome(["x"], code, stdout, stderr).fault

    assert fault() is None
    assert fault(2, "all well\n", "Error: o[/x] is no photo.\nNote: x\n") is None
    assert fault(None) == "did not end within 120 s"
    assert fault(70) == "exit code 70"
    assert fault(-6) == "exit code -6"
    assert fault(1, "", "Traceback (most recent call last):") == "a traceback"
    assert fault(0, "a\x1b[31m") == "a control character on the terminal"
    assert "Corrupt JPEG data" in str(fault(0, "", "Note: a\nCorrupt JPEG data: 3 extraneous bytes"))


def test_names_are_awkward_and_fit_a_disk(tmp_path: Path) -> None:
    from benchmarks.awkward_inputs import awkward_names

    names = awkward_names(500, random.Random(1))
    assert len(set(names)) == 500
    assert any("\x1b" in name for name in names)
    assert any("\n" in name for name in names)
    for name in names[:50]:
        (tmp_path / name).touch()
