"""The routes that the page uses. Everything else that Gradio serves answers 404."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Body = Literal["none", "json", "upload"]
ID = r"[A-Za-z0-9_-]{1,64}"
READ = ("GET", "HEAD")


@dataclass(frozen=True)
class Route:
    """One kind of request.

    Attributes:
        path: pattern of the whole path.
        methods: of HTTP.
        body: what is sent along.
        private: whether something of a scan passes, which no browser or proxy may keep.
    """

    path: re.Pattern[str]
    methods: tuple[str, ...] = READ
    body: Body = "none"
    private: bool = False


def _route(path: str, methods: tuple[str, ...] = READ, *, body: Body = "none", private: bool = False) -> Route:
    return Route(re.compile(path, re.ASCII), methods, body, private)


UPLOAD, FILE = "/gradio_api/upload", "/gradio_api/file="
ROUTES = (
    # what the page is made of
    _route(r"/"),
    _route(r"/(config|theme\.css|favicon\.ico)"),
    _route(r"/(assets|static/(js|img|fonts))(/[\w-][\w.-]*)+"),
    _route(r"/gradio_api/(info|app_id)"),
    # what is asked, by the page and by programs
    _route(UPLOAD, ("POST",), body="upload", private=True),
    _route(r"/gradio_api/upload_progress", private=True),
    _route(r"/gradio_api/(queue/join|run/predict|call/predict|cancel)", ("POST",), body="json", private=True),
    _route(rf"/gradio_api/(queue/data|call/predict/{ID})", private=True),
    _route(rf"/gradio_api/heartbeat/{ID}", private=True),
    # what can be fetched: one's own uploads and results
    Route(re.compile(re.escape(FILE) + r"/.+", re.DOTALL), private=True),
    _route(rf"/results/{ID}/[\w.-]{{1,64}}", private=True),
)


def find(path: str, method: str) -> Route | None:
    """Return the route of a request; None where the page has none."""
    return next((route for route in ROUTES if method in route.methods and route.path.fullmatch(path)), None)
