"""Tables of the benchmarks: medians, ratios, verdicts and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.clock import in_turn
from bench.growth import most
from bench.lines import Line, rows, table
from bench.page import page, read_results


def test_a_ratio_is_that_of_the_medians() -> None:
    plain, ours = rows([Line("plain", (10.0, 8.0, 90.0)), Line("ours", (3.0, 2.0, 1.0), against="plain", must=0.25)])
    assert plain["median"] == 10.0
    assert plain["ratio"] is None
    assert ours["median"] == 2.0
    assert ours["ratio"] == pytest.approx(0.2)
    assert (ours["low"], ours["high"], ours["n"]) == (1.5, 2.5, 3)


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (Line("ours", (2.0,), against="other", must=0.25), True),
        (Line("ours", (3.0,), against="other", must=0.25), False),
        (Line("ours", (9.0,), unit="scans/s", against="other", must=0.8), True),  # of a rate more is better
        (Line("ours", (7.0,), unit="scans/s", against="other", must=0.8), False),
        (Line("ours", (1.4,), unit="s", must=1.5), True),  # without another line it is the time itself
        (Line("ours", (1.6,), unit="s", must=1.5), False),
        (Line("ours", (1.6,), unit="s"), None),
    ],
)
def test_what_must_be_reached_is_judged_by_the_unit(line: Line, met: bool | None) -> None:
    assert rows([Line("other", (10.0,)), line])[1]["met"] is met


def test_two_lines_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        rows([Line("ours", (1.0,)), Line("ours", (2.0,))])


def test_the_table_shows_every_line() -> None:
    text = table(rows([Line("plain", (4.0,)), Line("ours", (1.0,), against="plain", must=0.5)]))
    assert len(text.splitlines()) == 3
    assert text.splitlines()[2].split()[-3:] == ["plain", "0.5", "yes"]


def test_calls_take_turns_and_the_first_of_each_turn_does_not_count() -> None:
    order: list[str] = []
    times = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, each=1)
    assert "".join(order) == "aabbaabb"
    assert {name: len(found) for name, found in times.items()} == {"a": 2, "b": 2}


def test_n_log_n_is_a_little_more_than_double() -> None:
    assert most(4, 8) == pytest.approx(3.0)  # 8 x 3 / (4 x 2)


def made_result(**changes: Any) -> dict[str, Any]:
    lines = rows([Line("plain", (4.0,)), Line("ours", (1.0,), against="plain", must=0.5)])
    machine = {"cpu": "a processor", "flags": [], "cores": 2, "threads": 2, "load": 0.1, "gpu": None, "system": "Linux x86_64",
               "python": "3.11", "versions": {"numpy": "2.0"}, "time": "2026-01-01 00:00"}  # fmt: skip
    return {
        "bench": "one-scan",
        "question": "How?",
        "quick": False,
        "machine": machine,
        "lines": lines,
        "notes": ["a note"],
    } | changes


def test_the_page_is_filled_from_the_lines_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, out = tmp_path / "bench.jsonl", tmp_path / "docs" / "performance.md"
    old = made_result(notes=["an old note"])
    results.write_text("\n".join(json.dumps(each) for each in (old, made_result())) + "\n")
    assert main(["page", str(results), "--out", str(out)]) == 0
    text = out.read_text()
    assert "| ours | 1 ms | 0.25 | 0.5 | yes |" in text
    assert "a processor" in text
    assert "a note" in text
    assert "an old note" not in text
    assert "not meaningful" not in text


def test_a_quick_look_says_that_it_measures_nothing() -> None:
    assert "not meaningful" in page({"one-scan": made_result(quick=True)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folders"], "no benchmark 'folders' (did you mean 'folder'?)"),
        (["page"], "page: name the file that `python -m bench all` has written"),
        (["page", "nowhere.jsonl"], "nowhere.jsonl: can't be read"),
        (["page", "wrong.jsonl"], "wrong.jsonl: not written by `python -m bench`"),
        (["page", "empty.jsonl"], "no results in the files"),
        (["folder", "page.jsonl"], "'page.jsonl': only page takes files of results"),
    ],
)
def test_a_wrong_request_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.jsonl").write_text("[1]\n")
    Path("empty.jsonl").write_text("\n")
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_of_one_benchmark_the_last_result_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps(made_result(notes=["first"])) + "\n" + json.dumps(made_result(bench="folder")))
    (tmp_path / "b").write_text(json.dumps(made_result(notes=["second"])))
    found = read_results([tmp_path / "a", tmp_path / "b"])
    assert list(found) == ["one-scan", "folder"]
    assert found["one-scan"]["notes"] == ["second"]
