"""Phases of a training, and a readable log."""

from __future__ import annotations

import re

import pytest
from small_settings import Make

from bts import progress
from bts.progress import Phase
from bts.training.fit import fit
from bts.training.progress import format_epoch
from bts.training.schedule import Stage


def test_every_part_of_a_training_is_a_phase_and_a_pipe_gets_no_bar(
    cls: Make, phases: list[Phase], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = cls()
    settings.data.batch_size = 2
    fit(settings)
    names = [phase.name for phase in phases]
    assert names[:2] == ["preparing the data", "listing slices"]
    assert {"reading train", "reading val"} <= set(names)
    epochs = ["epoch 1/2", "epoch 1/2, validation", "epoch 2/2", "epoch 2/2, validation"]
    assert names[names.index("building the network") :] == ["building the network", "training", *epochs]
    assert all(phase.done == phase.total for phase in phases if phase.total is not None)
    assert re.fullmatch(r"loss \d+\.\d+, balanced_accuracy \d\.\d+", phases[-2].note)
    assert progress.REPORTER.phases == []
    shown = capsys.readouterr()  # an app that ran before in this process may have set up the log's lines
    assert "\r" not in shown.out + shown.err
    assert "it/s" not in shown.out + shown.err


def test_the_line_of_an_epoch_tells_scores_rate_speed_and_the_time_left() -> None:
    row = {"epoch": 5, "stage": 2, "lr": 3e-4, "train_loss": 0.5, "val_loss_dice": 0.4, "dice": 0.75}
    row |= {"slices_per_s": 12.34, "waiting_share": 0.02, "epoch_s": 60.0}
    told = "epoch 3 of at most 13: train_loss 0.5000, dice 0.7500; rate 0.0003, 12.3 slices/s, 2% waiting for data; "
    for stage, begin in ((Stage(2, "all", 13, 3e-4), "stage 2 "), (Stage(2, "all", 13, 3e-4, is_only=True), "")):
        assert format_epoch(row, stage=stage, epochs=13, before=2) == f"{begin}{told}at most 10 min left"
