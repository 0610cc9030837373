"""Requests that are refused, and the one line that says why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refusal(Exception):
    """A request that gets a status and one line instead of an answer.

    Attributes:
        status: of HTTP.
        line: for who asked; holds nothing of the request but a checked host name.
        headers: beside those of every answer.
    """

    def __init__(self, status: int, line: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(line)
        self.status, self.line, self.headers = status, line, headers

    async def send(self, send: Send) -> None:
        """Answer with the line."""
        kind = (b"content-type", b"text/plain; charset=utf-8")
        body = f"{self.line}\n".encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": self.status, "headers": [kind, length, *self.headers]})
        await send({"type": "http.response.body", "body": body})
