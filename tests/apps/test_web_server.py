"""The page's server as programs meet it: API, password, limits, names, and nothing that points to another host."""

from __future__ import annotations

import base64
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import start
from web_models import write_png, write_volume_file
from web_server import ROOT, Served, kept_after_leaving, serving

from bts.apps.web.limits import MIB

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
import httpx
import web_client
from web_client import FILE, answered, upload


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), upload_mib=1) as page:
        yield page


def ask(url: str, path: str, *, cam: str = "") -> str:
    """Ask as the how-to does with curl; return the last event."""
    return web_client.events(url, web_client.ask(url, [{"path": path, **FILE}, cam]))


def test_a_program_gets_result_json_and_the_files(served: Served, tmp_path: Path) -> None:
    (path,) = upload(served.url, write_png(tmp_path / "scan.png").read_bytes(), "scan.png").json()
    found = answered(ask(served.url, path, cam="pituitary"))
    assert found["class"] == "glioma"
    assert found["cam_class"] == "pituitary"
    assert found["source"] == "scan.png"
    assert set(found["files"]) == {"mask.png", "overlay.png", "result.json", "print.html", "all.zip"}
    for address in found["files"].values():
        answer = httpx.get(served.url + address, timeout=60)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
    assert "content-security-policy" in answer.headers
    assert httpx.get(f"{served.url}/results/guessed/mask.png", timeout=60).status_code == 404


def test_the_python_client_gets_the_same(served: Served, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(served.url, verbose=False, analytics_enabled=False)
    scan = handle_file(str(write_volume_file(tmp_path / "head.nii.gz")))
    found = client.predict(scan, "", api_name="/predict")
    client.close()
    assert found["mask_voxels"] > 0
    assert "mask.nii.gz" in found["files"]


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="no curl or no bash is installed")
def test_the_how_to_s_commands_work(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "scan.png")
    how_to = (ROOT / "docs" / "howto-app.md").read_text(encoding="utf-8").replace("http://127.0.0.1:7860", served.url)
    script, program = (re.search(rf"```{kind}\n(.*?)```", how_to, re.DOTALL) for kind in ("bash", "python"))
    assert script is not None
    assert program is not None
    done = subprocess.run(["bash", "-euc", script[1]], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert "glioma" in done.stdout, done.stderr
    monkeypatch.chdir(tmp_path)
    exec(compile(program[1], "how-to", "exec"), {"__name__": "__main__"})
    assert "glioma" in capsys.readouterr().out


def test_an_error_is_one_line(served: Served) -> None:
    (path,) = upload(served.url, b"no picture", "broken.png").json()
    events = ask(served.url, path)
    assert "event: error" in events
    assert "broken.png: not a readable picture" in events
    assert "Traceback" not in events
    assert str(served.root) not in events


def test_a_name_with_path_parts_stays_in_the_private_folder(served: Served, tmp_path: Path) -> None:
    (path,) = upload(served.url, write_png(tmp_path / "scan.png", side=50).read_bytes(), "../../../../etc/evil.png").json()
    assert Path(path).resolve().is_relative_to((served.root / "uploads").resolve())
    assert Path(path).name == "evil.png"


def test_a_file_of_this_machine_cannot_be_asked_about(served: Served, tmp_path: Path) -> None:
    outside = write_png(tmp_path / "outside.png")
    assert "a file that was not uploaded here" in ask(served.url, str(outside))
    assert httpx.get(f"{served.url}/gradio_api/file={outside}", timeout=60).status_code in (403, 404)
    assert httpx.get(f"{served.url}/gradio_api/file=/etc/passwd", timeout=60).status_code in (403, 404)


def test_a_file_that_is_too_large_is_refused(served: Served) -> None:
    assert upload(served.url, bytes(2 * MIB), "large.png").status_code == 413
    just_over = upload(served.url, bytes(MIB + 10), "large.png")
    assert just_over.status_code == 413
    assert "maximum allowed size" in just_over.text or "too large for this page" in just_over.text


def test_nothing_of_an_upload_lies_elsewhere_and_the_next_one_is_answered(served: Served, tmp_path: Path) -> None:
    half = b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.png"\r\n\r\n' + bytes(100_000)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {served.url[7:]}\r\nContent-Length: 500000\r\n"
    host, port = served.url[7:].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + half)
        assert web_client.until(lambda: any(path.name == "half.png" for path in web_client.files_in(served.root)))
        assert list(served.elsewhere.iterdir()) == []
    (path,) = upload(served.url, write_png(tmp_path / "scan.png").read_bytes(), "scan.png").json()
    assert answered(ask(served.url, path))["class"] == "glioma"
    assert "Traceback" not in served.log.read_text(encoding="utf-8")


