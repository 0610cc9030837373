"""The server of the page: one port for the page, its API and the files of results, behind one guard."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts.apps.web.desk import Desk
from bts.apps.web.files import result_file
from bts.apps.web.guard import Guard
from bts.apps.web.hosts import Hosts
from bts.apps.web.limits import MIB
from bts.apps.web.refusal import Refusal
from bts.apps.web.sweeper import Sweeper
from bts.apps.web.upload import Uploads
from bts.errors import RequestError

LOG = logging.getLogger(__name__)
QUIET = {"GRADIO_RUN_HISTORY": "False"}  # telemetry is switched off in bts.privacy

PROXIES = [name for word in ("all", "http", "https") for name in (f"{word}_proxy", f"{word.upper()}_PROXY")]
"""Proxy variables, which the server ignores: it opens no outward connection, and Gradio's client fails on SOCKS addresses."""

REMEMBERED, UNREAD = 500, 256
"""Visitors of whom Gradio remembers what it showed (60 KiB each), and whose unread answers it keeps (400 KiB each)."""


@dataclass(frozen=True)
class Address:
    """Where the page is found.

    Attributes:
        host: `127.0.0.1` for this machine alone.
        port: of the server; 0 takes a free one.
        root_path: folder of the address under which a proxy shows the page, `"/bts"`.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str = ""


@contextmanager
def private_root() -> Iterator[Path]:
    """Yield a folder that only this user can enter; it is gone afterwards, whatever happened."""
    root = Path(tempfile.mkdtemp(prefix="bts-app-"))  # mkdtemp gives it mode 0700
    try:
        yield root
    finally:
        with undisturbed():
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal that ends a program break off the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), signal.SIG_DFL if handler is None else handler)


def end_on_hangup() -> None:
    """Let SIGHUP (a terminal or a connection that is closed) end the program as SIGTERM does, unless `nohup` keeps it."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, lambda number, frame: signal.raise_signal(signal.SIGTERM))


def build_app(desk: Desk, *, password: str | None = None, root_path: str = "", hosts: Hosts | None = None) -> Any:
    """Return the ASGI application: the page, its API and the results.

    Args:
        desk: answers.
        password: that visitors must give, or None.
        root_path: folder of the address under which a proxy shows the page.
        hosts: names under which the page answers, loopback names where None.

    Raises:
        RequestError: Gradio is not installed.
    """
    os.environ.update(QUIET)
    for name in PROXIES:
        os.environ.pop(name, None)
    os.environ["GRADIO_TEMP_DIR"] = str(desk.sessions.uploads)
    try:
        import gradio as gr
        from fastapi import FastAPI, HTTPException
        from fastapi.responses import FileResponse, PlainTextResponse
        from gradio.utils import LRUCache
    except ImportError as error:
        raise RequestError(f'the page needs Gradio ({error}): pip install "bts[app]"') from error
    from bts.apps.web.page import Page, theme
    from bts.apps.web.views import page_head, style_sheet

    silence_tracebacks()
    page = Page(desk)

    @asynccontextmanager
    async def swept(app: Any) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()

        def sweep() -> None:
            desk.sessions.sweep()
            loop.call_soon_threadsafe(page.tidy)

        with Sweeper(sweep, seconds=desk.limits.sweep_seconds):
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=swept)

    def refused(request: Any, error: Exception) -> Any:
        assert isinstance(error, Refusal)
        return PlainTextResponse(f"{error.line}\n", status_code=error.status)

    app.add_exception_handler(Refusal, refused)
    Uploads(desk.sessions, desk.limits).add_to(app)

    @app.get("/results/{secret}/{name}")
    def fetch(secret: str, name: str) -> Any:
        path = result_file(desk.sessions, secret, name)
        if path is None:
            raise HTTPException(404, "this result is no longer held: choose the file again")
        shown = "inline" if name == "print.html" else "attachment"
        return FileResponse(path, filename=name, content_disposition_type=shown)

    blocks = page.blocks
    blocks.state_session_capacity = REMEMBERED
    blocks.queue(max_size=desk.limits.waiting, default_concurrency_limit=4, api_open=False)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=root_path or None,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=int(desk.limits.upload_mib * MIB),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=style_sheet(),
        head=page_head(),
    )
    blocks._queue.pending_messages_per_session = LRUCache(UNREAD)
    blocks.has_launched = True  # or Gradio, mounted, takes any path of this machine for an upload
    return Guard(app, uploads=desk.sessions.uploads, limits=desk.limits, hosts=hosts, password=password)


def silence_tracebacks() -> None:
    """Let Gradio print one line without a value where it would print a traceback, which can name a file or a patient."""
    import sys
    from importlib import import_module
    from types import SimpleNamespace

    def print_exc(*_: Any, **__: Any) -> None:
        LOG.warning("a request failed: %s", getattr(sys.exc_info()[0], "__name__", "unknown reason"))

    quiet = SimpleNamespace(**{**vars(traceback), "print_exc": print_exc})
    for name in ("queueing", "routes", "route_utils", "utils"):
        vars(import_module(f"gradio.{name}"))["traceback"] = quiet


def open_socket(address: Address) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        RequestError: the port is taken, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except OSError as error:
        listening.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            why = "in use" if error.errno == errno.EADDRINUSE else "reserved for the system"
            raise RequestError(f"port {address.port} is {why}: name another with --port, 0 for any free one") from error
        raise RequestError(
            f"{address.host} is no address of this machine: leave --host out, or name 0.0.0.0 for all"
        ) from error
    except OverflowError as error:
        listening.close()
        raise RequestError(f"port {address.port}: expected 0 to 65535") from error
    return listening


def quiet_server(app: Any, *, behind_proxy: bool = False) -> Any:
    """Return a uvicorn server that logs no request.

    Args:
        app: ASGI application.
        behind_proxy: whether `X-Forwarded-For` and `X-Forwarded-Proto` of processes on this machine are trusted.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=behind_proxy,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
