"""What is checked of every request before anything else sees it, and the headers of every answer.

In this order: the host that is named and the site that asks, the password, the route, and what is sent along.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from bts.apps.web.bodies import EACH_FILE, LARGEST, checked, read_body
from bts.apps.web.hosts import Hosts
from bts.apps.web.limits import MIB, Limits
from bts.apps.web.passwords import Passwords
from bts.apps.web.refusal import App, Message, Receive, Refusal, Send
from bts.apps.web.routes import Route, find
from bts.apps.web.upload import BESIDES, too_large

LOG = logging.getLogger(__name__)
Headers = Mapping[bytes, list[bytes]]

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Content-Security-Policy: the browser itself refuses every other host. Gradio's page builds functions from text."""
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
DROPPED = (b"x-gradio-server", b"forwarded")
"""Headers of a request from which Gradio, or somebody later, would take the address of the page."""
COOKIE = "bts-known"
"""Tells that this browser has given the right password."""
COOKIE_S = 30 * 24 * 3600


class Guard:
    """ASGI middleware: who may ask what, and how much may be sent.

    Args:
        app: what is guarded.
        uploads: folder under which files of a request may lie.
        limits: what is accepted.
        hosts: names of the page.
        password: that visitors must give, or None.
    """

    def __init__(
        self, app: App, *, uploads: Path, limits: Limits, hosts: Hosts | None = None, password: str | None = None
    ) -> None:
        self.app, self.uploads, self.limits, self.hosts = app, uploads, limits, hosts or Hosts()
        self.passwords = None if password is None else Passwords(password)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # none is used
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._answer(scope, receive, answer)
        except Refusal as refusal:
            await refusal.send(answer)
        except ConnectionError:  # nobody is there to be told
            return
        except Exception as error:  # its text, and its traceback, may name a file or a patient
            if type(error).__name__ != "ClientDisconnect":  # Starlette's word for the same
                LOG.warning("a request failed: %s", type(error).__name__)
            if not answer.begun:
                await Refusal(500, "this went wrong: try again, and report it if it does again").send(answer)

    async def _answer(self, scope: Message, receive: Receive, answer: _Answer) -> None:
        headers: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for name, value in scope["headers"]:
            headers[bytes(name).lower()].append(bytes(value))
        method, path = str(scope["method"]), str(scope["path"])
        self.hosts.check(headers, method=method, path=path)
        self._check_password(scope, headers, answer)
        route = find(path, method)
        if route is None or "deep_link" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            raise Refusal(404, "no such address on this page")
        if route.private:
            answer.headers.append((b"cache-control", b"no-store"))
        receive, length = await self._check_body(route, headers, receive)
        kept = [(name, value) for name, value in scope["headers"] if bytes(name).lower() not in DROPPED]
        if length is not None:  # the body was written anew
            framing = (b"content-length", b"transfer-encoding")
            kept = [pair for pair in kept if bytes(pair[0]).lower() not in framing]
            kept.append((b"content-length", str(length).encode()))
        await self.app({**scope, "headers": kept}, receive, answer)

    def _check_password(self, scope: Message, headers: Headers, answer: _Answer) -> None:
        if self.passwords is None:
            return
        client = str((scope.get("client") or ("",))[0])
        given = headers.get(b"authorization", [b""])[0]
        verdict = self.passwords.check(given, client=client, token=_token(headers))
        if verdict.wait_s:
            line = f"too many wrong passwords: try again in {verdict.wait_s} s"
            raise Refusal(429, line, (b"retry-after", str(verdict.wait_s).encode()))
        if not verdict.right:
            raise Refusal(401, "a password is wanted", (b"www-authenticate", b'Basic realm="bts", charset="UTF-8"'))
        if not verdict.known and scope["path"] == "/":
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            cookie = f"{COOKIE}={self.passwords.new_token()}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict{secure}"
            answer.headers.append((b"set-cookie", cookie.encode()))

    async def _check_body(self, route: Route, headers: Headers, receive: Receive) -> tuple[Receive, int | None]:
        """Return where the body comes from, and its length where it was read and written anew."""
        stated = headers.get(b"content-length", [b"0"])[0]
        length = int(stated) if stated.isdigit() else 0
        if route.body == "upload":
            if length > self.limits.upload_mib * MIB + BESIDES:
                raise too_large(self.limits)
            return receive, None
        if route.body == "none":
            return receive, None
        if not headers.get(b"content-type", [b""])[0].lower().startswith(b"application/json"):
            raise Refusal(415, "expected a body of application/json")
        most = LARGEST + self.limits.files * EACH_FILE
        body = await read_body(receive, length=length, most=most, patience_s=self.limits.stall_seconds)
        body = checked(body, uploads=self.uploads, known=self.hosts.known)
        return _again(body, receive), len(body)


class _Answer:
    """Sends an answer with our headers and without those that open it to other sites.

    Attributes:
        headers: that are added.
        begun: whether something was sent.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.headers = list(HEADERS)
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            names = {name for name, _ in self.headers}
            kept = [(name, value) for name, value in message.get("headers", []) if not _replaced(bytes(name).lower(), names)]
            message["headers"] = kept + self.headers
        await self._send(message)


def _replaced(name: bytes, ours: set[bytes]) -> bool:
    return name in ours or name.startswith(b"access-control-")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a body once, and afterwards what the server tells."""
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
