"""Whose a request is, told by its key."""

import asyncio
import hashlib
import math

from starlette.datastructures import Headers
from starlette.types import Scope

from mgts_trt.access.key_file import ROLES
from mgts_trt.access.key_ring import Caller, KeyRing
from mgts_trt.service.guesses import Guesses
from mgts_trt.service.refusal import Refusal

CALLER = "mgts_trt.caller"
"""In a request's scope: its `Caller`; None where it bears no key and the service needs one."""
ADDRESS = "mgts_trt.address"
"""In a request's scope: the address it comes from, whatever proxy it came through."""
ANYBODY = Caller("", frozenset(ROLES))
"""Whoever asks a service without keys."""
GUESS_SECONDS = 1.0
"""After which a wrong key is answered."""
_AT_ONCE = 4
"""Keys of one address that are verified at a time."""


class Identity:
    """Finds out.

    Args:
        keys: Those that are known; None: everybody may do everything.
        proxy: Address of a proxy that tells in the header X-Forwarded-For whom a request is from.
    """

    def __init__(self, keys: KeyRing | None, proxy: str | None = None) -> None:
        self._keys, self._proxy = keys, proxy
        self._guesses = Guesses()
        self._verifying: dict[bytes, asyncio.Future[Caller | None]] = {}
        self._places: dict[str, int] = {}

    @property
    def needed(self) -> bool:
        """Whether there are keys."""
        return self._keys is not None

    async def find(self, scope: Scope) -> Caller | None:
        """Whose a request is; None if it bears no key and one is needed. Its address is in the scope then.

        Raises:
            Refusal: 401, the key is wrong; 429, too many wrong ones came.
        """
        scope[ADDRESS] = address = self._address(scope)
        if self._keys is None:
            return ANYBODY
        key = Headers(scope=scope).get("x-api-key")
        if key is None:
            return None
        if self._keys.stored(key):
            found = self._keys.remembered(key) or await self._verify(key, address, self._keys)
        else:
            found = self._compare(key, address, self._keys)
        if found is None:
            await asyncio.sleep(GUESS_SECONDS)
            raise Refusal(401, "The key in the header X-API-Key is none of this service's.", "wrong_key")
        return found

    def _compare(self, key: str, address: str, keys: KeyRing) -> Caller | None:
        if seconds := self._guesses.wait(address, key):
            raise _too_many(seconds)
        found = keys.given(key)
        if found:
            self._guesses.right(address, key)
        else:
            self._guesses.wrong(address)
        return found

    async def _verify(self, key: str, address: str, keys: KeyRing) -> Caller | None:
        """Once for all requests that bear the key meanwhile."""
        digest = hashlib.sha256(key.encode()).digest()
        if digest not in self._verifying:
            if self._places.get(address, 0) >= _AT_ONCE:
                raise _too_many(1)
            self._places[address] = self._places.get(address, 0) + 1
            work = asyncio.ensure_future(asyncio.to_thread(keys.verify, key))
            self._verifying[digest] = work
            work.add_done_callback(lambda _: self._done(digest, address))
        return await asyncio.shield(self._verifying[digest])

    def _done(self, digest: bytes, address: str) -> None:
        del self._verifying[digest]
        self._places[address] -= 1
        if not self._places[address]:
            del self._places[address]

    def _address(self, scope: Scope) -> str:
        client = scope.get("client")
        address = str(client[0]) if client else ""
        if self._proxy is not None and address == self._proxy:
            told = Headers(scope=scope).getlist("x-forwarded-for")
            # What the proxy itself saw comes last; what is before it, the client may have written.
            return told[-1].rpartition(",")[2].strip() if told else address
        return address


def _too_many(seconds: float) -> Refusal:
    wait = math.ceil(seconds)
    return Refusal(429, f"Too many wrong keys came. Try again in {wait} s.", "wrong_keys", {"Retry-After": str(wait)})
