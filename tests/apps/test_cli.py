"""The `bts` command itself: what it lists, what it says of a wrong word, and the small subcommands."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bts
from bts.apps import cli
from bts.progress import Phase


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in cli.COMMANDS)
    assert "not a medical device" in told


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bts {bts.__version__}\n"


def test_an_unknown_command_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["donwload"]) == 2
    assert "unknown command 'donwload' (did you mean 'download'?)" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_file_and_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(importlib.import_module(f"bts.apps.{name}").command)
    assert cli.main([name, "--help"]) == 0
    assert capsys.readouterr().out


def test_train_wants_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train"]) == 2
    assert cli.main(["train", "seq"]) == 2
    expected = "expected `bts train seg` or `bts train cls` or `bts train joint`"
    assert f"{expected}, received 'seq' (did you mean 'seg'?)" in capsys.readouterr().err


def test_a_phantom_set_is_written_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "set")
    assert cli.main(["phantom", out, "--patients", "3", "--healthy", "1", "--slices", "1", "1", "--side", "64"]) == 0
    assert f"4 synthetic slices of 4 patients in {out}" in capsys.readouterr().out
    assert cli.main(["sources", "figshare", out]) == 0
    told = capsys.readouterr().out
    assert "(synthetic)" in told
    assert ["all", "4", "slices", "4", "patients"] in [line.split() for line in told.splitlines()]


def test_ids_that_differ_by_a_suffix_are_counted_as_one_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "set")
    assert cli.main(["phantom", out, "--patients", "11", "--slices", "1", "1", "--side", "64"]) == 0
    assert f"11 synthetic slices of 10 patients (11 IDs) in {out}" in capsys.readouterr().out
    assert cli.main(["sources", "figshare", out, "--no-masks"]) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["glioma", "4", "slices", "3", "patients", "(4", "IDs)"] in told
    assert ["all", "11", "slices", "10", "patients", "(11", "IDs)"] in told


def test_masks_with_a_tumour_empty_ones_and_missing_ones_are_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.arange(400, dtype=np.uint8).reshape(20, 20) % 251
    for name, array in (
        *((str(number), picture) for number in range(4)),
        ("drawn", 255 * (picture > 9)),
        ("empty", 0 * picture),
    ):
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / f"{name}.png")
    rows = "0.png,glioma,drawn.png\n1.png,no_tumour,\n2.png,glioma,\n3.png,glioma,empty.png\n"
    (tmp_path / "manifest.csv").write_text(f"path,label,mask\n{rows}")
    assert cli.main(["sources", f"manifest:{tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "masks: 1 of 4 slices with a tumour, 2 empty or of a healthy slice, 1 without a mask" in told
    assert ["no_tumour", "1", "mask,", "1", "empty", "(100%)"] in [line.split() for line in told.splitlines()]


def test_the_masks_of_a_set_are_described_by_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = np.arange(400, dtype=np.uint8).reshape(20, 20) % 251
    mask = np.zeros((20, 20), np.uint8)
    mask[:5, :8] = 2
    mask[:5, :4] = 4
    for name, array in (("1", picture), ("2", picture.T), ("drawn", mask), ("empty", 0 * mask)):
        Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / f"{name}.png")
    (tmp_path / "manifest.csv").write_text("path,label,mask\n1.png,glioma,drawn.png\n2.png,glioma,empty.png\n")
    assert cli.main(["sources", f"manifest:{tmp_path}"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    said = "2 masks, 1 empty (50%); area 10.00% to 10.00% of the image, median 10.00%; values 0, 2, 4"
    assert line.split() == ["glioma", *said.split()]
    assert cli.main(["sources", f"manifest:{tmp_path}", "--mask-labels", "4"]) == 0
    assert "area 5.00% to 5.00%" in capsys.readouterr().out
    (tmp_path / "drawn.png").write_bytes(b"torn")
    assert cli.main(["sources", f"manifest:{tmp_path}"]) == 1
    assert "1 of 2 slices can't be read, the first: " in capsys.readouterr().out
    assert cli.main(["sources", f"manifest:{tmp_path}", "--no-masks"]) == 0
    assert "area" not in capsys.readouterr().out


def test_a_phantom_set_goes_into_an_empty_folder_only(phantom_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["phantom", str(phantom_set)]) == 2
    assert str(phantom_set) in capsys.readouterr().err


def test_a_phantom_set_wants_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["phantom"]) == 2
    assert "expected a folder to write to" in capsys.readouterr().err


def test_sources_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sources"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"figshare", "brisc", "folders", "npz", "manifest"} <= set(names)
    assert names == sorted(names)


def test_a_fresh_process_lists_the_sources() -> None:
    command = [sys.executable, "-m", "bts.apps.cli", "sources"]
    assert "figshare" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "nowhere"],
        ["crossval", "--task", "seg", "--config", "nowhere.yaml"],
        ["evaluate", "--joint", "nowhere"],
        ["infer", str(Path(__file__).parents[2] / "examples"), "--joint", "nowhere"],
        ["train", "seg", "--config", "nowhere.yaml"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_shows_that_it_imports_and_loads(arguments: list[str], phases: list[Phase]) -> None:
    assert cli.main(arguments) == 2
    assert phases[0].name in ("starting", "loading the models")


@pytest.mark.parametrize(
    ("arguments", "message"), [(["figshair"], "did you mean 'figshare'"), (["figshare", "nowhere"], "nowhere")]
)
def test_a_source_that_is_not_there_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sources", *arguments]) == 2
    assert message in capsys.readouterr().err
