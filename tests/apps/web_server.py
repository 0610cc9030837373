"""Serves the page for a test, with models on paper, in a process of its own: what it prints is all that it logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]


SLOW_S = 1.0
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
        """Let every answer take a second longer meanwhile, so that a busy browser can still be quicker than the models."""
        slow = _slow(self.root)
        slow.touch()
        try:
            yield
        finally:
            slow.unlink()


def _slow(root: Path) -> Path:
    return root.with_name("slow")


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
    log = folder / "log.txt"
    path = os.pathsep.join([str(ROOT), *(entry for entry in (os.environ.get("PYTHONPATH"),) if entry)])
    (folder / "elsewhere").mkdir()
    environment = os.environ | {"PYTHONPATH": path, "PASSWORD": password, "TMPDIR": str(folder / "elsewhere")}
    how = {"limits": limits, "host_names": host_names, "loopback_is_public": loopback_is_public}
    with log.open("wb") as written:
        server = subprocess.Popen(
            [sys.executable, __file__, str(folder / "private"), json.dumps(how)],
            env=environment,
            cwd=folder,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Served(_address(server, log), folder / "private", log, folder / "elsewhere", server.pid)
    finally:
        server.terminate()
        server.wait(120)


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 600  # a busy machine is no failure
    while time.monotonic() < end and server.poll() is None:
        said = log.read_text(encoding="utf-8").split()
        if said and said[0].startswith("http"):
            return said[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8"))


def main() -> None:
    """Serve until the test ends this process."""
    from web_models import PaperRuntime

    from bts.apps.web.desk import Desk
    from bts.apps.web.hosts import Hosts
    from bts.apps.web.limits import Limits
    from bts.apps.web.serve import Address, build_app, open_socket, quiet_server
    from bts.inference.predictor import Predictor

    root, how = Path(sys.argv[1]), json.loads(sys.argv[2])
    if how["loopback_is_public"]:
        import safehttpx

        safehttpx.is_public_ip = lambda ip: True

    class Runtime(PaperRuntime):
        def run(self, *given: Any, **named: Any) -> Any:
            end = time.monotonic() + SLOW_S
            while _slow(root).exists() and time.monotonic() < end:
                time.sleep(0.05)
            return super().run(*given, **named)

    predictor = Predictor([Runtime(task) for task in ("seg", "cls")])
    desk = Desk(predictor, root=root, limits=Limits(**how["limits"]))
    listening = open_socket(Address(port=0))
    port = listening.getsockname()[1]
    hosts = Hosts(port=port, given=tuple(how["host_names"]))
    server = quiet_server(build_app(desk, password=os.environ["PASSWORD"] or None, hosts=hosts))
    listening.listen()
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
