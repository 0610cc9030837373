"""Hostile files sent to the real page over HTTP: a line for each, and the page goes on answering."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_files import MIB, WAYS, element, five, five_fields, matrix, write_five, write_hdf, write_stolen, zeros
from web_models import write_png
from web_server import Served, serving

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
from web_client import FILE, answered, ask, events, upload


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as page:
        yield page


def told(served: Served, path: Path) -> str:
    """What the page says to a file."""
    (stored,) = upload(served.url, path.read_bytes(), path.name).json()
    return events(served.url, ask(served.url, [{"path": stored, **FILE}, ""]))


def answers_on(served: Served, tmp_path: Path) -> None:
    assert answered(told(served, write_png(tmp_path / "fine.png")))["class"] == "glioma"


@pytest.mark.parametrize("way", WAYS)
def test_no_file_of_the_server_comes_back_as_a_picture(way: str, served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret"  # a real one would be /proc/self/environ, which held the page's password
    secret.write_bytes(bytes(range(256)) * 16)
    found = told(served, write_stolen(tmp_path / "1.mat", secret, way))
    assert "event: complete" not in found
    assert "is a link to another place" in found or "in another file" in found or "other files" in found
    answers_on(served, tmp_path)


def sparse(path: Path) -> None:
    """A field on which SciPy ends the process that reads it."""
    write_five(path, five(five_fields(image=matrix(5, (2**20, 2**20), "", b""))))


def hollow(path: Path) -> None:
    with write_hdf(path, without="image") as file:
        file.create_dataset("cjdata/image", (8192, 4096), "f8", chunks=(256, 256))


def endless(path: Path) -> None:
    with write_hdf(path, without="image") as file:
        data = file.create_dataset("cjdata/image", (64, 64), "i2", chunks=(64, 64), compression="gzip")
        data.id.write_direct_chunk((0, 0), zeros(100 * MIB))


def text(path: Path) -> None:
    """A text of a type that SciPy looks up behind the end of a table."""
    write_five(path, five(five_fields(PID=matrix(4, (1, 3), "", element(24, b"MR1")))), compress=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (sparse, "1.mat: 'image' is a sparse array: expected real numbers"),
        (hollow, "1.mat: its header claims 33554432 pixels: this page takes at most 16777216"),
        (endless, "1.mat: a chunk of field 'image' unpacks to more than 16 MiB"),
        (text, "'PID' is a text of type 24"),
    ],
)
def test_a_file_that_broke_the_server_is_one_line(write, message: str, served: Served, tmp_path: Path) -> None:
    write(tmp_path / "1.mat")
    assert message in told(served, tmp_path / "1.mat")
    assert "Traceback" not in served.log.read_text(encoding="utf-8")
    answers_on(served, tmp_path)
