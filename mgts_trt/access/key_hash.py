"""A key, and what is kept of it.

A key is `mgts_`, an id that says which of the kept hashes it is to be compared with, and 256 random bits. Guessing it
from its hash is hopeless however quick the hash is, so scrypt is asked for 4 MiB and about ten milliseconds alone:
little enough for a request, and more than a plain digest, should a key ever have come from elsewhere.
"""

import hashlib
import hmac
import re
import secrets

_FORM = re.compile(r"mgts_([0-9a-f]{16})_[0-9a-f]{64}")


def new_key() -> str:
    """A key, never seen before."""
    return f"mgts_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def id_of(key: str) -> str | None:
    """The id that a key of this form bears; None of another text."""
    found = _FORM.fullmatch(key)
    return found and found[1]


def new_salt() -> str:
    """16 random bytes, in hexadecimal."""
    return secrets.token_hex(16)


def hash_of(key: str, salt: str) -> str:
    """The scrypt hash of a key, in hexadecimal.

    Args:
        key: Any text.
        salt: In hexadecimal.
    """
    return hashlib.scrypt(key.encode(), salt=bytes.fromhex(salt), n=1 << 12, r=8, p=1, dklen=32).hex()


def is_key(key: str, salt: str, hashed: str) -> bool:
    """Whether a hash is that of a key; takes the same time whatever the answer."""
    return hmac.compare_digest(hash_of(key, salt), hashed)
