"""Who may come in, how much may they send, and what may their browser load? Asked before anything else sees the request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

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
]
PRIVATE = ("/results/", "/gradio_api/file", "/gradio_api/queue", "/gradio_api/call")
"""Paths under which something of a scan passes: no browser or proxy may keep it."""
BESIDES = 64 * 1024
"""Bytes of a form around a file."""
WRONG_PASSWORD_WAITS = 1.0
"""Seconds, so that nobody tries many."""


class Guard:
    """ASGI middleware: password, size of what is sent, and headers of every answer."""

    def __init__(self, app: App, *, password: str | None = None, largest: int) -> None:
        self.app, self.password, self.largest = app, password, largest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # none is used
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self._known(headers.get(b"authorization", b"")):
            await asyncio.sleep(WRONG_PASSWORD_WAITS if b"authorization" in headers else 0)
            await _answer(send, 401, "a password is wanted", (b"www-authenticate", b'Basic realm="bts", charset="UTF-8"'))
        elif _length(headers) > self.largest + BESIDES:
            most = self.largest // 2**20
            await _answer(send, 413, f"more than {most} MiB: this page takes no larger file, use `python infer.py`")
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        from starlette.requests import ClientDisconnect

        try:
            await self.app(scope, self._counted(receive), _with_headers(send, path=str(scope["path"])))
        except ClientDisconnect:  # an upload that broke off: nobody is there to be told, and the server would print a traceback
            return

    def _known(self, authorization: bytes) -> bool:
        if self.password is None:
            return True
        try:
            kind, _, coded = authorization.partition(b" ")
            given = base64.b64decode(coded, validate=True).partition(b":")[2] if kind.lower() == b"basic" else b""
        except binascii.Error:
            return False
        return secrets.compare_digest(given, self.password.encode())

    def _counted(self, receive: Receive) -> Receive:
        """End a body without a stated length where it grows too large."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            return {"type": "http.disconnect"} if total > self.largest + BESIDES else message

        return counted


def _length(headers: dict[bytes, bytes]) -> int:
    stated = headers.get(b"content-length", b"0")
    return int(stated) if stated.isdigit() else 0


def _with_headers(send: Send, *, path: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = HEADERS + ([(b"cache-control", b"no-store")] if path.startswith(PRIVATE) else [])
            names = {name for name, _ in extra}
            message["headers"] = [pair for pair in message.get("headers", []) if pair[0].lower() not in names] + extra
        await send(message)

    return sent


async def _answer(send: Send, status: int, line: str, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *HEADERS, *headers]})
    await send({"type": "http.response.body", "body": f"{line}\n".encode()})
