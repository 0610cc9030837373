"""A local server misbehaves in every way that a real one does; nothing here touches another machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bts.apps import cli
from bts.apps import download as download_app
from bts.data import download as download_module
from bts.data.download import download, unpack
from bts.data.remote_file import RemoteFile, UnreachableError, fetch
from bts.errors import InputError, RequestError

BODY = bytes(range(256)) * 1000


class Misbehaving(http.server.BaseHTTPRequestHandler):
    """Answers from `server.bodies`, each request with the next of `server.manners` (`well` when there are none left)."""

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        server.starts.append(start)
        manner = server.manners.pop(0) if server.manners else "well"
        body = server.bodies.get(self.path)
        if manner.isdigit() or body is None:
            self.send_error(int(manner) if manner.isdigit() else 404)
            return
        if start >= len(body):
            self.send_error(416)
            return
        ranged = manner != "ignores range" and start > 0
        rest = body[start:] if ranged else body
        self.send_response(206 if ranged else 200)
        if ranged:
            first = start + 1 if manner == "other range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if manner == "cuts" else rest)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class Server(http.server.ThreadingHTTPServer):
    """What it serves, how it is to misbehave, and where each request wanted to start."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Misbehaving)
        self.bodies: dict[str, bytes] = {}
        self.manners: list[str] = []
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def serve(server: Server, name: str, identity: int, body: bytes, *, promised: bytes | None = None) -> RemoteFile:
    """Put a body on the server; `promised` is what its size and sums speak of."""
    server.bodies[f"/{identity}"] = body
    promised = body if promised is None else promised
    md5, sha256 = hashlib.md5(promised).hexdigest(), hashlib.sha256(promised).hexdigest()
    return RemoteFile(name, identity, len(promised), md5, sha256)


