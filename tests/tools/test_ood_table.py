"""Out-of-distribution table: the reference of a run, and counts by kind of image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run

from bts.models.folder import read_card
from tools import __main__ as tools_main
from tools.ood_images import ct_like, screenshot, t2_like

HEAD = np.zeros((64, 64), np.uint8)
HEAD[12:52, 16:48] = 100
HEAD[20:30, 20:30] = 180


def test_the_reference_is_written_and_the_table_goes_into_the_document(
    tmp_path: Path, mixed_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(tmp_path, "seg", data=mixed_set)
    assert read_card(run.model).ood == {}
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- ood:begin -->\n<!-- ood:end -->\nafter\n")
    assert tools_main.main(["ood", str(run.path), "--slices", "2", "--out", str(page)]) == 0
    card = read_card(run.model)
    assert card.ood["limit"] > 0
    told = capsys.readouterr().out
    assert f"{card.ood['n_test_ood']} of {card.ood['n_test']} test slices" in told
    table = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ") and "**" not in line]
    assert len(table) > 10
    for kind, count, outside, share in table[1:]:
        assert share == f"{int(outside) / int(count):.1%} |", kind
    assert page.read_text().startswith("before\n")


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
