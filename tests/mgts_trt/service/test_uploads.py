from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.errors import MgtsError
from mgts_trt.service.uploads import require_place


def test_there_is_a_place_for_uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    require_place()
    monkeypatch.delenv("TMPDIR")
    require_place()


def test_without_one_it_is_said_before_the_service_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(MgtsError, match="nowhere, which is no folder that can be written"):
        require_place()
