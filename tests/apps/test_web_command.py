"""`bts app` before there is a page: wrong requests end with one line, and the password never stands on the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from web_models import paper_predictor

from bts.apps import app, cli
from bts.apps.web import serve
from bts.apps.web.middleware import CONTENT_SECURITY_POLICY
from bts.inference.predictor import Predictor


class NoServer:
    """Stands for uvicorn; ends at once as by Ctrl-C."""

    def run(self, sockets: list[socket.socket]) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How the page was asked for; none is built."""
    asked: list[dict[str, Any]] = []

    def build_app(service: Any, **how: Any) -> None:
        asked.append({"service": service, "root": service.sessions.root, **how})

    monkeypatch.setattr(Predictor, "load", lambda **how: paper_predictor())
    monkeypatch.setattr(serve, "build_app", build_app)

    def quiet_server(page: Any, **how: Any) -> NoServer:
        asked[-1].update(how)
        return NoServer()

    monkeypatch.setattr(serve, "quiet_server", quiet_server)
    monkeypatch.delenv(app.PASSWORD, raising=False)
    return asked


def test_it_listens_on_this_machine_alone_and_leaves_nothing(built: list[dict[str, Any]], capsys: Any) -> None:
    assert cli.main(["app", "--port", "0"]) == 0
    told = capsys.readouterr().out
    assert "open http://127.0.0.1:" in told
    assert "stopped, all uploads and results are removed" in told
    assert built[0]["password"] is None
    assert not built[0]["root"].exists()


def test_limits_and_password_reach_the_page(built: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(app.PASSWORD, "sesam")
    assert cli.main(["app", "--port", "0", "--max-upload", "5", "--max-seconds", "7", "--max-waiting", "3"]) == 0
    limits = built[0]["service"].limits
    assert (limits.upload_mib, limits.seconds, limits.waiting) == (5, 7, 3)
    assert (limits.disk_mib, limits.idle_seconds, limits.sweep_seconds) == (4096, 1800, 30)
    assert built[0]["password"] == "sesam"


def test_host_names_and_what_may_be_kept_reach_the_page(built: list[dict[str, Any]]) -> None:
    names = ["--host-name", "scans.example.org", "--host-name", "other.example.org:8443"]
    assert cli.main(["app", "--port", "0", *names, "--max-disk", "9", "--max-idle", "8"]) == 0
    limits, hosts = built[0]["service"].limits, built[0]["hosts"]
    assert (limits.disk_mib, limits.idle_seconds, limits.sweep_seconds) == (9, 8, 2)
    assert hosts.bound == "127.0.0.1"
    assert hosts.port > 0
    assert hosts.is_known("scans.example.org")
    assert hosts.is_known("other.example.org:8443")
    assert not hosts.is_known("third.example.org")


@pytest.mark.parametrize(
    ("options", "trusted"), [((), False), (("--host-name", "scans.example.org"), True), (("--root-path", "/bts"), True)]
)
def test_forwarded_addresses_are_trusted_behind_a_stated_proxy_only(
    options: tuple[str, ...], trusted: bool, built: list[dict[str, Any]]
) -> None:
    assert cli.main(["app", "--port", "0", *options]) == 0
    assert built[0]["behind_proxy"] is trusted


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_the_server_reads_forwarded_addresses_only_if_told(behind_proxy: bool) -> None:
    assert serve.quiet_server(None, behind_proxy=behind_proxy).config.proxy_headers is behind_proxy


def test_the_page_is_built_behind_a_socks_proxy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from web_models import paper_predictor\n"
        "from bts.apps.web.service import AnalysisService\n"
        "from bts.apps.web.serve import build_app\n"
        "build_app(AnalysisService(paper_predictor(), root=Path(sys.argv[2])))\n"
    )
    environment = {**os.environ, "ALL_PROXY": "socks5://127.0.0.1:9", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_password_is_asked_for(built: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: "sesam")
    assert cli.main(["app", "--port", "0", "--password"]) == 0
    assert built[0]["password"] == "sesam"


def test_an_open_door_is_told(built: list[dict[str, Any]], capsys: Any) -> None:
    assert cli.main(["app", "--port", "0", "--host", "0.0.0.0"]) == 0
    assert (
        "note: anyone who can reach 0.0.0.0 can use the page: set a password with --password or BTS_APP_PASSWORD"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "port 99999: expected 0 to 65535"),
        (["--port", "0", "--host", "203.0.113.7"], "203.0.113.7 is not an address of this machine: omit --host"),
        (
            ["--max-upload", "0"],
            "--max-upload, --max-disk, --max-seconds, --max-waiting and --max-idle: expected numbers above 0",
        ),
        (
            ["--max-disk", "-1"],
            "--max-upload, --max-disk, --max-seconds, --max-waiting and --max-idle: expected numbers above 0",
        ),
        (["--host-name", "http://a.example"], "--host-name 'http://a.example': expected a host name such as scans.example.org"),
        (["--prot", "0"], "unknown argument '--prot' (did you mean '--port'?)"),
    ],
)
def test_a_wrong_request_ends_with_2_and_one_line(
    arguments: list[str], message: str, built: list[dict[str, Any]], capsys: Any
) -> None:
    assert cli.main(["app", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert built == []


def test_a_port_in_use_is_told(built: list[dict[str, Any]], capsys: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.main(["app", "--port", str(port)]) == 2
    assert f"port {port} is in use: select another with --port, or 0 for a free one" in capsys.readouterr().err


def test_an_empty_password_is_refused(built: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv(app.PASSWORD, "")
    assert cli.main(["app", "--port", "0"]) == 2
    assert "empty password: set BTS_APP_PASSWORD to a password, or unset it" in capsys.readouterr().err


def test_without_gradio_the_user_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from bts.apps.web.service import AnalysisService
    from bts.errors import RequestError

    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(serve.os, "environ", dict(serve.os.environ))
    with pytest.raises(RequestError, match=r'pip install "bts\[app\]"'):
        serve.build_app(AnalysisService(paper_predictor(), root=tmp_path / "private"))


def test_the_browser_is_told_to_refuse_every_other_host() -> None:
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "*" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'self';")
