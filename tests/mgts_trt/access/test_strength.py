import random
import string

import pytest

from mgts_trt.access.strength import weakness


@pytest.mark.parametrize(
    "key",
    [
        "k" * 64, "passwordpassword", "password12345678", "abcabcabcabcabcabcabc", "abcdefghijklmnopqrst",
        "qwertyuiopasdfghjkl", "0123456789876543210", "aaaaaaaaaaaaaaabbbbbbbbbbbbbcccccc", "Admin-Admin-Admin2024",
        "changemechangeme", "mgts-trt-api-key-2025", "1212121212121212", "aaaabbbbccccddddeeee",
    ],
)  # fmt: skip
def test_what_is_tried_first(key: str) -> None:
    assert "can be guessed" in (weakness(key) or "")


@pytest.mark.parametrize("key", ["", "a", "0f8G-x!q2LmZ$7w"])
def test_short_ones(key: str) -> None:
    assert f"has {len(key)} characters, at least 16" in (weakness(key) or "")


@pytest.mark.parametrize("letters", ["0123456789abcdef", string.ascii_letters + string.digits, string.printable[:94]])
def test_chance_passes(letters: str) -> None:
    chance = random.Random(1)
    keys = ["".join(chance.choices(letters, k=32)) for _ in range(500)]
    assert [key for key in keys if weakness(key)] == []
