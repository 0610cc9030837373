"""The password of the page, and how often it may be guessed.

Wrong guesses are counted for each client address and for all together; whoever guessed wrong too often is refused for a time
that doubles with every further one. Counting and comparing are one step without a pause, so that guesses in parallel are slowed
as much as guesses in a row. A browser that has given the right password holds a token (https://owasp.org/www-community/
Slow_Down_Online_Guessing_Attacks_with_Device_Cookies), so that somebody who guesses from the same address does not lock it out.
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

FREE = 5
"""Wrong guesses of one client that cost nothing."""
LONGEST_S = 600.0
"""Longest time that a client is refused for one guess."""
FORGOTTEN_S = 3600.0
"""After that long without a wrong guess a client starts anew."""
TOGETHER, EACH_S = 100, 10.0
"""Wrong guesses of all clients together that are taken at once, and the seconds after which there is room for one more."""
HELD = 4096
"""Clients and tokens that are remembered; the oldest go first."""

Value = TypeVar("Value")


class Latest(Generic[Value]):
    """A table of the last `HELD` entries."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str) -> Value | None:
        """Return an entry, and count it as new."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: str, value: Value) -> None:
        """Hold an entry."""
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > HELD:
            self._held.popitem(last=False)

    def drop(self, key: str) -> None:
        """Let an entry go."""
        self._held.pop(key, None)


@dataclass(frozen=True)
class Guesses:
    """What one client has guessed wrong.

    Attributes:
        count: how often.
        last: when, in seconds.
    """

    count: int
    last: float

    def wait(self, now: float) -> float:
        """Return for how many seconds this client is still refused."""
        if self.count < FREE:
            return 0.0
        return max(0.0, self.last + min(2.0 ** (self.count - FREE), LONGEST_S) - now)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a request.

    Attributes:
        right: whether the password was right.
        wait_s: seconds for which this client is refused, 0 where it may try again at once.
        known: whether the browser's token was one of ours.
    """

    right: bool
    wait_s: int = 0
    known: bool = False


class Passwords:
    """Compares passwords and counts wrong ones."""

    def __init__(self, password: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = secrets.token_bytes(32), clock
        self._expected = self._digest(password.encode())
        self._guesses: Latest[Guesses] = Latest()
        self._tokens: Latest[bool] = Latest()
        self._good: Latest[bool] = Latest()
        self._room, self._counted = float(TOGETHER), clock()

    def check(self, authorization: bytes, *, client: str, token: str = "") -> Verdict:
        """Compare the password of an `Authorization` header, unless the client must wait.

        Args:
            authorization: the header; an empty one is no guess.
            client: address that the request came from.
            token: that the browser sent along, as `new_token` gave it.
        """
        if not authorization:
            return Verdict(right=False)
        now, group, name = self._clock(), _group(client), self._digest(token.encode()).hex()
        known = self._tokens.get(name) is not None
        before = self._guesses.get(group) or Guesses(0, now)
        if now - before.last > FORGOTTEN_S:
            before = Guesses(0, now)
        wait = 0.0 if known else max(before.wait(now), self._crowd_wait(now, group))
        if wait > 0:
            return Verdict(right=False, wait_s=math.ceil(wait))
        if hmac.compare_digest(self._digest(_given(authorization)), self._expected):
            self._good.put(group, True)
            return Verdict(right=True, known=known)
        self._tokens.drop(name)
        self._guesses.put(group, Guesses(before.count + 1, now))
        self._room -= 1
        return Verdict(right=False)

    def new_token(self) -> str:
        """Return a token for a browser that has given the right password."""
        token = secrets.token_urlsafe(24)
        self._tokens.put(self._digest(token.encode()).hex(), True)
        return token

    def _crowd_wait(self, now: float, group: str) -> float:
        """Return how long a client that never gave the right password waits for the others' guesses."""
        self._room = min(float(TOGETHER), self._room + (now - self._counted) / EACH_S)
        self._counted = now
        return 0.0 if self._room >= 1 or self._good.get(group) else (1 - self._room) * EACH_S

    def _digest(self, value: bytes) -> bytes:
        """Return a digest of one length for values of all lengths, so that comparing takes as long for each."""
        return hmac.new(self._key, value, hashlib.sha256).digest()


def _given(authorization: bytes) -> bytes:
    kind, _, coded = authorization.partition(b" ")
    try:
        return base64.b64decode(coded.strip(), validate=True).partition(b":")[2] if kind.lower() == b"basic" else b""
    except binascii.Error:
        return b""


def _group(client: str) -> str:
    """Return what is counted as one client: an IPv4 address, or the network of 64 bits that an IPv6 user owns.

    >>> _group("2001:db8::1") == _group("2001:db8::ffff")
    True
    """
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return client
