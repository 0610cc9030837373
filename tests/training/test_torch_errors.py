"""Errors of torch are told in one line that says what to do."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from small_settings import Make

from bts.data.dataset import SliceDataset
from bts.errors import RequestError
from bts.runs import Run
from bts.settings import SegSettings
from bts.training.fit import fit
from bts.training.torch_errors import explain


def told(settings: Any) -> str:
    with pytest.raises(RequestError) as error:
        fit(settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="the system has no bus errors")
def test_loader_processes_without_shared_memory(cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()

    def read(self: SliceDataset, which: Any) -> Any:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGBUS)  # what a write to a full /dev/shm raises
        return whole(self, which)

    whole = SliceDataset.__getitem__
    monkeypatch.setattr(SliceDataset, "__getitem__", read)
    settings = cls()
    settings.data.workers = 1
    text = told(settings)
    assert "shared memory (/dev/shm) is too small" in text
    assert "`--data.workers 0` (now 1)" in text
    assert "--shm-size" in text


def test_a_batch_of_one_with_batch_norm(cls: Make) -> None:
    settings = cls()
    settings.data.batch_size = 1
    text = told(settings)
    assert "a training batch has one slice of 32 px" in text
    assert "raise `--data.batch_size` (now 1) to 2 or more" in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_a_run_that_can_be_resumed(number: int, cls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = cls()
    settings.optim.epochs = 3
    save = pl.Trainer.save_checkpoint

    def refuse(trainer: pl.Trainer, path: Path) -> None:
        if trainer.current_epoch:
            raise OSError(number, "no room")
        save(trainer, path)

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "save_checkpoint", refuse)
        text = told(settings)
    (run,) = Path(settings.runs).glob("cls/*")
    assert text == f"{run}: the disk is full or its quota is used up: free some space, then resume with --resume {run}"
    assert fit(settings, resume=run).model.is_dir()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DataLoader worker (pid(s) 41, 42) exited unexpectedly"), "shared memory"),
        (RuntimeError("unable to write to file </torch_41_2_0>: No space left on device (28)"), "shared memory"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0 PytorchStreamWriter failed"), "disk"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "lower `--data.batch_size`"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "batches of 16 slices of 224",
        ),
    ],
)
def test_torchs_own_texts_are_recognised(error: Exception, message: str, tmp_path: Path) -> None:
    settings = SegSettings()
    settings.data.batch_size = 16
    found = explain(error, settings, Run(tmp_path))
    assert found is not None
    assert message in found


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    for error in (ValueError("mat1 and mat2 shapes cannot be multiplied"), OSError(errno.EACCES, "no right"), RuntimeError("")):
        assert explain(error, SegSettings(), Run(tmp_path)) is None
