"""Password check with rate limits on failed attempts.

Failed attempts are counted per client address and in total; after too many a client is refused for a time that doubles with
each further one. The check is atomic, so that parallel attempts are limited like sequential ones. A browser that has
authenticated holds a device cookie (https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies), so
that attempts by others from the same address do not lock it out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Generic, TypeVar

FREE_ATTEMPTS = 5
"""Failed attempts of a client without a delay."""
MAX_WAIT_S = 600.0
"""Maximum delay after a failed attempt."""
RESET_S = 3600.0
"""Time without a failed attempt after which a client's count is reset."""
GLOBAL_ATTEMPTS, REFILL_S = 100, 10.0
"""Token bucket for the failed attempts of all clients: its capacity, and the seconds after which one is refilled."""
MAX_ENTRIES = 4096
"""Maximum number of clients and of tokens in memory; the least recently used are dropped first."""

Value = TypeVar("Value")


class LRUTable(Generic[Value]):
    """LRU table of `MAX_ENTRIES` entries."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str) -> Value | None:
        """Return an entry and mark it as used."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: str, value: Value) -> None:
        """Set an entry."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Remove an entry."""
        self._entries.pop(key, None)


@dataclass(frozen=True)
class FailedAttempts:
    """Failed attempts of one client.

    Attributes:
        count: number of attempts.
        last: time of the last one in seconds.
    """

    count: int
    last: float

    def wait(self, now: float) -> float:
        """Return the remaining delay in seconds."""
        if self.count < FREE_ATTEMPTS:
            return 0.0
        return max(0.0, self.last + min(2.0 ** (self.count - FREE_ATTEMPTS), MAX_WAIT_S) - now)


@dataclass(frozen=True)
class AuthResult:
    """Result of a password check.

    Attributes:
        accepted: whether the password was correct.
        wait_s: delay before the next attempt in seconds, 0 for none.
        trusted: whether the browser has a valid device cookie.
    """

    accepted: bool
    wait_s: int = 0
    trusted: bool = False


class Passwords:
    """Checks passwords and counts failed attempts."""

    def __init__(self, password: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = secrets.token_bytes(32), clock
        self._expected = self._digest(password.encode())
        self._guesses: LRUTable[FailedAttempts] = LRUTable()
        self._tokens: LRUTable[bool] = LRUTable()
        self._authenticated: LRUTable[bool] = LRUTable()
        self._tokens_left, self._refilled = float(GLOBAL_ATTEMPTS), clock()

    def check(self, authorization: bytes, *, client: str, token: str = "") -> AuthResult:
        """Check the password in an `Authorization` header, unless the client must wait.

        Args:
            authorization: value of the header; an empty one is not counted.
            client: address of the client.
            token: device cookie, as returned by `new_token`.
        """
        if not authorization:
            return AuthResult(accepted=False)
        now, key, name = self._clock(), _client_key(client), self._digest(token.encode()).hex()
        trusted = self._tokens.get(name) is not None
        before = self._guesses.get(key) or FailedAttempts(0, now)
        if now - before.last > RESET_S:
            before = FailedAttempts(0, now)
        wait = 0.0 if trusted else max(before.wait(now), self._global_wait(now, key))
        if wait > 0:
            return AuthResult(accepted=False, wait_s=math.ceil(wait))
        if hmac.compare_digest(self._digest(_password_in(authorization)), self._expected):
            self._authenticated.put(key, True)
            return AuthResult(accepted=True, trusted=trusted)
        self._tokens.drop(name)
        self._guesses.put(key, FailedAttempts(before.count + 1, now))
        self._tokens_left -= 1
        return AuthResult(accepted=False)

    def new_token(self) -> str:
        """Return a device cookie for a browser that has authenticated."""
        token = secrets.token_urlsafe(24)
        self._tokens.put(self._digest(token.encode()).hex(), True)
        return token

    def _global_wait(self, now: float, key: str) -> float:
        """Return the delay of a client that has never authenticated, due to the failed attempts of all."""
        self._tokens_left = min(float(GLOBAL_ATTEMPTS), self._tokens_left + (now - self._refilled) / REFILL_S)
        self._refilled = now
        return 0.0 if self._tokens_left >= 1 or self._authenticated.get(key) else (1 - self._tokens_left) * REFILL_S

    def _digest(self, value: bytes) -> bytes:
        """Return a digest of fixed length, so that comparisons take constant time."""
        return hmac.new(self._key, value, hashlib.sha256).digest()


def _password_in(authorization: bytes) -> bytes:
    kind, _, coded = authorization.partition(b" ")
    try:
        return base64.b64decode(coded.strip(), validate=True).partition(b":")[2] if kind.lower() == b"basic" else b""
    except binascii.Error:
        return b""


def _client_key(client: str) -> str:
    """Return the key of a client: its IPv4 address, or its IPv6 /64 network.

    >>> _client_key("2001:db8::1") == _client_key("2001:db8::ffff")
    True
    """
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return client
