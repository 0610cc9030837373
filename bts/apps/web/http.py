"""HTTP of the page: its routes, and errors that are answered with a status and one line.

Everything else that Gradio serves answers 404.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class HTTPError(Exception):
    """A request that is refused.

    Attributes:
        status: HTTP status code.
        message: one line for the client; holds nothing of the request but a checked host name.
        headers: additional response headers.
    """

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers

    async def respond(self, send: Send) -> None:
        """Send the response."""
        content_type = (b"content-type", b"text/plain; charset=utf-8")
        body = f"{self.message}\n".encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": self.status, "headers": [content_type, length, *self.headers]})
        await send({"type": "http.response.body", "body": body})


Body = Literal["none", "json", "upload"]
ID = r"[A-Za-z0-9_-]{1,64}"
READ = ("GET", "HEAD")


@dataclass(frozen=True)
class Route:
    """A route of the page.

    Attributes:
        path: pattern of the whole path.
        methods: allowed HTTP methods.
        body: kind of the request body.
        private: whether the response may contain data of a scan, which no browser or proxy may cache.
    """

    path: re.Pattern[str]
    methods: tuple[str, ...] = READ
    body: Body = "none"
    private: bool = False


def _route(path: str, methods: tuple[str, ...] = READ, *, body: Body = "none", private: bool = False) -> Route:
    return Route(re.compile(path, re.ASCII), methods, body, private)


UPLOAD, FILE, VIEWER = "/gradio_api/upload", "/gradio_api/file=", "/niivue.js"
ROUTES = (
    # the page itself
    _route(r"/"),
    _route(re.escape(VIEWER)),
    _route(r"/(config|theme\.css|favicon\.ico)"),
    _route(r"/(assets|static/(js|img|fonts))(/[\w-][\w.-]*)+"),
    _route(r"/gradio_api/(info|app_id)"),
    # requests of the page and of API clients
    _route(UPLOAD, ("POST",), body="upload", private=True),
    _route(r"/gradio_api/upload_progress", private=True),
    _route(r"/gradio_api/(queue/join|run/predict|call/predict|cancel)", ("POST",), body="json", private=True),
    _route(rf"/gradio_api/(queue/data|call/predict/{ID})", private=True),
    _route(rf"/gradio_api/heartbeat/{ID}", private=True),
    # the visitor's own uploads and results
    Route(re.compile(re.escape(FILE) + r"/.+", re.DOTALL), private=True),
    _route(rf"/results/{ID}/[\w.-]{{1,64}}", private=True),
)


def find_route(path: str, method: str) -> Route | None:
    """Return the route of a request; None for an unknown one."""
    return next((route for route in ROUTES if method in route.methods and route.path.fullmatch(path)), None)
