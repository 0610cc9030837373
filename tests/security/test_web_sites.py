"""Requests that other sites send to the page: by a name of their own (DNS rebinding), and from their pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from web_server import Served, serving

from bts.errors import RequestError

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
import httpx
from web_client import files_in, one_line, upload

REQUESTS = [
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/theme.css"),
    ("GET", "/static/js/iframeResizer.contentWindow.min.js"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/heartbeat/abc"),
    ("GET", "/gradio_api/queue/data?session_hash=abc"),
    ("GET", "/gradio_api/upload_progress?upload_id=abc"),
    ("GET", "/gradio_api/call/predict/abc"),
    ("GET", "/results/abc/mask.png"),
    ("POST", "/gradio_api/upload"),
    ("POST", "/gradio_api/queue/join"),
    ("POST", "/gradio_api/run/predict"),
    ("POST", "/gradio_api/call/predict"),
    ("OPTIONS", "/gradio_api/upload"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    names = ("scans.example.org", "other.example.org:8443")
    with serving(tmp_path_factory.mktemp("served"), upload_mib=1, host_names=names) as page:
        yield page


def send(served: Served, method: str, path: str, headers: dict[str, str], **how: Any) -> httpx.Response:
    with httpx.stream(method, served.url + path, headers=headers, timeout=60, **how) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer  # which never ends
        answer.read()
        return answer


def port(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_a_foreign_host_is_refused_on_every_route(method: str, path: str, served: Served) -> None:
    for host in (
        "evil.example",
        f"evil.example:{port(served)}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.7",
    ):
        answer = send(served, method, path, {"host": host})
        assert answer.status_code == 421
        assert f"add --host-name {host}" in one_line(answer)


def test_a_host_that_is_none_is_refused(served: Served) -> None:
    for host in ("", "a b", "user@localhost", "localhost:http", "localhost:99999", "[::1", "localhost/.evil", "löcalhost"):
        answer = send(served, "GET", "/", {"host": host.encode()})  # type: ignore[dict-item]
        assert answer.status_code in (400, 421), host  # the server itself refuses some
        assert "gradio" not in answer.text


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:1234", "LOCALHOST", "localhost:80", "[::1]:7860", "[0:0:0:0:0:0:0:1]", "127.9.9.9",
     "scans.example.org", "Scans.Example.org.", "scans.example.org:443", "other.example.org:8443", "other.example.org"],
)  # fmt: skip
def test_names_of_the_page_are_answered(host: str, served: Served) -> None:
    assert send(served, "GET", "/", {"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["scans.example.org:8080", "other.example.org:8444", "www.scans.example.org", "example.org"])
def test_a_given_name_goes_with_its_port_alone(host: str, served: Served) -> None:
    answer = send(served, "GET", "/", {"host": host})
    assert answer.status_code == 421
    assert f"--host-name {host}" in one_line(answer)


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_a_foreign_origin_is_refused_on_every_route(method: str, path: str, served: Served) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "https://scans.example.org.evil"):
        answer = send(served, method, path, {"origin": origin})
        assert answer.status_code == 403
        assert "another site" in one_line(answer)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_calls_cross_site_is_refused(site: str, method: str, path: str, served: Served) -> None:
    for mode, dest in (("cors", "empty"), ("no-cors", "image"), ("navigate", "iframe")):
        answer = send(served, method, path, {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest})
        assert answer.status_code == 403
        assert "another site" in one_line(answer)


def test_a_link_elsewhere_may_lead_to_the_page_and_to_nothing_else(served: Served) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert send(served, "GET", "/", followed).status_code == 200
    assert send(served, "POST", "/", followed).status_code == 403
    for path in ("/config", "/gradio_api/info", "/gradio_api/heartbeat/abc", "/results/abc/mask.png"):
        assert send(served, "GET", path, followed).status_code == 403


def test_an_upload_from_another_site_leaves_nothing(served: Served) -> None:
    before = files_in(served.root)
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert upload(served.url, b"planted", "planted.png", headers=headers).status_code in (403, 421)
    assert files_in(served.root) == before


def test_no_answer_is_opened_to_other_sites(served: Served) -> None:
    own = {"origin": served.url, "sec-fetch-site": "same-origin"}
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "x-any"}
    for method, path in [*REQUESTS, ("GET", "/gradio_api/file=/etc/passwd"), ("GET", "/nowhere")]:
        answer = send(served, method, path, own | (preflight if method == "OPTIONS" else {}))
        assert not [name for name in answer.headers if name.startswith("access-control")], path
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        if method == "OPTIONS":
            assert answer.status_code == 404


def test_a_proxy_s_name_must_be_given(served: Served) -> None:
    """Proxies put their own name into Host, or leave that of the server there and put theirs into X-Forwarded-Host."""
    kept = {"host": "scans.example.org", "x-forwarded-proto": "https", "origin": "https://scans.example.org"}
    assert send(served, "GET", "/config", kept).json()["root"] == "https://scans.example.org"
    told = {"x-forwarded-host": "scans.example.org", "x-forwarded-proto": "https", "origin": "https://scans.example.org"}
    assert send(served, "GET", "/config", told).json()["root"] == "https://scans.example.org"
    for headers in ({"x-forwarded-host": "evil.example"}, {"x-forwarded-host": "scans.example.org, evil.example"}):
        assert send(served, "GET", "/config", headers).status_code == 421
    widened = {"host": "evil.example", "x-forwarded-host": "scans.example.org"}
    assert send(served, "GET", "/config", widened).status_code == 421


def test_no_header_of_gradio_s_own_moves_the_page(served: Served) -> None:
    moved = send(served, "GET", "/config", {"x-gradio-server": "https://evil.example", "forwarded": "host=evil.example"})
    assert moved.json()["root"] == served.url
    assert "evil.example" not in send(served, "GET", "/", {"x-gradio-server": "https://evil.example"}).text


@pytest.mark.parametrize(
    ("bound", "host", "known"),
    [
        ("127.0.0.1", "192.0.2.7:7860", False),
        ("192.0.2.7", "192.0.2.7:7860", True),
        ("192.0.2.7", "192.0.2.8:7860", False),
        ("0.0.0.0", "192.0.2.8:7860", True),  # an address cannot be pointed elsewhere
        ("0.0.0.0", "evil.example:7860", False),
        ("::", "[2001:db8::1]:7860", True),
        ("::", "[2001:0DB8::0001]", True),
        ("2001:db8::1", "[2001:0db8::0001]:7860", True),
        ("2001:db8::1", "[2001:db8::2]:7860", False),
        ("scanner", "SCANNER:7860", True),
    ],
)
def test_the_address_bound_is_a_name_of_the_page(bound: str, host: str, known: bool) -> None:
    from bts.apps.web.hosts import Hosts

    assert Hosts(bound, port=7860).is_known(host) is known


@pytest.mark.parametrize("name", ["https://scans.example.org", "scans example", "*", "scans.example.org:0", ""])
def test_a_wrong_host_name_is_one_line(name: str) -> None:
    from bts.apps.web.hosts import Hosts

    with pytest.raises(RequestError, match=r"--host-name .*: expected a host name such as scans\.example\.org"):
        Hosts(host_names=(name,))
