"""Comparison with other software: the page and the short table are those of the data file, and every line has a source."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from tools.alternatives import BLOCK, DATA, page, short_table
from tools.documents import read_block

ROOT = Path(__file__).parents[2]
FOUND = json.loads(DATA.read_text(encoding="utf-8"))


def test_the_documents_are_up_to_date() -> None:
    advice = "run `python -m tools alternatives --readme README.md`"
    assert (ROOT / "docs" / "alternatives.md").read_text(encoding="utf-8") == page(FOUND), advice
    assert read_block(ROOT / "README.md", BLOCK) == short_table(FOUND), advice


def test_every_line_has_a_source_and_the_page_a_date() -> None:
    datetime.date.fromisoformat(FOUND["checked"])
    lines = [line for tool in FOUND["tools"] for line in (*tool["offers"], *tool["other"])]
    assert len(lines) >= 20
    for text, source in lines:
        assert text
        assert source.startswith("https://") or (ROOT / "docs" / source).is_file(), source
