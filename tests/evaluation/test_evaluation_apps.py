"""The commands evaluate, compare and crossval: output, files, and wrong requests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_tables import made_cases, written

from bts.apps import cli
from bts.progress import Phase
from bts.runs import Run


def test_evaluate_writes_the_report_beside_the_run_and_prints_its_headline(
    finished_runs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], phases: list[Phase]
) -> None:
    run = Run(tmp_path / "one")
    shutil.copytree(finished_runs["seg"].path, run.path)
    assert cli.main(["evaluate", "--seg", str(run.path), "--device", "cpu", "--draws", "20"]) == 0
    said = capsys.readouterr().out
    assert "Segmentation on the test part of synthetic phantoms" in said
    assert "95% interval over 20 draws" in said
    assert "Research software, not a medical device." in said
    assert (run.path / "report" / "index.html").is_file()
    names = [phase.name for phase in phases]
    during = names[names.index("evaluating") + 1 :]  # before it the run was made
    assert {"predicting", "reading slices to change", "predicting changed slices"} <= set(during)


def test_compare_prints_the_paired_gain_and_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = made_cases()
    runs = [str(written(tmp_path / "a", cases)), str(written(tmp_path / "b", cases.assign(dice=cases["dice"] / 2)))]
    for suffix in (".csv", ".json"):
        out = tmp_path / "new" / f"table{suffix}"
        assert cli.main(["compare", *runs, "--draws", "50", "--out", str(out)]) == 0
        rows = json.loads(out.read_text()) if suffix == ".json" else pd.read_csv(out).to_dict("records")
        assert rows[0]["score"] == "Dice, mean over slices with a tumour"
        assert rows[0]["verdict"] == "differs"
    assert "120 slices of 27 patients, paired" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate"], "no model is named"),
        (["evaluate", "--seg", "nowhere"], "no such model folder"),
        (["evaluate", "--seq", "x"], "unknown argument '--seq' (did you mean '--seg'?)"),
        (["compare", "one"], "expected at least two runs"),
        (["compare", "one", "two", "--out", "table.txt"], "expected a file that ends in .csv or .json"),
        (["compare", "one", "two"], "one: no scores in it"),
        (["crossval"], "expected --task seg"),
        (["crossval", "--task", "seg", "--folds", "1"], "expected cvind"),
        (["crossval", "--task", "seg", "--data.root", "nowhere"], "nowhere"),
        (["crossval", "--task", "seg", "--optim.lrr", "1"], "lrr"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_two(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["evaluate", "crossval", "compare"])
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"bts {name}" in capsys.readouterr().out
