"""Addresses where a file of this server is expected: nothing is fetched, and only one's own uploads are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from web_models import write_png
from web_server import Served, serving

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
import httpx
from web_client import FILE, answered, ask, drain, events, files_in, handlers, listening, one_line, uploaded


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page whose machine counts as the internet, so that Gradio's own filter of addresses keeps nothing back."""
    with serving(tmp_path_factory.mktemp("served"), upload_mib=1, loopback_is_public=True) as page:
        yield page


@pytest.mark.parametrize("way", ["file=", "file/", "proxy=", "file=%68ttp", "HEAD"])
def test_no_address_is_fetched_as_a_file(way: str, served: Served) -> None:
    with listening() as (url, heard):
        path = {"HEAD": f"file={url}", "file=%68ttp": f"file=%68{url[1:]}"}.get(way, f"{way}{url}")
        answer = httpx.request("HEAD" if way == "HEAD" else "GET", f"{served.url}/gradio_api/{path}", timeout=60)
        assert answer.status_code == 404
        assert "secret" not in answer.text
        assert heard == []


def test_no_address_in_a_request_is_fetched(served: Served, tmp_path: Path) -> None:
    before = files_in(served.root)
    path, number = uploaded(served.url, tmp_path), handlers(served.url)
    with listening() as (url, heard):
        planted: list[Any] = [
            {"path": url, **FILE},
            {"path": path, "url": url, **FILE},
            {"path": path, "url": f"{url}?/gradio_api/file={path}", **FILE},
            {"path": None, "url": url, **FILE},
            {"url": url, **FILE},
            {"path": url, "is_stream": True, **FILE},
            {"path": url},
            {"deep": [{"er": {"path": url, **FILE}}]},
        ]
        for each in planted:
            asked = ask(served.url, [each, ""])
            assert "event: complete" not in events(served.url, asked)
            assert asked.status_code == 400, each
            assert "a file that was not uploaded here" in one_line(asked)
            for route, name, data in (
                ("queue/join", "one", [each]),
                ("queue/join", "many", [[each]]),
                ("queue/join", "many", [[{"path": path, **FILE}, each]]),
                ("run/predict", "slice", [each, each]),
            ):
                body = {"data": data, "fn_index": number[name], "session_hash": "abc"}
                joined = httpx.post(f"{served.url}/gradio_api/{route}", json=body, timeout=60)
                if joined.status_code == 200 and route == "queue/join":
                    drain(served.url, "abc")
                assert joined.status_code == 400, each
        assert heard == []
    assert [file for file in files_in(served.root) if file not in before] == [Path(path)]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "etc/passwd", "{root}/uploads/{token}/../../../outside.png", "{root}/uploads/{token}", "{root}/uploads",
     "{root}/outside.png", "//{root}/uploads/{token}/scan.png", "{root}/uploads/{token}/link", "{root}/uploads/a\0b/scan.png",
     "file://{root}/uploads/{token}/scan.png", "{root}/results/{token}/scan.png", ""],
)  # fmt: skip
def test_only_uploads_can_be_asked_about(path: str, served: Served, tmp_path: Path) -> None:
    mine = Path(uploaded(served.url, tmp_path))
    write_png(served.root / "outside.png")
    (mine.parent / "link").symlink_to(served.root / "outside.png")
    named = path.format(root=served.root, token=mine.parent.name)
    asked = ask(served.url, [{"path": named, **FILE}, ""])
    assert asked.status_code == 400
    assert "a file that was not uploaded here" in one_line(asked)
    fetched = httpx.get(f"{served.url}/gradio_api/file={quote(named)}", timeout=60)
    assert fetched.status_code == 404
    assert "PNG" not in fetched.text


def test_an_upload_belongs_to_who_asked_first(served: Served, tmp_path: Path) -> None:
    path = uploaded(served.url, tmp_path)
    assert answered(events(served.url, ask(served.url, [{"path": path, **FILE}, ""], session="anna")))["class"] == "glioma"
    others = events(served.url, ask(served.url, [{"path": path, **FILE}, ""], session="bert"))
    assert "event: error" in others
    assert "the upload has been removed: choose the file again" in others
    assert answered(events(served.url, ask(served.url, [{"path": path, **FILE}, ""], session="anna")))["class"] == "glioma"


def test_equal_files_of_two_visitors_lie_apart(served: Served, tmp_path: Path) -> None:
    first, second = uploaded(served.url, tmp_path), uploaded(served.url, tmp_path)
    assert Path(first).name == Path(second).name == "scan.png"
    assert first != second


def test_one_s_own_upload_can_be_fetched_back(served: Served, tmp_path: Path) -> None:
    path = uploaded(served.url, tmp_path)
    answer = httpx.get(f"{served.url}/gradio_api/file={path}", timeout=60)
    assert answer.status_code == 200
    assert answer.content == (tmp_path / "scan.png").read_bytes()
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["cache-control"] == "no-store"


def test_the_address_that_the_page_sends_along_is_no_harm(served: Served, tmp_path: Path) -> None:
    path = uploaded(served.url, tmp_path, "scan ö (1).png")
    url = f"{served.url}/gradio_api/file={quote(path)}"
    assert answered(events(served.url, ask(served.url, [{"path": path, "url": url, **FILE}, ""])))["source"] == "scan ö (1).png"
