"""Tables in documents come from the files of a run and stand between their markers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import made_run
from test_compare import written
from test_score_tables import made_cases

from bts.errors import RequestError
from bts.evaluation.finished import Finished, read_finished, said_in
from bts.evaluation.intervals import Interval
from bts.evaluation.scored import with_intervals
from bts.experiments.finish import finish_run
from tools import __main__ as tools_main
from tools.anchors import ANCHORS, _verdict, beside_others
from tools.results_page import BESIDE, RESULTS, fill, long_table, markers, short_table

BEGIN, END = markers(RESULTS)


def test_a_block_replaces_only_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    fill(page, "new")
    fill(page, "newer")
    assert page.read_text() == f"above\n{BEGIN}\nnewer\n{END}\nbelow\n"


@pytest.mark.parametrize("text", ["no markers", BEGIN, END])
def test_a_document_without_both_markers_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(RequestError, match="expected the lines `<!-- results:begin -->` and"):
        fill(page, "new")
    assert page.read_text() == text


def test_a_document_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="name the document to write into"):
        fill(tmp_path / "page.md", "new")


def test_a_folder_without_scores_is_no_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError, match="no scores in it"):
        read_finished(tmp_path)
    assert tools_main.main(["results", str(tmp_path)]) == 2
    assert "name a finished run" in capsys.readouterr().err


def test_scores_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "scores.json").write_text("{")
    (tmp_path / "scores" / "test_slices.csv").write_text("path,family,label\n")
    with pytest.raises(RequestError, match="can't be read"):
        read_finished(tmp_path)


def test_intervals_come_back_from_json() -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n_patients": 9, "n_slices": 20, "seed": 0, "draws": 10, "unit": "patient"}
    found = with_intervals({"a": {"b": score}, "n": 3})
    assert found == {"a": {"b": Interval(0.5, 0.4, 0.6, 9, 20, 0, 10)}, "n": 3}


def test_the_log_gives_machine_and_network_once_and_without_time(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("2026-01-01 10:00:00 device: cpu\n2026-01-01 10:00:01 epoch 1\n2026-01-02 10:00:00 device: cpu\n")
    assert list(said_in(log)) == ["device: cpu"]
    assert list(said_in(tmp_path / "none.log")) == []


def test_a_section_states_each_number_with_interval_patients_and_slices(tmp_path: Path) -> None:
    done = read_finished(written(tmp_path / "report", made_cases()))
    text = long_table([done])
    dice = done.summary["segmentation"]["slice"]["dice"]
    assert f"| Dice, mean over slices | {dice.value:.3f} | {dice.low:.3f} to {dice.high:.3f} | 27 | 120 |" in text
    assert "tested on 120 slices of 27 patients" in text
    assert "20 draws of patients, seed 0" in text
    assert "| glioma |" in text


def test_a_run_names_its_network_split_machine_and_operating_point(tmp_path: Path, mixed_set: Path) -> None:
    run = made_run(tmp_path, "cls", data=mixed_set, limit=2)
    finish_run(run, device="cpu")
    text = long_table([read_finished(run.path)])
    assert "resnet50, ImageNet weights, 32 px, at most 30 epochs" in text
    assert "split fingerprint" in text
    assert "- machine: " in text
    assert "operating point, chosen on validation" in text
    assert "**trained on at most 2 batches an epoch" in text


def test_the_short_table_takes_each_score_from_the_first_that_has_it(tmp_path: Path) -> None:
    whole = made_cases()
    masks = whole.drop(columns=["predicted", "right", "refer", "consistent", "both_right", "cam_energy"])
    classes = whole.drop(columns=["dice", "consistent", "both_right"])
    runs = [read_finished(written(tmp_path / name, cases)) for name, cases in (("a", masks), ("b", classes), ("c", whole))]
    rows, measured = (part.splitlines() for part in short_table(runs).split("\n\n"))
    rows = rows[2:]
    assert len(rows) == 5
    assert measured
    assert all("120 slices of 27 patients" in line for line in measured)
    assert rows[0].startswith(f"| Dice, mean over slices | {whole.dice.mean():.3f} [")
    assert any(row.startswith("| accuracy per slice |") for row in rows)


def of_figshare(path: Path, *, synthetic: bool = False, folds: bool = False) -> Finished:
    """A report on figshare, pooled over folds or not."""
    done = read_finished(written(path, made_cases()))
    scores = done.scores | {"source": "figshare", "by_fold": [{"fold": 1}] if folds else None}
    return replace(done, scores=scores, summary=done.summary | {"synthetic": synthetic})


def test_ours_stand_beside_what_others_report_with_the_gap(tmp_path: Path) -> None:
    done = of_figshare(tmp_path / "report")
    rows = {line.split(" | ")[0].strip("| "): line for line in beside_others([done]).splitlines()[2:]}
    dice = done.summary["segmentation"]["slice"]["dice"]
    missing = 0.83 - dice.value
    assert dice.text() in rows["figshare: Dice per slice"]
    assert ("yes" if missing <= 0 else f"no, {missing:.3f} missing") in rows["figshare: Dice per slice"]


def test_a_goal_that_the_interval_does_not_hold_is_not_called_reached_without_more() -> None:
    anchor = next(each for each in ANCHORS if each.key == "segmentation.healthy_with_mask")
    none = Interval(0.0, 0.0, 0.027, 137, 181, 0, 2000)
    assert _verdict(none, anchor) == "yes, but the interval goes to 0.027"
    assert _verdict(replace(none, high=0.009), anchor) == "yes"
    assert _verdict(replace(none, value=0.02), anchor) == "no, 0.010 missing"


def test_a_line_states_its_goal(tmp_path: Path) -> None:
    done = of_figshare(tmp_path / "report")
    rows = {line.split(" | ")[0].strip("| "): line for line in beside_others([done]).splitlines()[2:]}
    assert "at most 0.01" in rows["healthy slices with a mask drawn"]


def test_phantoms_and_other_sets_stand_beside_nobody(tmp_path: Path) -> None:
    elsewhere = read_finished(written(tmp_path / "other", made_cases()))
    for done in (of_figshare(tmp_path / "report", synthetic=True), elsewhere):
        accuracy = beside_others([done]).splitlines()[2]
        assert "| not measured yet |" in accuracy


def test_pooled_folds_come_before_a_single_split(tmp_path: Path) -> None:
    single, pooled = of_figshare(tmp_path / "a"), of_figshare(tmp_path / "b", folds=True)
    pooled = replace(pooled, scores=pooled.scores | {"part": "every fold once"})
    assert "every fold once" in beside_others([single, pooled]).splitlines()[2]


def test_contradictions_of_a_model_that_cannot_name_the_healthy_stand_on_a_line_of_their_own(tmp_path: Path) -> None:
    can = of_figshare(tmp_path / "can")
    classes = can.summary["classification"]["slice"]["class"]
    assert "no_tumour" in classes
    without = {**can.summary["classification"]["slice"], "class": {k: v for k, v in classes.items() if k != "no_tumour"}}
    cannot = replace(can, summary=can.summary | {"classification": {**can.summary["classification"], "slice": without}})
    for done, measured in ((can, (True, False)), (cannot, (False, True))):
        lines = beside_others([done]).splitlines()
        about = [next(line for line in lines if line.startswith(f"| {text}")) for text in ("mask and class", "the same of")]
        assert tuple("not measured yet" not in line for line in about) == measured


def test_the_comparison_is_written_where_the_document_has_a_place_for_it(tmp_path: Path) -> None:
    report, page = written(tmp_path / "report", made_cases()), tmp_path / "page.md"
    begin, end = markers(BESIDE)
    page.write_text(f"{BEGIN}\n{END}\n{begin}\n{end}\n")
    assert tools_main.main(["results", str(report), "--out", str(page)]) == 0
    assert "| elsewhere | goal | ours |" in page.read_text()


def test_a_run_that_was_allowed_to_leak_says_so_beside_its_scores(tmp_path: Path, mixed_set: Path) -> None:
    run = made_run(tmp_path, "cls", data=mixed_set, limit=2)
    finish_run(run, device="cpu")
    done = read_finished(run.path)
    assert done.settings is not None
    assert "leaks were allowed" not in long_table([done])
    leaky = replace(done, settings=done.settings | {"split": done.settings["split"] | {"leaks": "allow"}})
    assert "**leaks were allowed: the split was not audited**" in long_table([leaky])
