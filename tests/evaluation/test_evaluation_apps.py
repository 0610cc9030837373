"""Do the commands of evaluation print the headline, name the files, and end wrong requests with one line and status 2?"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from made_runs import made_run
from test_compare import written
from test_score_tables import made_cases

from bts.apps import cli
from tools import __main__ as tools_main


def test_evaluate_writes_the_report_beside_the_run_and_prints_its_headline(
    tmp_path: Path, mixed_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(tmp_path, "seg", data=mixed_set)
    assert cli.main(["evaluate", "--seg", str(run.path), "--device", "cpu", "--draws", "20"]) == 0
    said = capsys.readouterr().out
    assert "Segmentation on the test part of figshare" in said
    assert "95% interval over 20 draws" in said
    assert "Research software, not a medical device." in said
    assert (run.path / "report" / "index.html").is_file()


def test_compare_prints_the_paired_gain_and_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = made_cases()
    runs = [str(written(tmp_path / "a", cases)), str(written(tmp_path / "b", cases.assign(dice=cases["dice"] / 2)))]
    for suffix in (".csv", ".json"):
        out = tmp_path / "new" / f"table{suffix}"
        assert cli.main(["compare", *runs, "--draws", "50", "--out", str(out)]) == 0
        rows = json.loads(out.read_text()) if suffix == ".json" else pd.read_csv(out).to_dict("records")
        assert rows[0]["score"] == "Dice, mean over slices"
        assert rows[0]["verdict"] == "differs"
    assert "120 slices of 27 patients, paired" in capsys.readouterr().out


def test_results_go_between_the_markers_of_a_document(tmp_path: Path) -> None:
    run = written(tmp_path / "a", made_cases())
    page = tmp_path / "results.md"
    page.write_text("# Results\n<!-- results:begin -->\nold\n<!-- results:end -->\nend\n")
    assert tools_main.main(["results", str(run), "--out", str(page)]) == 0
    text = page.read_text()
    assert "| Dice, mean over slices |" in text
    assert text.endswith("<!-- results:end -->\nend\n")
    assert "old" not in text


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
