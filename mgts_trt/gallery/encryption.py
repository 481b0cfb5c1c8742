"""The pictures of people in a gallery, encrypted: which they may be, and nothing else of it.

Each picture is encrypted with the gallery's own key, and that key with a master key, which lies elsewhere: the master
key can be changed without a picture being touched. Both are AES-256-GCM: who changes a byte, or puts the picture of one
person in the row of another, is found out.
"""

import os
from collections.abc import Callable
from typing import Any

from mgts_trt.access.master_key import FILE_VARIABLE, KEY_VARIABLE, master_key
from mgts_trt.errors import GalleryError, SealedError

_VERSION, _NONCE, _KEY = b"\x01", 12, 32
"""First byte of all that is encrypted, which no JPEG begins with; bytes of a nonce, and of a key."""

_TAG = 16
_OF_KEY, _OF_PICTURE = b"mgts-trt gallery key 1", b"mgts-trt gallery picture 1\0"
"""What is encrypted along, unseen: a wrapped key is no picture, and a picture is of one row alone."""


class Encryption:
    """That of one gallery.

    Its key is read and unwrapped when it is first needed: who asks for no picture needs none.

    Args:
        location: Of the gallery, for messages.
        wrapped: Reads the gallery's key as it is stored; None of a gallery whose pictures are not encrypted.
        master: 32 bytes; by default what the environment names, see `access.master_key`.
    """

    def __init__(
        self, location: str = "", wrapped: Callable[[], bytes] | None = None, master: bytes | None = None
    ) -> None:
        self._location, self._wrapped, self._master = location, wrapped, master
        self._cipher: Any = None

    def __bool__(self) -> bool:
        """Whether pictures are encrypted."""
        return self._wrapped is not None

    def require_key(self) -> None:
        """Fail early where pictures are to be read or written and cannot be.

        Raises:
            SealedError: There is no key, or not the gallery's.
            AccessError: A key is named that cannot be read, or is none.
            GalleryError: The gallery has lost what the key opens.
        """
        if self:
            self._opened()

    def require_encrypted(self, location: str) -> None:
        """Fail where a key was given for a gallery to be written to, and pictures would not be encrypted under it.

        Args:
            location: Of the gallery.

        Raises:
            SealedError: Pictures are not encrypted; or see `require_key`, likewise for the others.
        """
        if not self:
            raise SealedError(
                f"A key was given, and the pictures in the gallery {location} are not encrypted: that is settled when "
                "a gallery is made. Index into a new one with the key; or, to go on with this one, leave out "
                f"--gallery-key, and unset ${FILE_VARIABLE} and ${KEY_VARIABLE}."
            )
        self.require_key()

    def encrypt(self, person: str, picture: bytes) -> bytes:
        """A picture as the gallery stores it; an empty one stays empty.

        Args:
            person: Id of the row it belongs to.
            picture: JPEG.

        Raises:
            SealedError: See `require_key`, likewise for the others.
        """
        if not self or not picture:
            return picture
        nonce = os.urandom(_NONCE)
        sealed: bytes = self._opened().encrypt(nonce, picture, _OF_PICTURE + person.encode())
        return _VERSION + nonce + sealed

    def decrypt(self, person: str, stored: bytes) -> bytes:
        """A picture from what the gallery stores.

        Args:
            person: Id of the row it is stored in.
            stored: As `encrypt` gave it.

        Raises:
            SealedError: See `require_key`, likewise for the others.
            GalleryError: The picture was changed since, or is another row's.
        """
        if not self or not stored:
            return stored
        picture = _decrypted(self._opened(), stored, _OF_PICTURE + person.encode())
        if picture is None:
            raise GalleryError(
                f"The picture of {person} in the gallery {self._location} is damaged, or was put there by somebody "
                "without the gallery's key. Index its source again; `mgts-trt gallery verify` tells of damaged files."
            )
        return picture

    def rewrapped(self, master: bytes) -> bytes:
        """The gallery's key, wrapped by another master key.

        Raises:
            SealedError: See `require_key`, likewise for the others.
        """
        return wrapped(self._key(), master)

    def _opened(self) -> Any:
        if self._cipher is None:
            self._cipher = _aes_gcm(self._key())
        return self._cipher

    def _key(self) -> bytes:
        assert self._wrapped is not None
        master = self._master or master_key()
        if master is None:
            raise SealedError(
                f"The pictures in the gallery {self._location} are encrypted, and no key was given. Name its file with "
                f"--gallery-key or in ${FILE_VARIABLE}, or put the key itself into ${KEY_VARIABLE}."
            )
        key = _decrypted(_aes_gcm(master), self._wrapped(), _OF_KEY)
        if key is None:
            raise SealedError(
                f"This key does not open the pictures in the gallery {self._location}: it is another gallery's, or was "
                "replaced by `mgts-trt gallery rekey`. Name the one that the gallery was made or last rekeyed with."
            )
        return key


PLAIN = Encryption()
"""Of a gallery whose pictures are not encrypted."""


def new_wrapped(master: bytes) -> bytes:
    """A key for a gallery, made by chance and wrapped by a master key of 32 bytes."""
    return wrapped(os.urandom(_KEY), master)


def wrapped(key: bytes, master: bytes) -> bytes:
    """A gallery's key, encrypted with a master key; each is 32 bytes."""
    nonce = os.urandom(_NONCE)
    sealed: bytes = _aes_gcm(master).encrypt(nonce, key, _OF_KEY)
    return _VERSION + nonce + sealed


def _decrypted(cipher: Any, stored: bytes, along: bytes) -> bytes | None:
    """None of what was not encrypted with this key and `along`."""
    from cryptography.exceptions import InvalidTag  # here: without cryptography, making the cipher has told so

    if len(stored) < len(_VERSION) + _NONCE + _TAG or not stored.startswith(_VERSION):
        return None
    nonce, sealed = stored[1 : 1 + _NONCE], stored[1 + _NONCE :]
    try:
        plain: bytes = cipher.decrypt(nonce, sealed, along)
    except InvalidTag:
        return None
    return plain


def _aes_gcm(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise SealedError(
            f"Encrypted pictures need the package cryptography, which is not installed ({error}): "
            "pip install 'mgts-trt[encryption]'"
        ) from error
    return AESGCM(key)
