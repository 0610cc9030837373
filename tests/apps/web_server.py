"""Serves the page for a test, with models on paper, in a process of its own: what it prints is all that it logs."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from forked import start

ROOT = Path(__file__).resolve().parents[2]


SLOW_S = 0.5
"""How much longer an answer takes while the page is held back."""


class Served(NamedTuple):
    """A running page.

    Attributes:
        url: its address.
        root: its private folder.
        log: where what it prints goes.
        elsewhere: its machine's temporary folder.
        pid: its process.
    """

    url: str
    root: Path
    log: Path
    elsewhere: Path
    pid: int

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let every answer take half a second longer meanwhile, so that a busy browser can still be quicker than the models."""
        slow = _slow(self.root)
        slow.touch()
        try:
            yield
        finally:
            slow.unlink()

    @contextmanager
    def after_idle_time(self) -> Iterator[None]:
        """Put the clock by which data expire forward meanwhile, so that nobody waits for all that is there to expire."""
        later = _later(self.root)
        later.touch()
        try:
            yield
        finally:
            later.unlink()


def _slow(root: Path) -> Path:
    return root.with_name("slow")


def _later(root: Path) -> Path:
    return root.with_name("later")


class _Clock:
    """The two clocks by which data expire; both are ahead by some seconds while the test says so."""

    def __init__(self, root: Path, seconds: float) -> None:
        self.root, self.seconds = root, seconds

    def time(self) -> float:
        return time.time() + self._ahead()

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead()

    def _ahead(self) -> float:
        return self.seconds if _later(self.root).exists() else 0


@contextmanager
def serving(
    folder: Path, *, password: str = "", host_names: tuple[str, ...] = (), loopback_is_public: bool = False, **limits: float
) -> Iterator[Served]:
    """Serve the page.

    Args:
        folder: for everything that it writes.
        password: that it wants, or an empty one.
        host_names: as `--host-name` gives them.
        loopback_is_public: lets Gradio's own filter take this machine for an address of the internet, which it may fetch.
        limits: fields of `Limits`.
    """
    log, elsewhere = folder / "log.txt", folder / "elsewhere"
    server = start(_serve, folder / "private", password, host_names, loopback_is_public, limits, log=log, temporary=elsewhere)
    try:
        yield Served(_address(server, log), folder / "private", log, elsewhere, server.pid or 0)
    finally:
        server.terminate()
        server.join(120)


@contextmanager
def command(folder: Path, *, nohup: bool = False) -> Iterator[tuple[BaseProcess, str, Path]]:
    """Run `bts app` with models on paper and a temporary folder of its own; yield its process, address and what it prints."""
    log = folder / "log.txt"
    server = start(_command, nohup, log=log, temporary=folder / "temporary")
    try:
        yield server, _address(server, log), log
    finally:
        server.kill()
        server.join()


def kept_after_leaving(root: Path) -> int:
    """Show two visitors a picture, let one leave, and print what Gradio keeps: of who left, of who stayed."""
    from gradio.state_holder import StateHolder
    from web_models import paper_predictor

    from bts.apps.web.page import Page
    from bts.apps.web.service import AnalysisService

    service = AnalysisService(paper_predictor(), root=root)
    page, holder = Page(service), StateHolder()
    holder.set_blocks(page.blocks)
    for visitor in ("anna", "bert"):
        service.sessions.get(visitor)
        holder[visitor]._update_value_in_config(page.stage._id, f"picture of {visitor}")
    service.sessions.close("anna")
    sys.stdout.write(
        " ".join(str(f"picture of {visitor}" in str(holder[visitor].config_values)) for visitor in ("anna", "bert"))
    )
    sys.stdout.flush()
    return 0


def _address(server: BaseProcess, log: Path) -> str:
    end = time.monotonic() + 600  # a busy machine is no failure
    while time.monotonic() < end and server.is_alive():
        if log.exists() and (found := re.search(r"(http\S+)\s", log.read_text(encoding="utf-8"))):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(log.read_text(encoding="utf-8"))


def _command(nohup: bool) -> int:
    from web_models import paper_predictor

    from bts.apps import cli
    from bts.inference.predictor import Predictor

    if nohup:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Predictor.load = staticmethod(lambda **how: paper_predictor())  # type: ignore[method-assign]
    return cli.main(["app", "--port", "0"])


def _serve(root: Path, password: str, host_names: tuple[str, ...], loopback_is_public: bool, limits: dict[str, float]) -> None:
    """Serve until the test ends this process."""
    from web_models import PaperRuntime

    from bts.apps.web import sessions
    from bts.apps.web.hosts import Hosts
    from bts.apps.web.limits import Limits
    from bts.apps.web.serve import Address, build_app, open_socket, quiet_server
    from bts.apps.web.service import AnalysisService
    from bts.inference.predictor import Predictor

    if loopback_is_public:
        import safehttpx

        safehttpx.is_public_ip = lambda ip: True

    class Runtime(PaperRuntime):
        def run(self, *given: Any, **named: Any) -> Any:
            end = time.monotonic() + SLOW_S
            while _slow(root).exists() and time.monotonic() < end:
                time.sleep(0.05)
            return super().run(*given, **named)

    predictor = Predictor([Runtime(task) for task in ("seg", "cls")])
    service = AnalysisService(predictor, root=root, limits=Limits(**limits))
    sessions.time = _Clock(root, service.limits.idle_seconds + 1)  # type: ignore[assignment]
    listening = open_socket(Address(port=0))
    port = listening.getsockname()[1]
    hosts = Hosts(port=port, host_names=host_names)
    server = quiet_server(build_app(service, password=password or None, hosts=hosts))
    listening.listen()
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    server.run(sockets=[listening])
