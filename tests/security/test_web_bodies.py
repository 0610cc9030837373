"""What is sent to the page: how much of it, in which form, and to which routes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_server import Served, serving

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
import httpx
from web_client import FILE, files_in, handlers, one_line, uploaded

from bench.app import resident_mib

JSON = {"content-type": "application/json"}
ROUTES = ("queue/join", "run/predict", "call/predict", "cancel")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), upload_mib=40) as page:
        yield page


def post(served: Served, route: str, content: bytes, *, chunked: bool = False) -> httpx.Response:
    sent = iter([content[start : start + 2**16] for start in range(0, len(content), 2**16)]) if chunked else content
    return httpx.post(f"{served.url}/gradio_api/{route}", content=sent, headers=JSON, timeout=60)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("route", ROUTES)
def test_a_body_of_json_is_small(route: str, chunked: bool, served: Served) -> None:
    before = resident_mib(served.pid)
    for size in (70_000, 500_000, 30 * 2**20):
        body = b'{"data": ["' + b"a" * size + b'"], "fn_index": 1, "session_hash": "abc"}'
        try:
            answer = post(served, route, body, chunked=chunked)
        except (httpx.WriteError, httpx.ReadError):  # refused and hung up before all was sent
            continue
        assert answer.status_code == 413
        assert "JSON body over" in one_line(answer)
    assert resident_mib(served.pid) < before + 50


def test_many_small_values_are_no_way_round(served: Served) -> None:
    before = resident_mib(served.pid)
    body = b'{"data": [' + b"[]," * (30 * 2**20 // 3) + b'0], "fn_index": 1, "session_hash": "abc"}'
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        assert post(served, "queue/join", body).status_code == 413
    assert resident_mib(served.pid) < before + 50


def test_as_many_files_as_the_page_takes_can_be_named_at_once(served: Served, tmp_path: Path) -> None:
    """The body is over 64 KiB then, and only then may it be."""
    name = "patient " + "ö" * 80 + ".png"
    path = uploaded(served.url, tmp_path, name)
    entry = {"path": path, "url": f"{served.url}/gradio_api/file={path}", "orig_name": name, "size": 151, **FILE}
    number = handlers(served.url)["many"]
    body = {"data": [[entry] * 200], "fn_index": number, "session_hash": "crowd"}
    assert len(json.dumps(body, ensure_ascii=False).encode()) > 64 * 1024
    joined = httpx.post(f"{served.url}/gradio_api/queue/join", json=body, timeout=60)
    assert joined.status_code == 200
    with httpx.stream("GET", f"{served.url}/gradio_api/queue/data?session_hash=crowd", timeout=60) as told:
        assert any("of 200 scans done" in line for line in told.iter_lines())
    stuffed = {"data": [[entry], "a" * 200_000], "fn_index": number, "session_hash": "crowd"}
    assert httpx.post(f"{served.url}/gradio_api/queue/join", json=stuffed, timeout=60).status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[1]", b"7", b'{"data": 1}', b"[" * 60_000, b'{"data": ' + b"[" * 500 + b"]" * 500 + b"}",
     b'{"data": [NaN]}', b'{"data": [-Infinity]}', b'{"data": [' + b"1" * 60_000 + b"]}", b"\xff\xfe{",
     b'{"data": [], "fn_index": "1"}',
     b'{"data": [], "fn_index": true}', b'{"data": [], "session_hash": "../.."}', b'{"data": [], "session_hash": 7}'],
)  # fmt: skip
@pytest.mark.parametrize("route", ROUTES)
def test_json_that_is_none_is_one_line(route: str, body: bytes, served: Served) -> None:
    answer = post(served, route, body)
    assert answer.status_code == 400
    one_line(answer)
    assert "Traceback" not in served.log.read_text(encoding="utf-8")


def test_a_request_that_the_page_cannot_answer_leaves_no_traceback(served: Served) -> None:
    body = {"data": [], "fn_index": 10**6, "session_hash": "abc"}
    answer = httpx.post(f"{served.url}/gradio_api/run/predict", json=body, timeout=60)
    assert answer.status_code in (400, 404, 500)
    assert "Traceback" not in served.log.read_text(encoding="utf-8") + answer.text


def test_a_form_of_another_site_can_send_no_json(served: Served) -> None:
    """Only these kinds of bodies are sent by a form, without asking the server first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        answer = httpx.post(
            f"{served.url}/gradio_api/call/predict", content=b'{"data": []}', headers={"content-type": kind}, timeout=60
        )
        assert answer.status_code == 415
        one_line(answer)


UNUSED = [
    ("POST", "/gradio_api/process_recording"),
    ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/component_server/"),
    ("POST", "/gradio_api/api/predict"),
    ("POST", "/gradio_api/run/predict/"),
    ("POST", "/gradio_api/run/analyse"),
    ("POST", "/gradio_api/call/v2/predict"),
    ("POST", "/gradio_api/call/analyse"),
    ("POST", "/gradio_api/stream/abc"),
    ("POST", "/gradio_api/stream/abc/close"),
    ("POST", "/gradio_api/reset"),
    ("POST", "/gradio_api/vibe-edit/"),
    ("POST", "/gradio_api/vibe-code/"),
    ("POST", "/gradio_api/undo-vibe-edit/"),
    ("POST", "/gradio_api/run-history/connect"),
    ("POST", "/gradio_api/profiling/clear"),
    ("POST", "/login"),
    ("POST", "/config"),
    ("PUT", "/gradio_api/upload"),
    ("DELETE", "/results/abc/mask.png"),
    ("TRACE", "/"),
    ("GET", "/logout"),
    ("GET", "/monitoring"),
    ("GET", "/monitoring/"),
    ("GET", "/monitoring/summary"),
    ("GET", "/monitoring/abc"),
    ("GET", "/gradio_api/deep_link?session_hash=abc"),
    ("GET", "/?deep_link=abc"),
    ("GET", "/config?deep_link="),
    ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
    ("GET", "/gradio_api/file/etc/passwd"),
    ("GET", "/gradio_api/stream/abc/abc/1/playlist.m3u8"),
    ("GET", "/gradio_api/custom_component/a/client/b/c"),
    ("GET", "/gradio_api/vibe-code/"),
    ("GET", "/gradio_api/queue/status"),
    ("GET", "/gradio_api/dev/reload"),
    ("GET", "/gradio_api/runs"),
    ("GET", "/gradio_api/token"),
    ("GET", "/gradio_api/user"),
    ("GET", "/gradio_api/login_check"),
    ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/profiling/traces"),
    ("GET", "/svelte/index.js"),
    ("GET", "/pwa_icon"),
    ("GET", "/manifest.json"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "//config"),
    ("GET", "/static/%2e%2e/config"),
    ("GET", "/static/%2e%2e/%2e%2e/%2e%2e/routes.py"),
    ("GET", "/assets/..%2f..%2findex.html"),
]


@pytest.mark.parametrize(("method", "path"), UNUSED)
def test_what_the_page_does_not_use_is_not_there(method: str, path: str, served: Served) -> None:
    before = files_in(served.root), files_in(served.elsewhere)
    body = {"files": {"files": ("a.wav", b"RIFF")}} if method == "POST" and path.endswith("recording") else {}
    answer = httpx.request(method, served.url + path, timeout=60, **body)  # type: ignore[arg-type]
    assert answer.status_code == 404
    assert "no such page" in one_line(answer)
    assert (files_in(served.root), files_in(served.elsewhere)) == before
