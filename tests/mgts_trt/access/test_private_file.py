import os
import stat
from pathlib import Path

import pytest

from mgts_trt.access.private_file import require_private
from mgts_trt.errors import AccessError

ME, OTHER = 10001, 10002


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(os, "getegid", lambda: ME)
    monkeypatch.setattr(os, "getgroups", lambda: [ME])
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def status(mode: int, user: int, group: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, user, group, 0, 0, 0, 0))


def allowed(*facts: int, path: str = "/run/secrets/key") -> bool:
    try:
        require_private(Path(path), status(*facts), "the key")
    except AccessError:
        return False
    return True


@pytest.mark.parametrize("facts", [(0o400, ME, ME), (0o600, ME, OTHER), (0o400, 0, 0), (0o440, 0, ME), (0o640, 0, ME)])
@pytest.mark.usefixtures("me")
def test_mine_or_what_root_hands_me(facts: tuple[int, int, int]) -> None:
    assert allowed(*facts)


@pytest.mark.parametrize(
    "facts",
    [
        (0o440, ME, ME), (0o440, 0, OTHER), (0o440, 0, 0), (0o444, 0, ME), (0o660, 0, ME),
        (0o400, OTHER, ME), (0o440, OTHER, ME),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("me")
def test_what_others_may_read_or_change_is_refused(facts: tuple[int, int, int]) -> None:
    assert not allowed(*facts)


@pytest.mark.usefixtures("me")
def test_a_credential_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its access list names this user, and its mask stands where the group's bits are."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/mgts-trt-serve.service")
    credential = "/run/credentials/mgts-trt-serve.service/gallery-key"
    assert allowed(0o440, 0, 0, path=credential)
    assert not allowed(0o444, 0, 0, path=credential)
    assert not allowed(0o440, 0, 0, path="/etc/gallery-key")


def test_root_itself_is_handed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert allowed(0o400, 0, 0)
    assert not allowed(0o440, 0, 0)
