"""Out-of-distribution table: the reference of a run, and counts by kind of image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run

from bts.glossary import Task
from bts.models.folder import read_card
from tools import __main__ as tools_main
from tools.ood_images import ct_like, screenshot, t2_like

HEAD = np.zeros((64, 64), np.uint8)
HEAD[12:52, 16:48] = 100
HEAD[20:30, 20:30] = 180


@pytest.mark.parametrize("task", ["seg", "joint"])
def test_the_reference_is_written_and_the_table_goes_into_the_document(
    tmp_path: Path, mixed_set: Path, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(tmp_path, task, data=mixed_set)
    assert read_card(run.model).ood == {}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- ood:begin -->\n<!-- ood:end -->\nafter\n")
    sets = ["--external", f"clinic=figshare:{mixed_set}", "--other", f"flair=figshare:{mixed_set}"]
    assert tools_main.main(["ood", str(run.path), "--slices", "2", *sets, "--out", str(page)]) == 0
    card = read_card(run.model)
    assert card.ood["limit"] > 0
    assert ("features" in card.ood) is (task == "joint")
    told = capsys.readouterr().out
    assert f"{card.ood['n_test_ood']} of {card.ood['n_test']} test slices" in told
    assert page.read_text().startswith("before\n")
    lines = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ") and "**" not in line]
    assert {"| slices of clinic", "| slices of flair"} < {cells[0] for cells in lines}
    for kind, count, pixels, features, flagged, *_ in lines[1:]:
        by_input, either = (round(float(share[:-1]) * int(count) / 100) for share in (pixels, flagged))
        assert (features != "") is (task == "joint"), kind
        by_features = round(float(features[:-1]) * int(count) / 100) if features else 0
        assert max(by_input, by_features) <= either <= by_input + by_features, kind


def test_slices_for_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert tools_main.main(["ood", "nowhere", "--slices", "0"]) == 2
    assert "--slices 0: expected 1 or more" in capsys.readouterr().err


def test_tissue_is_turned_round_and_the_ground_stays_dark() -> None:
    made = t2_like(HEAD)
    assert made[0, 0] == 0
    assert made[40, 40] == 155
    assert made[25, 25] == 75


def test_bone_is_the_brightest_and_lies_at_the_rim() -> None:
    made = ct_like(HEAD)
    assert made[0, 0] == 0
    assert made[25, 25] < 255
    assert (made == 255).any()


def test_a_screenshot_shows_the_slice_and_is_larger() -> None:
    made = screenshot(HEAD, ground=20, ink=220)
    np.testing.assert_array_equal(made[16:80, 64:128], HEAD)
    assert made.size > 2 * HEAD.size
