"""Documentation site: its pages exist, references resolve, and nothing is loaded from another host."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
REFERENCES = [
    pytest.param(name, id=name)
    for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
    for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
]


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        yield from pages(item)


def test_every_page_of_the_menu_is_there_and_every_page_is_in_the_menu() -> None:
    named = list(pages(SETTINGS["nav"]))
    assert len(named) == len(set(named))
    there = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert set(named) == there


def test_no_font_is_fetched_and_the_search_is_local() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert "search" in SETTINGS["plugins"]
    assert "offline" not in SETTINGS["plugins"]  # it loads a script from another host
    assert "extra_javascript" not in SETTINGS
    for sheet in SETTINGS["extra_css"]:
        assert not re.search(r"url\(|@import", (ROOT / "docs" / sheet).read_text(encoding="utf-8"))
    assert SETTINGS["strict"] is True


@pytest.mark.parametrize("name", REFERENCES)
def test_what_the_reference_names_has_a_docstring(name: str) -> None:
    module, _, rest = name.rpartition(".")
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError:
        found = getattr(importlib.import_module(module), rest)
    assert (found.__doc__ or "").strip()


def test_the_reference_is_not_empty() -> None:
    assert len(REFERENCES) >= 15
