"""Leak check before a training: refusal, permission, and the record of splits that passed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from bts.apps import cli, train
from bts.audit import gate as gates
from bts.audit.gate import Gate, gate
from bts.data.sources.base import Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, SplitRow
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.settings import SegSettings, SplitSettings
from bts.training import fit


@pytest.fixture
def leaking(mixed_set: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a set in which a training slice came in again under another name and patient, and a split that tests on it."""
    root = tmp_path / "set"
    shutil.copytree(mixed_set, root)
    split, _ = make_split(open_source("figshare", root).records(), SplitSettings(train=0.4, val=0.3))
    first = split.part("train")[0]
    (root / "cvind.mat").unlink()  # its folds are of the set as it was
    shutil.copy(root / first.path, root / "999.mat")
    with h5py.File(root / "999.mat", "r+") as file:
        pid = file["cjdata/PID"]
        pid[...] = np.full(pid.shape, ord("7"))
    copied = SplitRow(path="999.mat", patient="7" * len(first.patient), label=first.label, part="test")
    path = tmp_path / "split.csv"
    Split(rows=(*split.rows, copied), same_patient="suffixes").write(path)
    return root, path


def clean(root: Path) -> Split:
    return make_split(open_source("figshare", root).records(), SplitSettings(train=0.4, val=0.3))[0]


def test_a_copied_slice_is_refused_and_the_way_out_named(leaking: tuple[Path, Path]) -> None:
    root, file = leaking
    with pytest.raises(RequestError, match=r"1 held-out slices were seen .*999\.mat \(test\).*--split\.leaks allow"):
        Gate()(open_source("figshare", root), Split.read(file))


def test_training_refuses_and_leaves_no_run(
    leaking: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, file = leaking
    arguments = ["--data.root", str(root), "--data.cache", str(tmp_path / "cache"), "--runs", str(tmp_path / "runs")]
    arguments += [
        "--split.kind",
        "file",
        "--split.file",
        str(file),
        "--model.weights",
        "none",
        "--model.encoder",
        "test_resnet",
    ]
    assert train.main("seg", arguments) == 2
    assert "the split leaks" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("seg/*"))
    assert not list((tmp_path / "cache").glob("audits/*"))


def test_a_clean_split_is_compared_once(
    mixed_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source, split = open_source("figshare", mixed_set), clean(mixed_set)
    Gate(tmp_path)(source, split)
    monkeypatch.setattr(gates, "collect", lambda *_, **__: pytest.fail("compared again"))
    with caplog.at_level(logging.INFO, logger="bts.audit"):
        Gate(tmp_path)(source, split)
    assert "as recorded when this split was first used" in caplog.text


def test_a_changed_file_is_compared_again(mixed_set: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(mixed_set, root)
    source, split = open_source("figshare", root), clean(root)
    before = gates.key_of(source, split)
    shutil.copy(root / split.part("train")[0].path, root / split.part("test")[0].path)
    assert gates.key_of(source, split) != before


def test_one_gate_compares_once_for_all_folds(leaking: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, file = leaking
    source, asked = open_source("figshare", root), Gate()
    together = tuple(
        row if row.path != "999.mat" else SplitRow(row.path, row.patient, row.label, "train") for row in Split.read(file).rows
    )
    asked(source, Split(rows=together, same_patient="suffixes"))
    monkeypatch.setattr(gates, "collect", lambda *_, **__: pytest.fail("compared again"))
    with pytest.raises(RequestError, match="the split leaks"):
        asked(source, Split.read(file))


def test_leaks_can_be_allowed_and_that_is_said(leaking: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    root, file = leaking
    settings = SegSettings()
    settings.split.leaks = "allow"
    gate(settings)(open_source("figshare", root), Split.read(file))
    assert "leaks are allowed" in caplog.text
    settings.split.leaks = "refuse"
    settings.data.cache = ""
    with pytest.raises(RequestError, match="the split leaks"):
        gate(settings)(open_source("figshare", root), Split.read(file))


def test_that_leaks_are_allowed_stands_in_the_run_s_own_log(leaking: tuple[Path, Path], tmp_path: Path) -> None:
    root, file = leaking
    settings = SegSettings()
    settings.data.root, settings.data.cache, settings.runs = str(root), "", str(tmp_path / "runs")
    settings.split.kind, settings.split.file, settings.split.leaks = "file", str(file), "allow"
    settings.model.weights, said = "none", []

    def told(source: Source, split: Split) -> None:
        gate(settings)(source, split)
        said.append(next((tmp_path / "runs").glob("seg/*/run.log")).read_text())
        raise RequestError("enough")

    with pytest.raises(RequestError, match="enough"):
        fit.fit(settings, check=told)
    assert "leaks are allowed" in said[0]


def test_a_split_with_slices_that_cannot_be_read_is_asked_again(
    mixed_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "set"
    shutil.copytree(mixed_set, root)
    split, source = clean(root), open_source("figshare", root)
    with h5py.File(root / split.part("test")[0].path, "r+") as damaged:
        del damaged["cjdata/image"]
    Gate(tmp_path / "audits")(source, split)
    assert "1 slice can't be read" in caplog.text
    assert not (tmp_path / "audits").exists()


def test_a_cross_validation_asks_too(
    mixed_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(settings: object, *, resume: Path | None = None, check: object = None) -> None:
        assert callable(check)
        raise RequestError("asked")

    monkeypatch.setattr(fit, "fit", trained)
    assert cli.main(["crossval", "--task", "seg", "--folds", "2", "--data.root", str(mixed_set), "--out", str(tmp_path)]) == 2
    assert "asked" in capsys.readouterr().err
