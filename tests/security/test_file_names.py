"""File names with markup, path parts, control characters, formulas or 250 letters are inert wherever they are written."""

from __future__ import annotations

import csv
import html
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from bts.apps.cli import main
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, SplitRow

pytestmark = pytest.mark.skipif(os.name == "nt", reason="these names are not possible there")
NAMES = (
    "<img src=x onerror=alert(1)>.png",
    "'\"><script>alert(1)<!-- .png",
    "a..%2f..%2fetc%2fpasswd.png",
    "b\\..\\..\\etc\\passwd.png",
    "=1+1.png",
    "a\x1b[31m\x07\nb.png",
    "{{ 7*7 }}{% raw %}.png",
    os.fsdecode(b"\xff\xfe.png"),
    "x" * 246 + ".png",
)


class Tags(HTMLParser):
    """The tags of a page, and the attributes that could run or load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.risky: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.risky += [(name, value) for name, value in attributes if name.startswith("on")]
        self.risky += [(name, value) for name, value in attributes if name == "src" and not str(value).startswith("data:")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts with the same pictures under hostile names, so that each is named in every table and on the page."""
    rows, columns = np.mgrid[:96, :96]
    for part in ("Training", "Testing"):
        for number, name in enumerate(NAMES):
            path = tmp_path / "set" / part / "glioma" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            blobs = gaussian_filter(np.random.default_rng(number).normal(size=(96, 96)), 3)
            head = np.hypot(rows - 48, columns - 48) < 40
            Image.fromarray(((blobs * 400 + 120) * head).clip(0, 255).astype(np.uint8)).save(path)
    return tmp_path / "set"


def test_the_audit_of_hostile_names_is_inert_on_the_page_in_tables_and_on_the_terminal(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    assert main(["audit", f"folders:{folder}", "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    page = Tags()
    text = (out / "index.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.tags.isdisjoint({"script", "iframe", "object", "embed", "form", "link", "base"})
    assert page.risky == []
    assert html.escape(NAMES[0]) in text
    assert "{{ 7*7 }}" in text
    with (out / "leaks.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    for name in NAMES:
        assert any(cell.endswith(name) for cell in cells), name
    json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


def test_a_split_keeps_hostile_names(folder: Path, tmp_path: Path) -> None:
    records = open_source("folders", folder).records()
    rows = tuple(SplitRow(record.path, f"p{i}", "glioma", "train") for i, record in enumerate(records))
    split = Split(rows)
    split.write(tmp_path / "split.csv")
    assert Split.read(tmp_path / "split.csv").rows == rows
    assert len(split.fingerprint) == 16
