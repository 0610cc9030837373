"""The notebooks are kept without outputs; `.ci/run` runs them, and here only what runs them is tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import notebooks

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def written(folder: Path, *cells: str) -> Path:
    """Write a notebook of code cells."""
    file = folder / "some.ipynb"
    lines = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    file.write_text(json.dumps({"cells": [*lines, {"cell_type": "markdown", "source": ["1 / 0"]}]}), encoding="utf-8")
    return file


def test_cells_run_in_order_in_one_program_with_variables_in_shell_lines(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    file = written(tmp_path, "name = 'a'\nname += 'b'", f"!echo {{name}}c > {out}")
    assert notebooks.command([str(file)]) == 0
    assert out.read_text(encoding="utf-8").strip() == "abc"


@pytest.mark.parametrize("cell", ["1 / 0", "!exit 3"])
def test_a_notebook_that_fails_is_named(cell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, cell)
    assert notebooks.command([str(file)]) == 1
    assert f"error: {file}: failed, see above" in capfd.readouterr().err


def test_there_are_two_notebooks() -> None:
    assert [file.stem for file in FILES] == ["audit", "quick_start"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_installs_first_has_no_outputs_and_is_valid_code(file: Path) -> None:
    cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert "pip" in "".join(cells[0]["source"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    compile(notebooks.as_script(file.read_text(encoding="utf-8")), file.name, "exec")
