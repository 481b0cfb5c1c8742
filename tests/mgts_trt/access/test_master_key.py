import os
import secrets
from pathlib import Path

import pytest

from mgts_trt.access.master_key import FILE_VARIABLE, KEY_VARIABLE, key_is_named, master_key, read_master_key
from mgts_trt.errors import AccessError

DIGITS = "3fb09c5de9c2a47a01d86b7f4e5c0d92b16f8ae37d2490c5fe6b1387a9d05c4e"


@pytest.fixture
def path(tmp_path: Path, monkeypatch) -> Path:
    for variable in (FILE_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / "key"
    file.write_text(DIGITS + "\n")
    file.chmod(0o600)
    return file


def test_from_a_file_or_the_environment(path: Path, monkeypatch) -> None:
    assert master_key() is None
    assert not key_is_named()
    key = bytes.fromhex(DIGITS)
    assert read_master_key(path) == key
    monkeypatch.setenv(KEY_VARIABLE, DIGITS.upper())
    assert master_key() == key
    other = path.with_name("other")
    other.write_text(made := secrets.token_hex(32))
    other.chmod(0o400)
    monkeypatch.setenv(FILE_VARIABLE, str(other))  # it goes first
    assert master_key() == bytes.fromhex(made)
    assert key_is_named()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key of a gallery: expected are 64 hexadecimal digits, as openssl rand -hex 32 makes them"),
        (DIGITS[:-1].encode(), "64 hexadecimal digits"),
        (DIGITS.encode() * 2, "64 hexadecimal digits"),
        (b"\xff\x00" * 32, "64 hexadecimal digits"),
        (b"0123456789abcdef" * 4, "can be guessed"),
    ],
)
def test_what_is_no_key(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(AccessError, match=said) as caught:
        read_master_key(path)
    assert DIGITS[:20] not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_what_others_may_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(AccessError, match=f"may read or write the gallery's key in .*{mode:o}.*chmod 600 {path}"):
        read_master_key(path)


def test_of_another_user(path: Path, monkeypatch) -> None:
    mine = path.stat().st_uid
    if mine == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(AccessError, match="with the gallery's key belongs to another user"):
        read_master_key(path)


def test_what_is_named_and_not_there(path: Path, monkeypatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(path.with_name("none")))
    with pytest.raises(AccessError, match=r"Cannot read the gallery's key in .*none: No such file.*openssl rand -hex"):
        master_key()
    monkeypatch.setenv(FILE_VARIABLE, "")
    with pytest.raises(AccessError, match=r"\$MGTS_GALLERY_KEY_FILE is empty"):
        master_key()
    monkeypatch.delenv(FILE_VARIABLE)
    monkeypatch.setenv(KEY_VARIABLE, "")  # a secret that was not filled in must not make a plain gallery
    with pytest.raises(AccessError, match=r"\$MGTS_GALLERY_KEY holds no key"):
        master_key()
