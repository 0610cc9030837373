"""The reference page of the settings: whole, and as the settings are today."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts.fields import leaf_hints
from bts.settings import SETTINGS
from tools import __main__ as tools_main
from tools.settings_page import page, written

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_in_the_documentation_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "the settings have changed: run `python -m tools settings` and commit docs/settings.md"
    )


@pytest.mark.parametrize("task", SETTINGS)
def test_every_setting_stands_on_it_once_for_each_meaning(task: str) -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(set(rows))
    for key, _ in leaf_hints(SETTINGS[task]):  # type: ignore[index]
        assert any(row.startswith(f"| `{key}` |") for row in rows), key


def test_every_row_has_its_four_cells_filled() -> None:
    for line in page().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 4, line
            assert line.endswith(" |"), line
            assert all(cells), line


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), ("", '""'), ((8, 4), "[8, 4]"), (0.1, "0.1"), ("none", "none")]
)
def test_a_default_is_written_as_yaml_has_it(value: object, text: str) -> None:
    assert written(value) == text


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tools_main.main(["settings", "--out", str(tmp_path / "docs" / "page.md")]) == 0
    assert (tmp_path / "docs" / "page.md").read_text(encoding="utf-8") == page()
