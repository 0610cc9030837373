"""Every test that the page on robust input names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanations" / "robust_input.md"


def test_every_row_names_a_test_that_exists() -> None:
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").split("## Silently wrong")[1].splitlines() if line.startswith("| ")
    ]
    faults = [row for row in rows if not row.startswith("| fault")]
    assert len(faults) >= 60
    missing = []
    for row in faults:
        found = re.search(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", row)
        assert found is not None, row
        file, name = found.groups()
        if not (ROOT / file).is_file() or f"\ndef {name}(" not in (ROOT / file).read_text(encoding="utf-8"):
            missing.append(f"{file}::{name}")
    assert missing == []
