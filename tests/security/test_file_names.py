"""File names with markup, path parts, control characters, formulas or 250 letters are inert wherever they are written."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import write_made_model
from PIL import Image
from scipy.ndimage import gaussian_filter

from bts.apps.cli import main
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, SplitRow
from bts.evaluation.subject import Request
from bts.report.report import write_report

ROOT = Path(__file__).parents[2]
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
            path = tmp_path / "set" / part / ("glioma", "meningioma")[number % 2] / name
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


def test_the_report_of_hostile_names_is_inert(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "run" / "model"
    write_made_model(model, "cls", name="m", classes=["meningioma", "glioma"], trained=[], seed=0)
    out = tmp_path / "report"
    write_report(Request(models={"cls": model}, data="folders", root=str(folder / "Training"), device="cpu", draws=20), out)
    text = (out / "index.html").read_text(encoding="utf-8", errors="surrogateescape")
    page = Tags()
    page.feed(text)
    assert page.risky == []
    assert not any(f"<{tag}" in text for tag in ("img src=x", "script>alert"))
    with (out / "slices.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "@"))]
    for name in NAMES:
        assert any(cell.endswith(name) for row in rows for cell in row.values()), name
    json.loads((out / "metrics.json").read_text(encoding="utf-8"))


COMMANDS = {
    "sources": ["sources", "folders", "set"],
    "audit": ["audit", "folders:set", "--out", "out"],
    "manifest": ["manifest", "folders:set", "--out", "out/manifest.csv"],
    "npz": ["npz", "folders:set", "--out", "out.npz", "--size", "32"],
    "preview": ["preview", "configs/cls.yaml", "--data.source", "folders", "--data.root", "set", "--out", "out/\x1b[2J.png"],
    "train": ["train", "cls", "--data.source", "folders", "--data.root", "set", "--data.unreadable", "skip"],
    "evaluate": ["evaluate", "--cls", "a\x1b[2Jb"],
    "infer": ["infer", "set", "--out", "out", "--cls", "a\x1b[2Jb"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_sends_control_characters_of_a_name_to_the_terminal(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A class and pictures are named with an escape sequence, and one picture is damaged."""
    monkeypatch.chdir(tmp_path)
    for kind in ("glioma", "x\x1b[2Jy"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for number in range(2):
            values = np.random.default_rng(number).integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / "set" / kind / f"a\x1b[31m{number}.png")
    (tmp_path / "set" / "glioma" / "b\x1b[2J.png").write_bytes(b"no picture")
    main(COMMANDS[command])
    told = capsys.readouterr()
    assert told.out + told.err
    assert "\x1b" not in told.out + told.err
    assert r"\x1b[" in told.out + told.err


ENDED_BY_CLI = """
import json, sys
from bts.apps.cli import main
for command in json.loads(sys.argv[1]):
    print("ended with", main(command), [name for name in ("torch", "monai") if name in sys.modules], flush=True)
"""


def test_a_console_that_lacks_letters_gets_escapes(tmp_path: Path) -> None:
    """Windows' consoles have cp1252 or another small set of letters; the names here are Greek and Japanese."""
    for kind in ("glioma", "\u03bc\u03b7\u03bd\u03b9\u03b3\u03b3\u03af\u03c9\u03bc\u03b1"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        values = np.random.default_rng(len(kind)).integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "set" / kind / "\u8133.png")
    (tmp_path / "set" / "glioma" / "\u03b2.png").write_bytes(b"no picture")
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    commands = [["infer", "set", "--out", "out"], ["audit", "folders:set"], ["sources", "folders", "set"]]
    done = subprocess.run(
        [sys.executable, "-c", ENDED_BY_CLI, json.dumps(commands)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    told = done.stdout.decode("cp1252")
    assert done.returncode == 0, told
    assert "Traceback" not in told
    assert "unexpected" not in told
    *by_command, last = re.split(r"ended with [01] \[\]\r?\n", told)  # no torch: none needs it, and its import takes seconds
    assert (len(by_command), last) == (len(commands), ""), told
    assert all(r"\u0" in each or r"\u8133" in each for each in by_command), told
