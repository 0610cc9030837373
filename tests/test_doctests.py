"""Examples in docstrings give what they say. Only modules that have some are imported; pytest's search imports all."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for place in ("bts", "bench", "tools") for path in sorted((ROOT / place).rglob("*.py"))]
SHOWING = [path.relative_to(ROOT).with_suffix("") for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", [".".join(path.parts) for path in SHOWING])
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
