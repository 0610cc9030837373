"""Addresses of an object store: what lies below them, copies of objects, and one line for what can't be had."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from bts.data.object_store import Address, fetched, find_objects, is_address, open_store
from bts.errors import InputError, RequestError


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """The store of this process, with three objects."""
    store = fsspec.filesystem("memory")
    for key in ("/bucket/scans/10.png", "/bucket/scans/deep/9.nii.gz", "/bucket/scans/.hidden/8.png"):
        store.pipe_file(key, key.encode())
    yield store
    store.rm("/", recursive=True)


def test_an_address_keeps_its_text_through_what_is_done_to_a_path() -> None:
    address = Address("s3://bucket/a b/scan.nii.gz")
    assert str(address) == f"{address}" == "s3://bucket/a b/scan.nii.gz"
    assert str(address.with_name("x.png")) == "s3://bucket/a b/x.png"
    assert pickle.loads(pickle.dumps(address)) == address
    assert str(pickle.loads(pickle.dumps(address))) == str(address)
    assert not address.exists()


@pytest.mark.parametrize("path", ["scans/s3", "s3/scan.png", "https://host/scan.png", "file:///etc/passwd", Path("a.png")])
def test_what_is_in_no_object_store_is_no_address(path: str | Path) -> None:
    assert not is_address(path)


@pytest.mark.usefixtures("store")
def test_the_objects_of_a_folder_are_found_at_any_depth_without_hidden_ones() -> None:
    found = {str(each) for each in find_objects(Address("memory://bucket/scans/"))}
    assert found == {"memory://bucket/scans/10.png", "memory://bucket/scans/deep/9.nii.gz"}


@pytest.mark.usefixtures("store")
def test_an_object_is_on_the_disk_as_long_as_it_is_read() -> None:
    with fetched(Address("memory://bucket/scans/deep/9.nii.gz")) as file:
        assert file.name.endswith(".nii.gz")
        assert file.read_bytes() == b"/bucket/scans/deep/9.nii.gz"
    assert not file.parent.exists()


@pytest.mark.usefixtures("store")
def test_an_object_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(InputError, match=r"^memory://bucket/gone.png: can't be fetched \(no such object\)$"),
        fetched(Address("memory://bucket/gone.png")),
    ):
        pass


def test_s3_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    expected = r"^s3://bucket/scans: S3 is read by pyarrow, which is not installed: pip install 'bts\[s3\]'$"
    with pytest.raises(RequestError, match=expected):
        open_store(Address("s3://bucket/scans"))


@pytest.mark.parametrize("text", ["s3://", "memory:///"])
def test_an_address_without_a_bucket_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"expected \w+://BUCKET/FOLDER$"):
        find_objects(Address(text))


class Refusing(BaseHTTPRequestHandler):
    """Gives every request the answer of its server: status and code of an error of S3."""

    def do_GET(self) -> None:
        status, code = self.server.answer  # type: ignore[attr-defined]
        body = f"<Error><Code>{code}</Code><Message>said so</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Write nothing."""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((403, "AccessDenied"), "ACCESS_DENIED"), ((404, "NoSuchBucket"), "NO_SUCH_BUCKET"), (None, "NETWORK_CONNECTION")],
)
def test_a_refusal_of_s3_is_one_line(answer: tuple[int, str] | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'bts[s3]'")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.answer = answer  # type: ignore[attr-defined]
        port = server.server_port if answer else 9  # nobody listens there
        settings = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
        for name, value in (settings | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
            monkeypatch.setenv(name, value)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RequestError, match=rf"^s3://bucket/scans: can't be listed \(.*{reason}.*\)$") as caught:
            find_objects(Address("s3://bucket/scans"))
        server.shutdown()
    assert "\n" not in str(caught.value)
