"""What the page keeps on the disk: how much, how long, and what is left when something breaks off or the server ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_models import paper_predictor, write_png
from web_server import Served, command, serving

from bts.apps.web.limits import MIB, Limits
from bts.apps.web.service import AnalysisService
from bts.errors import RequestError

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
import httpx
from web_client import FILE, answered, ask, events, everything_in, files_in, one_line, until, upload, uploaded

HALF = b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.png"\r\n\r\n' + bytes(100_000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that removes nothing by itself while the tests run, but what stalls."""
    with serving(tmp_path_factory.mktemp("served"), upload_mib=1, disk_mib=2, stall_seconds=1) as page:
        yield page


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def head(url: str, *lines: str) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=b"
    return "\r\n".join(["POST /gradio_api/upload HTTP/1.1", f"Host: {url[7:]}", kind, *lines, "", ""]).encode()


def test_a_body_that_breaks_off_leaves_nothing(served: Served) -> None:
    before = everything_in(served.root)
    with connected(served.url) as client:
        client.sendall(head(served.url, "Content-Length: 500000") + HALF)
        assert until(lambda: any(path.name == "half.png" for path in files_in(served.root)))
    assert until(lambda: everything_in(served.root) <= before)
    with connected(served.url) as client:
        client.sendall(head(served.url, "Transfer-Encoding: chunked") + b"%x\r\n" % len(HALF) + HALF + b"\r\n")
        assert until(lambda: any(path.name == "half.png" for path in files_in(served.root)))
    assert until(lambda: everything_in(served.root) <= before)
    assert "Traceback" not in served.log.read_text(encoding="utf-8")


def test_a_body_that_stalls_is_broken_off(served: Served) -> None:
    before = everything_in(served.root)
    with connected(served.url) as client:
        client.sendall(head(served.url, "Content-Length: 500000") + HALF)
        told = client.recv(65536).decode()
        assert told.startswith("HTTP/1.1 408")
    assert until(lambda: everything_in(served.root) <= before)


@pytest.mark.parametrize(
    "body",
    [HALF, b"", b"--b--\r\n", b"no form at all", b"--b\r\nContent-Disposition: " + b"a" * 100_000,
     b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + bytes(900_000) + b"\r\n--b--\r\n",
     b"--b\r\n" + b"X-Any: 1\r\n" * 1000 + b"\r\n\r\n--b--\r\n"],
)  # fmt: skip
def test_a_form_that_is_not_whole_is_one_line_and_leaves_nothing(body: bytes, served: Served) -> None:
    before = everything_in(served.root)
    answer = httpx.post(
        f"{served.url}/gradio_api/upload",
        content=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
        timeout=60,
    )
    assert answer.status_code == 400
    assert "incomplete form, or no file in it" in one_line(answer)
    assert everything_in(served.root) <= before


def test_too_large_a_file_leaves_nothing_however_it_is_sent(served: Served) -> None:
    before = everything_in(served.root)
    assert upload(served.url, bytes(2 * MIB), "large.png").status_code == 413
    pieces = iter([HALF, *[bytes(2**16)] * 30, b"\r\n--b--\r\n"])
    headers = {"content-type": "multipart/form-data; boundary=b"}
    try:
        answer = httpx.post(f"{served.url}/gradio_api/upload", content=pieces, headers=headers, timeout=60)
        assert answer.status_code == 413
        assert "too large for this page" in one_line(answer)
    except (httpx.WriteError, httpx.ReadError):  # refused and hung up before all was sent
        pass
    assert until(lambda: everything_in(served.root) <= before)


def test_more_files_at_once_than_the_page_takes_leave_nothing(served: Served) -> None:
    before = everything_in(served.root)
    files = [("files", (f"{number}.png", b"a")) for number in range(Limits().files + 1)]
    answer = httpx.post(f"{served.url}/gradio_api/upload", files=files, timeout=60)
    assert answer.status_code == 413
    assert f"more than {Limits().files} files at once" in one_line(answer)
    assert everything_in(served.root) <= before


def test_all_visitors_together_fill_no_more_than_they_may(tmp_path: Path) -> None:
    with serving(tmp_path, upload_mib=1, disk_mib=2, sweep_seconds=0.2) as page:
        came = [upload(page.url, bytes(MIB * 9 // 10), f"{number}.png") for number in range(4)]
        assert [answer.status_code for answer in came] == [200, 200, 507, 507]
        assert one_line(came[-1]) == "the disk limit of this page, 2 MiB for all visitors, is reached: try again later"
        assert sum(path.stat().st_size for path in files_in(page.root)) <= 2 * MIB
        with page.after_idle_time():
            assert until(lambda: files_in(page.root) == [])  # nobody asked about them
        assert upload(page.url, bytes(MIB * 9 // 10), "next.png").status_code == 200


def test_results_count_too(tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(), root=tmp_path / "private", limits=Limits(disk_mib=1))
    session = service.sessions.get("anna")
    scan = service.receive(write_png(tmp_path / "scan.png"), session=session)
    service.analyse(scan, session=session)
    (service.sessions.results / "large").write_bytes(bytes(MIB))
    with pytest.raises(RequestError, match="the disk limit of this page, 1 MiB for all visitors, is reached"):
        service.analyse(scan, session=session)


def test_what_has_expired_goes_without_another_request(tmp_path: Path) -> None:
    with serving(tmp_path, upload_mib=1, sweep_seconds=0.1) as page:
        uploaded(page.url, tmp_path, "orphan.png")
        path = uploaded(page.url, tmp_path)
        found = answered(events(page.url, ask(page.url, [{"path": path, **FILE}, ""])))
        assert found["class"] == "glioma"
        with page.after_idle_time():
            assert until(lambda: list((page.root / "uploads").iterdir()) + list((page.root / "results").iterdir()) == [])
        assert httpx.get(page.url + found["files"]["mask.png"], timeout=60).status_code == 404


def test_who_is_still_there_keeps_the_uploads(tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(), root=tmp_path / "private", limits=Limits(idle_seconds=1000))
    session = service.sessions.get("anna")
    path = write_png(service.sessions.new_upload() / "scan.png")
    service.sessions.claim(path, session)
    for each in (path, path.parent):
        os.utime(each, (0, 0))
    service.sessions.sweep()
    assert path.is_file()
    service.sessions.close("anna")
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
def test_a_signal_ends_the_server_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    with command(tmp_path) as (server, url, log):
        uploaded(url, tmp_path)
        assert list((tmp_path / "temporary").iterdir()) != []
        os.kill(server.pid or 0, getattr(signal, name))
        server.join(120)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert server.exitcode == 0
    assert "stopped, all uploads and results are removed" in log.read_text(encoding="utf-8")


def test_nohup_is_respected(tmp_path: Path) -> None:
    with command(tmp_path, nohup=True) as (server, url, _):
        os.kill(server.pid or 0, signal.SIGHUP)
        assert httpx.get(url, timeout=60).status_code == 200
        server.terminate()
        server.join(120)
    assert server.exitcode == 0
