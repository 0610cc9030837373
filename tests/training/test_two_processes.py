"""Two processes that train together give the same result and files as one."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from small_settings import Make

from bts.data.sources.catalogue import open_source
from bts.runs import Run
from bts.settings import Settings
from bts.training.checkpoints import load_checkpoint
from bts.training.fit import fit
from bts.training.progress import Curves

PROGRAM = """
import sys
from pathlib import Path
import torch, yaml
from jsonargparse import ArgumentParser
from bts.settings import ClsSettings
from bts.training.fit import fit

torch.set_num_threads(1)
parser = ArgumentParser()
parser.add_class_arguments(ClsSettings, "all")
settings = parser.instantiate(parser.parse_object({"all": yaml.safe_load(Path(sys.argv[1]).read_text())})).all
fit(settings)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def trained_by_two(settings: Settings, folder: Path) -> Run:
    """Train under torchrun with two processes of half the batch each."""
    program, written = folder / "program.py", folder / "settings.yaml"
    program.write_text(PROGRAM)
    written.write_text(yaml.safe_dump(dataclasses.asdict(settings)))
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, *launch, str(program), str(written)], capture_output=True, text=True, timeout=500, env=environment
    )
    assert done.returncode == 0, done.stderr
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
    assert sum(path.name.startswith("events") for path in both.path.iterdir()) == 2  # the scores, the settings
