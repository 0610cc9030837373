"""Allowed host names and origins of requests.

A page on the loopback address can be reached from any web site that a user of the machine visits: by DNS rebinding (a name of
the attacker's that resolves to 127.0.0.1), or by requests across sites. The first is recognised by `Host`, the second by
`Origin` and by the fetch metadata of the browser (https://www.w3.org/TR/fetch-metadata/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from bts.apps.web.http import HTTPError
from bts.errors import RequestError

PARTS = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::([0-9]{1,5}))?", re.ASCII)
ORIGIN = re.compile(r"https?://(.+)", re.ASCII)
USUAL_PORTS = (None, 80, 443)
"""Ports that browsers do not show."""


@dataclass(frozen=True)
class Host:
    """Host name or IP address with a port.

    Attributes:
        name: lower case, an IP address in its shortest form and without brackets.
        port: None without one.
    """

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Host | None:
        """Return the host in a header or an option; None if the text is not a host.

        >>> Host.parse("Scans.Example.org:8443")
        Host(name='scans.example.org', port=8443)
        >>> Host.parse("[::1]:7860")
        Host(name='::1', port=7860)
        >>> Host.parse("user@example.org") is None
        True
        """
        found = PARTS.fullmatch(text.lower())
        if found is None or (found[2] and not 0 < int(found[2]) < 2**16):
            return None
        name, port = found[1], int(found[2]) if found[2] else None
        if name.startswith("["):
            address = _address(name[1:-1])
            return None if address is None else cls(address, port)
        return cls(_address(name) or name, port)

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port in USUAL_PORTS else f"{name}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether the name is an IP address, which needs no name resolution."""
        return _address(self.name) is not None

    @property
    def is_loopback(self) -> bool:
        """Whether the name stands for the local machine."""
        return self.name == "localhost" or (self.is_address and ip_address(self.name).is_loopback)


def _address(name: str) -> str | None:
    try:
        return str(ip_address(name))
    except ValueError:
        return None


@dataclass(frozen=True)
class Hosts:
    """Allow-list of hosts: loopback names, the bound address, and the names given by `--host-name`.

    Attributes:
        bound: address or name that the server listens on; with `0.0.0.0` or `::` every IP address is allowed.
        port: port that the server listens on, None if unknown.
        host_names: values of `--host-name`. A name without a port matches ports 80 and 443 and that of the server; a name with
            a port matches this port and none, as proxies drop it.

    Raises:
        RequestError: an invalid host name.
    """

    bound: str = "127.0.0.1"
    port: int | None = None
    host_names: tuple[str, ...] = ()
    names: tuple[Host, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = [(text, Host.parse(text)) for text in self.host_names]
        wrong = [text for text, host in names if host is None]
        if wrong:
            raise RequestError(
                f"--host-name '{wrong[0]}': expected a host name such as scans.example.org, or scans.example.org:8443"
            )
        object.__setattr__(self, "names", tuple(host for _, host in names if host is not None))

    def is_known(self, text: str) -> bool:
        """Return whether a `Host` header names this page; with any port for a loopback name, as tunnels use their own."""
        host = Host.parse(text)
        if host is None:
            return False
        bound = _address(self.bound) or self.bound.lower()
        if host.is_loopback or host.name == bound or (bound in ("0.0.0.0", "::") and host.is_address):
            return True
        return self._is_listed(host)

    def _is_listed(self, host: Host) -> bool:
        """Return whether `--host-name` lists this name with this port."""
        return any(
            host.name == name.name and host.port in ((*USUAL_PORTS, self.port) if name.port is None else (None, name.port))
            for name in self.names
        )

    def check(self, headers: Mapping[bytes, list[bytes]], *, method: str, path: str) -> None:
        """Check host and origin of a request.

        Raises:
            HTTPError: the request names another host (421) or comes from another site (403).
        """
        stated = _texts(headers, b"host")
        if len(stated) != 1 or not self.is_known(stated[0]):
            raise _misdirected(stated)
        forwarded = [part.strip() for text in _texts(headers, b"x-forwarded-host") for part in text.split(",")]
        foreign = [text for text in forwarded if text != stated[0] and not self.is_known(text)]
        if foreign:  # otherwise the page's own URLs would point there
            raise _misdirected(foreign)
        if any(not self._same_site(origin, stated[0]) for origin in _texts(headers, b"origin")):
            raise HTTPError(403, "request from another site: open the page itself, or add its host with --host-name")
        if any(site not in ("same-origin", "none") for site in _texts(headers, b"sec-fetch-site")):
            visit = (_texts(headers, b"sec-fetch-mode"), _texts(headers, b"sec-fetch-dest")) == (["navigate"], ["document"])
            if not (visit and path == "/" and method in ("GET", "HEAD")):  # a link to the page itself is harmless
                raise HTTPError(403, "request from another site: open the page itself")

    def _same_site(self, origin: str, stated: str) -> bool:
        found = ORIGIN.fullmatch(origin)
        host = Host.parse(found[1]) if found else None
        return host is not None and (host == Host.parse(stated) or self._is_listed(host))


def _texts(headers: Mapping[bytes, list[bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in headers.get(name, [])]


def _misdirected(named: list[str]) -> HTTPError:
    host = Host.parse(named[0]) if len(named) == 1 else None
    if host is None:
        return HTTPError(421, "invalid or missing Host header: open the page by one of its host names")
    return HTTPError(421, f"this page does not serve {host}: if this is its host name, add --host-name {host}")