def test_the_private_folder_is_for_this_user_alone(served: Served) -> None:
    for folder in (served.root / "uploads", served.root / "results"):
        assert folder.stat().st_mode & 0o077 == 0


def test_closing_the_page_removes_everything(served: Served, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(served.url, verbose=False, analytics_enabled=False)
    found = client.predict(handle_file(str(write_png(tmp_path / "mine.png", side=60))), "", api_name="/predict")
    assert httpx.get(served.url + found["files"]["mask.png"], timeout=60).status_code == 200
    key = client.session_hash
    with httpx.stream("GET", f"{served.url}/gradio_api/heartbeat/{key}", timeout=60) as beat:
        next(beat.iter_text())  # the page is open, and then it is not
    end = time.monotonic() + 60
    while httpx.get(served.url + found["files"]["mask.png"], timeout=60).status_code == 200 and time.monotonic() < end:
        time.sleep(0.2)
    assert httpx.get(served.url + found["files"]["mask.png"], timeout=60).status_code == 404
    assert not list((served.root / "uploads").rglob("mine.png"))
    client.close()


def test_gradio_keeps_no_picture_for_who_has_left(tmp_path: Path) -> None:
    """In a process of its own, as event loops stay open."""
    log = tmp_path / "log.txt"
    process = start(kept_after_leaving, tmp_path / "private", log=log, temporary=tmp_path / "elsewhere")
    process.join(240)
    assert log.read_text(encoding="utf-8") == "False True"


def test_the_page_names_no_other_host_that_it_would_load_from(served: Served) -> None:
    html = httpx.get(served.url, timeout=60).text
    loaded = re.findall(r"""(?:src|href)=["'](https?://[^"']+)""", html)
    assert [address for address in loaded if not address.startswith(served.url)] == []
    assert "googleapis" not in html
    theme = httpx.get(f"{served.url}/theme.css", timeout=60).text
    assert "@import" not in theme
    assert "url('http" not in theme.replace('"', "'")


def test_nothing_of_a_scan_is_logged(served: Served, tmp_path: Path) -> None:
    (path,) = upload(served.url, write_png(tmp_path / "smith.png").read_bytes(), "smith.png").json()
    assert "complete" in ask(served.url, path)
    (path,) = upload(served.url, b"no picture", "smith.png").json()
    assert "error" in ask(served.url, path)
    assert "not uploaded here" in ask(served.url, str(tmp_path / "smith.png"))
    assert served.log.read_text(encoding="utf-8").splitlines() == [served.url]  # no name, no value, no traceback


def test_a_password_guards_every_path(tmp_path: Path) -> None:
    with serving(tmp_path, password="sesam, öffne") as page:
        for path in ("/", "/config", "/gradio_api/info", "/theme.css", "/results/a/mask.png", "/gradio_api/startup-events"):
            assert httpx.get(page.url + path, timeout=60).status_code == 401
        answer = httpx.get(page.url, timeout=60)
        assert answer.headers["www-authenticate"].startswith("Basic")
        for wrong in ("Basic !!", "Basic " + base64.b64encode(b"a:sesam").decode()):
            assert httpx.get(page.url, headers={"authorization": wrong}, timeout=60).status_code == 401
        right = "Basic " + base64.b64encode("anyone:sesam, öffne".encode()).decode()
        assert httpx.get(page.url, headers={"authorization": right}, timeout=60).status_code == 200
