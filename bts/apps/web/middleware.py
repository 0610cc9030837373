"""Security middleware: checks of every request before Gradio sees it, and security headers of every response.

The checks are, in this order: host and origin, password, route, and body.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from bts.apps.web.hosts import Hosts
from bts.apps.web.http import App, HTTPError, Message, Receive, Route, Send, find_route
from bts.apps.web.json_body import MAX_BYTES, MAX_BYTES_PER_FILE, read_body, sanitise_body
from bts.apps.web.limits import MIB, Limits
from bts.apps.web.passwords import Passwords
from bts.apps.web.upload import FORM_OVERHEAD, too_large

LOG = logging.getLogger(__name__)
Headers = Mapping[bytes, list[bytes]]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""The browser refuses requests to every other host. Gradio's page needs 'unsafe-eval'."""
HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
DROPPED_HEADERS = (b"x-gradio-server", b"forwarded")
"""Request headers from which Gradio or another library would take the URL of the page."""
COOKIE = "bts-known"
"""Device cookie of a browser that has authenticated."""
COOKIE_S = 30 * 24 * 3600


class SecurityMiddleware:
    """ASGI middleware that checks every request.

    Args:
        app: the wrapped application.
        uploads: folder of the uploads.
        limits: limits of the page.
        hosts: host names of the page.
        password: password of the page, or None.
    """

    def __init__(
        self, app: App, *, uploads: Path, limits: Limits, hosts: Hosts | None = None, password: str | None = None
    ) -> None:
        self.app, self.uploads, self.limits, self.hosts = app, uploads, limits, hosts or Hosts()
        self.passwords = None if password is None else Passwords(password)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Forward a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # none is used
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        response = _Response(send)
        try:
            await self._handle(scope, receive, response)
        except HTTPError as error:
            await error.respond(response)
        except ConnectionError:  # the client has disconnected
            return
        except Exception as error:  # its text and traceback may contain a file name or a patient
            if type(error).__name__ != "ClientDisconnect":  # the same in Starlette
                LOG.warning("a request failed: %s", type(error).__name__)
            if not response.started:
                await HTTPError(500, "internal error: try again, and report it if it persists").respond(response)

    async def _handle(self, scope: Message, receive: Receive, response: _Response) -> None:
        headers: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for name, value in scope["headers"]:
            headers[bytes(name).lower()].append(bytes(value))
        method, path = str(scope["method"]), str(scope["path"])
        self.hosts.check(headers, method=method, path=path)
        self._check_password(scope, headers, response)
        route = find_route(path, method)
        if route is None or "deep_link" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            raise HTTPError(404, "no such page")
        if route.private:
            response.headers.append((b"cache-control", b"no-store"))
        receive, length = await self._check_body(route, headers, receive)
        kept = [(name, value) for name, value in scope["headers"] if bytes(name).lower() not in DROPPED_HEADERS]
        if length is not None:  # the body was serialised again
            framing = (b"content-length", b"transfer-encoding")
            kept = [pair for pair in kept if bytes(pair[0]).lower() not in framing]
            kept.append((b"content-length", str(length).encode()))
        await self.app({**scope, "headers": kept}, receive, response)

    def _check_password(self, scope: Message, headers: Headers, response: _Response) -> None:
        if self.passwords is None:
            return
        client = str((scope.get("client") or ("",))[0])
        given = headers.get(b"authorization", [b""])[0]
        result = self.passwords.check(given, client=client, token=_token(headers))
        if result.wait_s:
            line = f"too many wrong passwords: try again in {result.wait_s} s"
            raise HTTPError(429, line, (b"retry-after", str(result.wait_s).encode()))
        if not result.accepted:
            raise HTTPError(401, "authentication required", (b"www-authenticate", b'Basic realm="bts", charset="UTF-8"'))
        if not result.trusted and scope["path"] == "/":
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            cookie = f"{COOKIE}={self.passwords.new_token()}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict{secure}"
            response.headers.append((b"set-cookie", cookie.encode()))

    async def _check_body(self, route: Route, headers: Headers, receive: Receive) -> tuple[Receive, int | None]:
        """Return the source of the body, and its length if it was serialised again."""
        stated = headers.get(b"content-length", [b"0"])[0]
        length = int(stated) if stated.isdigit() else 0
        if route.body == "upload":
            if length > self.limits.upload_mib * MIB + FORM_OVERHEAD:
                raise too_large(self.limits)
            return receive, None
        if route.body == "none":
            return receive, None
        if not headers.get(b"content-type", [b""])[0].lower().startswith(b"application/json"):
            raise HTTPError(415, "expected Content-Type application/json")
        limit = MAX_BYTES + self.limits.files * MAX_BYTES_PER_FILE
        body = await read_body(receive, length=length, max_bytes=limit, timeout_s=self.limits.stall_seconds)
        body = sanitise_body(body, uploads=self.uploads, is_known_host=self.hosts.is_known)
        return _replay(body, receive), len(body)


class _Response:
    """ASGI send callable that adds the security headers and drops CORS headers.

    Attributes:
        headers: headers that are added.
        started: whether the response has started.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.headers = list(HEADERS)
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            names = {name for name, _ in self.headers}
            kept = [(name, value) for name, value in message.get("headers", []) if not _replaced(bytes(name).lower(), names)]
            message["headers"] = kept + self.headers
        await self._send(message)


def _replaced(name: bytes, added: set[bytes]) -> bool:
    return name in added or name.startswith(b"access-control-")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return an ASGI receive callable that yields the body first, then the server's further messages."""
    notified = False

    async def receive_again() -> Message:
        nonlocal notified
        if notified:
            return await receive()
        notified = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _token(headers: Headers) -> str:
    cookies = SimpleCookie()
    try:
        for text in headers.get(b"cookie", []):
            cookies.load(text.decode("latin-1"))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
