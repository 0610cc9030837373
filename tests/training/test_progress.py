"""Progress bar at a terminal, and a readable log."""

from __future__ import annotations

import sys

import pytest
from small_settings import Make

from bts.training.fit import fit
from bts.training.progress import format_epoch


class Terminal:
    """Standard output that says it is a terminal and keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_epoch_loss_score_and_time_left(cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "150")
    settings = cls()
    settings.data.batch_size = 2
    fit(settings)
    assert "stage 2 epoch 1/2" in terminal.text
    last = [line for line in terminal.text.split("\r") if "epoch 2/2" in line][-1]
    assert "loss=" in last
    assert "balanced_accuracy=" in last
    assert "3/3 [00:0" in last


def test_a_file_or_a_pipe_gets_no_bar(cls: Make, capsys: pytest.CaptureFixture[str]) -> None:
    fit(cls())
    shown = capsys.readouterr()  # an app that ran before in this process may have set up the log's lines
    assert "\r" not in shown.out + shown.err
    assert "it/s" not in shown.out + shown.err


def test_the_line_of_an_epoch_tells_scores_rate_speed_and_the_time_left() -> None:
    row = {"epoch": 5, "stage": 2, "lr": 3e-4, "train_loss": 0.5, "val_loss_dice": 0.4, "dice": 0.75}
    row |= {"slices_per_s": 12.34, "waiting_share": 0.02, "epoch_s": 60.0}
    assert format_epoch(row, epochs=13, before=2) == (
        "stage 2 epoch 3 of at most 13: train_loss 0.5000, dice 0.7500; rate 0.0003, 12.3 slices/s, 2% waiting for data; "
        "at most 10 min left"
    )
