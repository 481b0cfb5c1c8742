from pathlib import Path

import pytest

from mgts_trt.gallery.audit_place import audit_log


def test_a_folders_log_is_in_it_and_a_buckets_on_this_machine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert audit_log(tmp_path / "g").folder == tmp_path / "g" / "_audit"
    assert audit_log(f"file://{tmp_path}/g").folder == tmp_path / "g" / "_audit"
    places = {audit_log(url).folder for url in ("s3://a/b", "s3://a/c", "gs://a/b")}
    assert len(places) == 3
    assert {place.parent for place in places} == {tmp_path / "state" / "mgts-trt" / "audit"}


@pytest.mark.parametrize(("sudo", "user", "told"), [("anna", 0, "anna"), ("anna", 1000, None), (None, 0, None)])
def test_an_administrator_is_who_they_were_before(monkeypatch, sudo, user, told) -> None:
    from mgts_trt.gallery import audit_place

    monkeypatch.setattr(audit_place.os, "getuid", lambda: user)
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo:
        monkeypatch.setenv("SUDO_USER", sudo)
    assert audit_place.this_user().get("sudo") == told
    monkeypatch.setattr(audit_place.os, "getuid", lambda: 987654)
    assert audit_place.this_user()["name"] == "987654"
