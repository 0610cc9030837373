"""Two processes that train together give the same result and files as one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from forked import start
from small_settings import Make
from torch.distributed.launcher import LaunchConfig, elastic_launch

from bts.data.sources.catalogue import open_source
from bts.runs import Run
from bts.settings import Settings
from bts.training.checkpoints import load_checkpoint
from bts.training.fit import fit
from bts.training.progress import Curves


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launch(settings: Settings, port: int) -> None:
    """Do what torchrun does with a program of one line."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="two",
        rdzv_backend="static",
        rdzv_endpoint=f"127.0.0.1:{port}",
        rdzv_configs={"rank": 0},
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, fit)(settings)


def trained_by_two(settings: Settings, folder: Path) -> Run:
    """Train with two processes of half the batch each."""
    log = folder / "log.txt"
    process = start(launch, settings, free_port(), log=log, temporary=folder / "temporary", copy=True)
    process.join(500)
    assert process.exitcode == 0, log.read_text()
    (path,) = Path(settings.runs).glob("cls/*")  # both have found the one run
    return Run(path)


@pytest.fixture
def plain(cls: Make) -> Settings:
    """Return settings of a network without batch norm and dropout, whose steps are means over the slices of a batch."""
    settings = cls()
    settings.model.encoder, settings.model.dropout = "test_convnext", 0.0  # type: ignore[attr-defined]
    settings.data.batch_size = 2
    # an odd number of validation slices: the two shares differ in length
    settings.split.kind, settings.split.file = "file", str(Path(settings.runs).parent / "split.csv")
    return settings


def odd_split(settings: Settings) -> None:
    """Write a split whose validation part can't be halved."""
    records = open_source("figshare", Path(settings.data.root)).records()
    patients = list(dict.fromkeys(str(record.patient) for record in records))
    part = {patient: ("train", "val", "test")[i // 3] for i, patient in enumerate(patients)}
    rows = [(record.path, record.patient, record.label, part[str(record.patient)]) for record in records]
    first = next(i for i, row in enumerate(rows) if row[3] == "val")
    lines = [",".join(map(str, row)) for i, row in enumerate(rows) if i != first]
    Path(str(settings.split.file)).write_text("path,patient,label,part\n" + "\n".join(lines) + "\n")


def test_two_processes_train_and_score_as_one_does(plain: Settings, tmp_path: Path) -> None:
    odd_split(plain)
    plain.trainer.devices = 2
    both = trained_by_two(plain, tmp_path)
    plain.trainer.devices, plain.data.batch_size, plain.runs = 1, 4, str(tmp_path / "alone")
    alone = fit(plain)
    scores = [
        [(row["accuracy"], row["balanced_accuracy"], float(row["val_loss"]), float(row["train_loss"])) for row in curves.rows]
        for curves in (Curves(both.curves), Curves(alone.curves))
    ]
    assert len(scores[0]) == 2
    for two, one in zip(*scores, strict=True):
        assert two[:2] == one[:2]
        assert two[2:] == pytest.approx(one[2:], rel=1e-4)
    states = [load_checkpoint(run.checkpoints / "stage2" / "last.ckpt")["state_dict"] for run in (both, alone)]
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=1e-3, atol=1e-5)
    assert len(both.log.read_text().splitlines()) == len(alone.log.read_text().splitlines())  # one process speaks
    events = [sum(path.name.startswith("events") for path in run.path.iterdir()) for run in (both, alone)]
    assert events[0] == events[1] > 0  # the second process writes none
