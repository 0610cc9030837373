"""The author's folds have no published sum: a file is taken for `cvind.mat` by its size and its values."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from bts.data import download as downloading
from bts.data.download import FOLD_SLICES, FOLDS, download, folds_problem

AUTHORS = np.repeat(np.arange(1, 6, dtype=np.uint8), FOLD_SLICES)
"""As many slices in each fold as the author has, in another order."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the folds above for the author's."""
    monkeypatch.setattr(downloading, "FOLD_VALUES_SHA256", hashlib.sha256(AUTHORS.tobytes()).hexdigest())


def write(path: Path, values: np.ndarray, *, name: str = "cvind", size: int = FOLDS.size) -> bytes:
    """Write a MATLAB 5 file of a size, filled up with a second variable."""
    savemat(path, {name: values, "more": np.zeros(16, np.uint8)})
    savemat(path, {name: values, "more": np.zeros(16 + size - path.stat().st_size, np.uint8)})
    data = path.read_bytes()
    assert len(data) == size
    return data


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server's address, and what it has by path."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", bodies
        running.shutdown()
        thread.join()


def test_the_constants_fit_together() -> None:
    assert sum(FOLD_SLICES) == 3064
    assert (FOLDS.md5, FOLDS.sha256) == (None, None)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("shape", [(1, 3064), (3064, 1)])
def test_the_author_s_folds_are_taken_in_either_direction(shape: tuple[int, int], tmp_path: Path) -> None:
    write(tmp_path / "cvind.mat", AUTHORS.reshape(shape))
    assert folds_problem(tmp_path / "cvind.mat") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (AUTHORS[None], "slices are in other folds"),
        (AUTHORS[None, :-1], "expected 3064 folds from 1 to 5, received 3063 values"),
        (np.where(AUTHORS == 5, 6, AUTHORS)[None], "expected 3064 folds from 1 to 5"),
        (np.where(AUTHORS == 5, 0, AUTHORS)[None], "expected 3064 folds from 1 to 5"),
        (np.where(np.arange(3064) == 0, 2, AUTHORS)[None], r"expected \(570, 655, 562, 613, 664\) .* received \(569, 656,"),
    ],
)
def test_other_values_are_told(values: np.ndarray, message: str, tmp_path: Path) -> None:
    write(tmp_path / "cvind.mat", values)
    assert re.search(message, folds_problem(tmp_path / "cvind.mat") or "")


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "cvind.mat").write_bytes(b"<html>" * 956)
    assert folds_problem(tmp_path / "cvind.mat")
    write(tmp_path / "cvind.mat", AUTHORS[None], name="other")
    assert "cvind" in (folds_problem(tmp_path / "cvind.mat") or "")


def test_folds_of_the_right_size_and_wrong_values_are_not_kept(
    served: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, bodies = served
    bodies[f"/{FOLDS.identity}"] = write(tmp_path / "made.mat", AUTHORS[None])
    report = download(tmp_path / "set", files=[FOLDS], server=address)
    assert report.fetched == []
    assert "it is not the author's" in report.failed["cvind.mat"]
    assert list((tmp_path / "set").iterdir()) == []
    monkeypatch.setattr(downloading, "FOLD_VALUES_SHA256", hashlib.sha256(AUTHORS.tobytes()).hexdigest())
    assert download(tmp_path / "set", files=[FOLDS], server=address).fetched == ["cvind.mat"]
    assert download(tmp_path / "set", files=[FOLDS], server=address).present == ["cvind.mat"]
    (tmp_path / "set" / "cvind.mat").write_bytes(b"\0" * FOLDS.size)  # changed since
    assert download(tmp_path / "set", files=[FOLDS], server=address).fetched == ["cvind.mat"]