def archive_of(*names: str) -> bytes:
    """An archive whose members hold their own names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name in names:
            pack.writestr(name, f"slice {name}")
    return buffer.getvalue()


def bring(server: Server, file: RemoteFile, path: Path) -> list[float]:
    """Fetch without waiting; return the pauses that there would have been."""
    pauses: list[float] = []
    fetch(file, f"{server.url}/{file.identity}", path, progress=lambda *_: None, sleep=pauses.append)
    return pauses


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_cut_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.manners = ["cuts", "cuts"]
    bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    half = len(BODY) // 2
    assert server.starts == [0, half, half + half // 2]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_later_call_goes_on_with_the_part_of_an_earlier_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    assert server.starts == [1000]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_server_that_ignores_the_range_starts_the_file_anew(server: Server, tmp_path: Path) -> None:
    server.manners = ["cuts", "ignores range"]
    bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_another_range_than_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.manners = ["cuts", "other range"]
    bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_spoilt_part_is_fetched_once_more_from_the_start(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"?" * 1000)
    bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    assert server.starts == [1000, 0]
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("kind", ["MD5", "SHA256"])
def test_a_wrong_body_is_refused_by_each_sum_alone_and_deleted(kind: str, server: Server, tmp_path: Path) -> None:
    both = serve(server, "a.bin", 1, BODY[::-1], promised=BODY)
    file = RemoteFile("a.bin", 1, both.size, both.md5 if kind == "MD5" else None, both.sha256 if kind == "SHA256" else None)
    with pytest.raises(InputError, match=rf"a\.bin: expected {kind} .*, received .*deleted"):
        bring(server, file, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_is_too_long_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"expected {len(BODY)} bytes, received {len(BODY) + 4}"):
        bring(server, serve(server, "a.bin", 1, BODY + b"more", promised=BODY), tmp_path / "a.bin")


def test_a_body_that_is_too_short_is_refused_without_end(server: Server, tmp_path: Path) -> None:
    """A page that asks to log in, say: nothing comes behind its last byte, however often it is asked."""
    with pytest.raises(InputError, match=rf"a\.bin: expected {len(BODY)} bytes, the server has 6; open .* in a browser"):
        bring(server, serve(server, "a.bin", 1, b"<html>", promised=BODY), tmp_path / "a.bin")


def test_a_missing_file_is_told_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.bin: the server answered 404 Not Found for http.*save it as"):
        bring(server, RemoteFile("a.bin", 9, 10), tmp_path / "a.bin")
    assert server.starts == [0]


def test_a_server_in_trouble_is_asked_again_with_longer_pauses(server: Server, tmp_path: Path) -> None:
    server.manners = ["500", "503", "429"]
    pauses = bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")
    assert pauses == [1.0, 2.0, 4.0]
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_server_that_stays_in_trouble_is_given_up(server: Server, tmp_path: Path) -> None:
    server.manners = ["500"] * 20
    with pytest.raises(InputError, match=r"the server answered 500 .*, 5 times in a row; run again to resume"):
        bring(server, serve(server, "a.bin", 1, BODY), tmp_path / "a.bin")


def test_no_connection_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/1"
    with pytest.raises(UnreachableError, match=r"no connection \(Connection refused\): is this machine online"):
        fetch(
            RemoteFile("a.bin", 1, 10), url, tmp_path / "a.bin", progress=lambda *_: None, sleep=lambda _: pytest.fail("waited")
        )


def test_the_set_is_unpacked_flat_and_a_second_run_downloads_nothing(server: Server, tmp_path: Path) -> None:
    archive = serve(server, "one.zip", 1, archive_of("1.mat", "inside/2.mat", "readme.txt"))
    folds = serve(server, "cvind.mat", 2, b"folds")
    first = download(tmp_path, files=[archive, folds], server=server.url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.mat", "2.mat", "cvind.mat", "unpacked.json"]
    assert (tmp_path / "2.mat").read_text() == "slice inside/2.mat"
    assert (first.fetched, first.slices) == (["one.zip", "cvind.mat"], 2)

    asked = len(server.starts)
    second = download(tmp_path, files=[archive, folds], server=server.url)
    assert len(server.starts) == asked
    assert (second.fetched, second.present, second.slices) == ([], ["one.zip", "cvind.mat"], 2)


def test_a_slice_that_went_missing_is_fetched_again(server: Server, tmp_path: Path) -> None:
    archive = serve(server, "one.zip", 1, archive_of("1.mat", "2.mat"))
    download(tmp_path, files=[archive], server=server.url)
    (tmp_path / "1.mat").write_text("")
    assert download(tmp_path, files=[archive], server=server.url).fetched == ["one.zip"]
    assert (tmp_path / "1.mat").read_text() == "slice 1.mat"


def test_an_archive_that_was_put_there_by_hand_is_taken(server: Server, tmp_path: Path) -> None:
    body = archive_of("1.mat")
    archive = serve(server, "one.zip", 1, body)
    (tmp_path / "one.zip").write_bytes(body)
    download(tmp_path, files=[archive], server=server.url, keep_archives=True)
    assert server.starts == []
    assert (tmp_path / "1.mat").exists()
    assert (tmp_path / "one.zip").exists()


def test_slices_that_were_unpacked_by_hand_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    archive = serve(server, "set_1-2.zip", 1, archive_of("1.mat", "2.mat"))
    (tmp_path / "1.mat").write_text("a slice")
    (tmp_path / "2.mat").write_text("another")
    assert download(tmp_path, files=[archive], server=server.url).present == ["set_1-2.zip"]
    assert server.starts == []
    (tmp_path / "2.mat").unlink()
    assert download(tmp_path, files=[archive], server=server.url).fetched == ["set_1-2.zip"]


@pytest.mark.parametrize("name", ["../1.mat", "/1.mat", "a/../../1.mat", "..\\1.mat", "C:\\1.mat"])
def test_an_archive_with_a_path_that_climbs_out_is_refused_whole(name: str, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "in"
    archive = serve(server, "one.zip", 1, archive_of("5.mat", name))
    report = download(out, files=[archive], server=server.url)
    assert "leads out of the folder: nothing is unpacked" in report.failed["one.zip"]
    assert not list(tmp_path.rglob("*.mat"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no archive", "damaged archive"),
        (archive_of("readme.txt"), "no slice"),
        (archive_of("1.mat", "a/1.mat"), r"two members are named '1\.mat'"),
        (archive_of("1.mat").replace(b"slice 1", b"slice 2", 1), "damaged archive"),
    ],
)
def test_an_archive_that_is_not_right_is_told_apart(body: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "one.zip"
    path.write_bytes(body)
    with pytest.raises(InputError, match=f"one.zip: .*{message}"):
        unpack(path, tmp_path)
    assert not (tmp_path / "1.mat").exists()


def test_one_failing_file_leaves_the_others_done(server: Server, tmp_path: Path) -> None:
    missing = RemoteFile("gone.zip", 9, 10)
    archive = serve(server, "one.zip", 1, archive_of("1.mat"))
    report = download(tmp_path, files=[missing, archive], server=server.url)
    assert list(report.failed) == ["gone.zip"]
    assert (tmp_path / "1.mat").exists()


def test_a_full_disk_is_told_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    huge = RemoteFile("huge.zip", 1, 10**18)
    with pytest.raises(RequestError, match=r"GB are needed for the download, .* GB are free: free disk space"):
        download(tmp_path, files=[huge], server=server.url)
    assert server.starts == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"can't be made .*choose another with --out"):
        download(tmp_path / "file" / "in", files=[])


def test_the_command_reports_and_ends_with_the_right_status(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [serve(server, "one.zip", 1, archive_of("1.mat")), RemoteFile("gone.zip", 9, 10)]
    monkeypatch.setattr(download_app, "download", functools.partial(download, files=files))
    status = cli.main(["download", "--out", str(tmp_path), "--mirror", server.url])
    told = capsys.readouterr()
    assert status == 1
    assert "1 slice in" in told.out
    assert "error: gone.zip: the server answered 404" in told.err


def test_the_published_archives_cover_the_set() -> None:
    ranges = [file.name.removeprefix("brainTumorDataPublic_").removesuffix(".zip") for file in download_module.ARCHIVES]
    numbers = sorted(number for pair in ranges for number in range(int(pair.split("-")[0]), int(pair.split("-")[1]) + 1))
    assert numbers == list(range(1, 3065))
    assert all(len(file.md5 or "") == 32 and len(file.sha256 or "") == 64 for file in download_module.ARCHIVES)


def test_sizes_and_sums_are_those_of_the_shared_table() -> None:
    table = Path(os.environ.get("BTS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "README.md"
    if not table.is_file():
        pytest.skip(f"{table} is not here")
    text = table.read_text(encoding="utf-8")
    for file in download_module.FILES:
        assert f"| {file.name} | {file.identity} | {file.size} | {file.md5 or ''} | {file.sha256 or ''} |" in text.replace(
            "| | |", "|  |  |"
        )
