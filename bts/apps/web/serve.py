"""Server of the page: page, API and downloads on one port, behind the security middleware."""

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

from bts.apps.web.downloads import find_result_file
from bts.apps.web.hosts import Hosts
from bts.apps.web.http import VIEWER, HTTPError
from bts.apps.web.limits import MIB
from bts.apps.web.middleware import SecurityMiddleware
from bts.apps.web.result import PRINT, REPORT
from bts.apps.web.service import AnalysisService
from bts.apps.web.upload import Uploads
from bts.errors import RequestError

LOG = logging.getLogger(__name__)
GRADIO_SETTINGS = {"GRADIO_RUN_HISTORY": "False"}  # telemetry is switched off in bts.privacy

PROXIES = [name for word in ("all", "http", "https") for name in (f"{word}_proxy", f"{word.upper()}_PROXY")]
"""Proxy variables, which the server ignores: it opens no outward connection, and Gradio's client fails on SOCKS addresses."""

NIIVUE = Path(__file__).parent / "static" / "niivue.umd.js.gz"
"""The viewer of volumes, as npm has it, compressed; its licences lie beside it."""

MAX_GRADIO_SESSIONS, MAX_UNREAD = 500, 256
"""Number of sessions whose state Gradio keeps (60 KiB each), and whose unread responses it keeps (400 KiB each)."""


@dataclass(frozen=True)
class Address:
    """Address that the server listens on.

    Attributes:
        host: `127.0.0.1` for this machine alone.
        port: port; 0 selects a free one.
    """

    host: str = "127.0.0.1"
    port: int = 7860


@contextmanager
def private_root() -> Iterator[Path]:
    """Yield a folder with mode 0700, and remove it afterwards."""
    root = Path(tempfile.mkdtemp(prefix="bts-app-"))
    try:
        yield root
    finally:
        with signals_ignored():
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP within the block."""
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
    """Let SIGHUP (a closed terminal or connection) end the program like SIGTERM, unless `nohup` ignores it."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, lambda number, frame: signal.raise_signal(signal.SIGTERM))


def build_app(service: AnalysisService, *, password: str | None = None, root_path: str = "", hosts: Hosts | None = None) -> Any:
    """Return the ASGI application: page, API and downloads.

    Args:
        service: analyses the uploads.
        password: password of the page, or None.
        root_path: path under which a proxy serves the page, such as `/bts`.
        hosts: host names of the page; loopback names if None.

    Raises:
        RequestError: Gradio is not installed.
    """
    os.environ.update(GRADIO_SETTINGS)
    for name in PROXIES:
        os.environ.pop(name, None)
    os.environ["GRADIO_TEMP_DIR"] = str(service.sessions.uploads)
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
    page = Page(service)

    @asynccontextmanager
    async def sweep_periodically(app: Any) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(service.limits.sweep_seconds)
                try:
                    await asyncio.to_thread(service.sessions.sweep)
                    page.clean_up()
                except Exception as error:  # its text may contain a file name
                    LOG.warning("removing expired data failed: %s", type(error).__name__)

        task = asyncio.create_task(sweep())
        yield
        task.cancel()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=sweep_periodically)

    def respond(request: Any, error: Exception) -> Any:
        assert isinstance(error, HTTPError)
        return PlainTextResponse(f"{error.message}\n", status_code=error.status)

    app.add_exception_handler(HTTPError, respond)
    Uploads(service.sessions, service.limits).add_routes(app)

    @app.get("/results/{secret}/{name}")
    def fetch(secret: str, name: str) -> Any:
        path = find_result_file(service.sessions, secret, name)
        if path is None:
            raise HTTPException(404, "this result is no longer available: choose the file again")
        shown = "inline" if name in (PRINT, REPORT) else "attachment"
        return FileResponse(path, filename=name, content_disposition_type=shown)

    @app.get(VIEWER)
    def viewer() -> Any:
        headers = {"content-encoding": "gzip", "cache-control": "max-age=86400"}
        return FileResponse(NIIVUE, media_type="text/javascript", headers=headers)

    blocks = page.blocks
    blocks.state_session_capacity = MAX_GRADIO_SESSIONS
    blocks.queue(max_size=service.limits.waiting, default_concurrency_limit=4, api_open=False)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=root_path or None,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=int(service.limits.upload_mib * MIB),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=style_sheet(),
        head=page_head(),
    )
    blocks._queue.pending_messages_per_session = LRUCache(MAX_UNREAD)
    blocks.has_launched = True  # otherwise Gradio, mounted, accepts any path of this machine as an upload
    return SecurityMiddleware(app, uploads=service.sessions.uploads, limits=service.limits, hosts=hosts, password=password)


def silence_tracebacks() -> None:
    """Replace Gradio's tracebacks, which may contain a file name or a patient, by one line without values."""
    import sys
    from importlib import import_module
    from types import SimpleNamespace

    def print_exc(*_: Any, **__: Any) -> None:
        LOG.warning("a request failed: %s", getattr(sys.exc_info()[0], "__name__", "unknown reason"))

    quiet = SimpleNamespace(**{**vars(traceback), "print_exc": print_exc})
    for name in ("queueing", "routes", "route_utils", "utils"):
        vars(import_module(f"gradio.{name}"))["traceback"] = quiet


def open_socket(address: Address) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        RequestError: the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except OSError as error:
        listening.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = "in use" if error.errno == errno.EADDRINUSE else "reserved for the system"
            raise RequestError(f"port {address.port} is {reason}: select another with --port, or 0 for a free one") from error
        raise RequestError(
            f"{address.host} is not an address of this machine: omit --host, or use 0.0.0.0 for all addresses"
        ) from error
    except OverflowError as error:
        listening.close()
        raise RequestError(f"port {address.port}: expected 0 to 65535") from error
    return listening


def quiet_server(app: Any, *, behind_proxy: bool = False) -> Any:
    """Return a uvicorn server without access log.

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
