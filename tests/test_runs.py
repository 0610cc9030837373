"""Run folders: their parts, new names, and the latest finished run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bts.errors import RequestError
from bts.glossary import Task
from bts.runs import Run, find_latest, new_run


def finished(root: Path, *, time: str, synthetic: bool = False, task: Task = "seg", model: bool = True) -> Run:
    run = new_run(root, task)
    if model:
        run.model.mkdir()
        (run.model / "model.json").write_text("{}")
    run.finished.write_text(json.dumps({"task": task, "synthetic": synthetic, "time": time}))
    return run


def test_a_run_lies_under_its_task(tmp_path: Path) -> None:
    run = new_run(tmp_path / "runs", "cls")
    assert run.path.parent == tmp_path / "runs" / "cls"
    assert run.path.is_dir()


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: new_run(tmp_path, "seg"), range(16)))
    assert len({run.path for run in runs}) == 16


def test_a_file_in_the_way_of_the_runs_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RequestError, match=r"can't create a run folder there.*choose another with --runs"):
        new_run(tmp_path / "runs", "seg")


def test_finishing_leaves_task_kind_of_data_and_time(tmp_path: Path) -> None:
    run = new_run(tmp_path, "seg")
    assert run.marker() is None
    run.finish(task="seg", synthetic=True)
    marker = run.marker()
    assert marker is not None
    assert (marker["task"], marker["synthetic"]) == ("seg", True)
    assert str(marker["time"]).startswith("20")


def test_the_latest_finished_run_is_found(tmp_path: Path) -> None:
    finished(tmp_path, time="2026-01-02")
    latest = finished(tmp_path, time="2026-01-03")
    finished(tmp_path, time="2026-01-01")
    assert find_latest(tmp_path, "seg") == latest


def test_the_latest_run_is_found_across_time_zones(tmp_path: Path) -> None:
    """As text the earlier one is larger."""
    finished(tmp_path, time="2026-01-03T09:00:00+0900")  # midnight in UTC
    latest = finished(tmp_path, time="2026-01-03T02:00:00+0000")
    finished(tmp_path, time="2026-01-02T18:00:00-0500")  # 23 o'clock in UTC
    finished(tmp_path, time="no time")
    assert find_latest(tmp_path, "seg") == latest


def test_an_old_run_on_real_data_goes_before_a_new_one_on_phantoms(tmp_path: Path) -> None:
    phantom = finished(tmp_path, time="2026-01-03", synthetic=True)
    assert find_latest(tmp_path, "seg") == phantom
    real = finished(tmp_path, time="2026-01-01")
    assert find_latest(tmp_path, "seg") == real


def test_runs_that_are_unfinished_damaged_or_of_another_task_are_passed_over(tmp_path: Path) -> None:
    new_run(tmp_path, "seg")
    finished(tmp_path, time="2026-01-01", task="cls")
    finished(tmp_path, time="2026-01-01", model=False)
    finished(tmp_path, time="2026-01-01").finished.write_text("{")
    finished(tmp_path, time="2026-01-01").finished.write_text("[]")
    (tmp_path / "seg" / "notes.txt").write_text("a file among the runs")
    assert find_latest(tmp_path, "seg") is None
    assert find_latest(tmp_path / "nowhere", "seg") is None
