"""Benchmark against peers: one scorer, one budget per folder, resuming, and peers that can't be installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.peers import shared_set
from bench.peers.catalogue import PEERS, REFERENCE, SCRIPTS, Peer
from bench.peers.command import gather
from bench.peers.processes import PeerError, run_process
from bench.peers.score import compare, dice_of, score
from bench.peers.shared_set import Truth, read_truth, write_set
from bench.peers.table import peers_page, score_table
from bts.data.patient_ids import patient_of
from bts.data.sources.catalogue import open_source
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.intervals import draw_patients

CLASSES = ("meningioma", "glioma", "pituitary_tumor")
PATIENTS = ("MR040240", "MR040240B", "C", "D")  # two scans of one patient
DOT, PAIR, EMPTY = np.zeros((3, 4, 4), dtype=bool)
DOT[1, 1] = PAIR[1, 1] = PAIR[1, 2] = True


def make_set(folder: Path) -> Truth:
    """A set whose test part is its last four slices, each with a pair of pixels as tumour."""
    folder.mkdir(parents=True)
    masks = np.stack([EMPTY, EMPTY, PAIR, PAIR, PAIR, PAIR])
    np.savez(folder / "slices.npz", images=np.zeros((6, 4, 4), np.uint8), masks=masks)
    parts = ("train", "val", "test", "test", "test", "test")
    lines = [f"slices.npz#{i},{('T', 'V', *PATIENTS)[i]},{CLASSES[i % 3]},{part}" for i, part in enumerate(parts)]
    (folder / "split.csv").write_text("\n".join(["path,patient,label,part", *lines]) + "\n")
    about = {"classes": CLASSES, "size": 4, "fold": 5, "train": 1, "val": 1, "test": 4}
    (folder / "set.json").write_text(json.dumps(about))
    return read_truth(folder)


def save(file: Path, *masks: np.ndarray, **more: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, masks=np.stack(masks), **more)
    return file


def test_the_scorer_agrees_with_masks_done_by_hand(tmp_path: Path) -> None:
    truth = make_set(tmp_path / "set")
    sure = np.eye(3)[[2, 0, 1, 0]]  # the true classes are 2, 0, 1, 2
    file = save(tmp_path / "1.npz", PAIR, DOT, EMPTY, PAIR, probabilities=sure, maps=truth.masks.astype(np.float16))
    assert dice_of(file, truth) == pytest.approx([1, 2 / 3, 0, 1])
    found = score(file, truth)
    assert found["dice"]["value"] == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)
    assert (found["dice"]["n_patients"], found["dice"]["n_slices"]) == (3, 4)  # a family is one patient
    assert found["accuracy"]["value"] == 0.75
    assert found["ece"]["value"] == pytest.approx(0.25)  # always sure, right in three of four
    assert found["map_in_mask"]["value"] == 1


def test_a_peer_without_classes_has_no_scores_of_classes(tmp_path: Path) -> None:
    truth = make_set(tmp_path / "set")
    assert set(score(save(tmp_path / "1.npz", PAIR, PAIR, PAIR, PAIR), truth)) == {"dice"}


def test_a_difference_is_paired_over_patients() -> None:
    first, second = np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.7, 1.1])
    found = compare(first, second, draw_patients(["A", "B", "C"]))
    assert found is not None
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.2))  # the patients differ, the difference does not


@pytest.mark.parametrize("masks", [(PAIR,), (PAIR[:2], PAIR[:2], PAIR[:2], PAIR[:2])])
def test_predictions_of_another_part_are_refused(masks: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    truth = make_set(tmp_path / "set")
    with pytest.raises(RequestError, match=r"1\.npz: expected masks \(4, 4, 4\), received .*: delete the peer's folder"):
        dice_of(save(tmp_path / "1.npz", *masks), truth)


def test_the_set_keeps_families_together_and_tests_on_the_authors_fold(
    phantom_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_set, "FOLD", 2)  # there are three among the phantoms
    write_set(phantom_set, tmp_path / "set", quick=False)
    rows = Split.read(tmp_path / "set" / "split.csv").rows
    parts = {(patient_of(row.patient), row.part) for row in rows}
    assert len({patient for patient, _ in parts}) == len(parts)
    truth = read_truth(tmp_path / "set")
    tested = {record.patient for record in open_source("figshare", phantom_set).records() if record.fold == 2}
    assert {row.patient for row in truth.rows} == tested
    assert truth.masks.shape == (len(truth.rows), 224, 224)
    assert truth.masks.any(axis=(1, 2)).all()  # the masks are those of the slices: each phantom has a tumour


SCRIPT = """
import json, shutil, sys
from pathlib import Path
phase, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
folder = Path(job["work"]).parent
with (folder / "phases.txt").open("a") as file:
    file.write(phase + " ")
if (folder / f"fail_{phase}").is_file():
    raise SystemExit("error: the script is told to fail")
names = [f"{minutes:g}" for minutes in job["minutes"]]
if phase == "train":
    shots = {name: {"minutes": 1.25 * float(name), "slices": 32, "note": "a note"} for name in names}
    found = {"slices": 32, "seconds": 4.0, "before_s": 0.5, "snapshots": shots}
    found |= {"device": "cpu", "weights": "random weights", "batch": 16}
    (folder / "train.json").write_text(json.dumps(found))
if phase == "predict":
    (folder / "predictions").mkdir()
    for name in names:
        shutil.copy(Path(job["set"]).parent / "perfect.npz", folder / "predictions" / f"{name}.npz")
    found = {"warm_ms": [1.0, 3.0, 2.0], "model_mib": 1.0, "runtime": "none"}
    (folder / "predict.json").write_text(json.dumps(found))
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a set, and two peers: one that works, in an environment that is there, and one that uv can't install."""
    out = tmp_path / "peers"
    save(out / "perfect.npz", *make_set(out / "set").masks)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    home = out / "environments" / "here" / "bin"
    home.mkdir(parents=True)
    (home / "python").symlink_to(sys.executable)
    (home.parent / "installed").write_text("nothing")
    uv = out / "environments" / "uv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\necho 'error: no such package: nothing-at-all'\nexit 1\n")
    uv.chmod(0o755)
    monkeypatch.setitem(PEERS, "works", Peer("works", "a script", "here", ("nothing",), str(script), ("mask",)))
    monkeypatch.setitem(PEERS, "missing", Peer("missing", "nothing", "there", ("nothing-at-all",), str(script), ("mask",)))
    return out


def run(out: Path, *more: str, only: str = "works") -> int:
    return main(["peers", "--out", str(out), "--only", *only.split(), "--minutes", "0.1", "0.2", "--cores", "1", *more])


def test_a_finished_peer_is_not_run_again_and_an_interrupted_one_continues(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail = out / "works" / "fail_predict"
    fail.parent.mkdir()
    fail.touch()
    assert run(out) == 1
    assert "failed with status 1 (error: the script is told to fail)" in capsys.readouterr().out
    fail.unlink()
    assert run(out) == 0
    assert run(out) == 0
    assert (out / "works" / "phases.txt").read_text() == "prepare train predict predict cold cold cold "
    assert "works: finished before" in capsys.readouterr().out
    row = gather(out)["peers"]["works"]
    assert row["snapshots"]["0.2"]["dice"]["value"] == 1
    assert (row["minutes"], row["slices_per_s"], row["warm_ms"]) == (0.25, 8, 2)  # what it really had, not what was asked


def test_a_training_that_was_interrupted_starts_again(out: Path) -> None:
    fail = out / "works" / "fail_train"
    fail.parent.mkdir()
    fail.touch()
    assert run(out) == 1
    (out / "works" / "work" / "left").touch()
    fail.unlink()
    assert run(out) == 0
    assert not (out / "works" / "work" / "left").exists()
    assert (out / "works" / "phases.txt").read_text().startswith("prepare train prepare train predict ")


def test_a_peer_that_cannot_be_installed_has_a_row_and_the_others_stand(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, only="missing works") == 1
    told = capsys.readouterr().out
    assert "can't be installed (error: no such package: nothing-at-all)" in told
    rows = {row[0]: row for row in score_table(gather(out))}
    assert "can't be installed" in rows["missing"][1]
    assert rows["works"][1] == "1.000 [no interval] (0.1 min)"  # it had 0.125
    assert "1 core," in rows["works"][-1]
    assert "min" in rows["works"][-1]


def test_a_folder_holds_one_budget(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out) == 0
    assert main(["peers", "--out", str(out), "--only", "works", "--minutes", "7"]) == 2
    told = capsys.readouterr().err
    assert "its rows were made with minutes [0.1, 0.2], received [7.0]: rows of different budgets are not compared" in told
    assert main(["peers", "--out", str(out), "--only", "works"]) == 0  # what is not named is what it was


def test_the_page_is_written_by_command_and_says_what_is_a_rehearsal(out: Path) -> None:
    assert run(out, "--quick") == 0
    page = out / "page.md"
    assert main(["peers", "--out", str(out), "--page", str(page)]) == 0
    assert "| works | 1.000 [no interval] (0.1 min) | 1.000 [no interval] (0.2 min) |" in page.read_text()
    assert "not meaningful" in page.read_text()
    results = gather(out)
    results["settings"]["quick"] = False
    assert "not meaningful" not in peers_page(results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nnunett"], "--only: no peer 'nnunett' (did you mean 'nnunet'?)"),
        (["--minutes", "0"], "--minutes 0: expected more than 0"),
        (["--cores", "0"], "--cores 0: expected 1 to "),
        (["--cores", "4096"], "the cores that this process may use"),
        (["--weights", "."], "--weights .: no ENCODER_imagenet.safetensors in it"),
        (["--data", "nowhere"], "nowhere: no such folder of data"),
        (["--page", "page.md"], "no results in it: run `python -m bench peers --out runs/peers` first"),
        (["--minute", "3"], "unknown argument '--minute' (did you mean '--minutes'?)"),
    ],
)
def test_a_wrong_request_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["peers", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not list(tmp_path.rglob("settings.json"))  # the next request may have another budget


def is_running(pid: int) -> bool:
    """A process that was ended but not yet waited for has no command line any more."""
    file = Path(f"/proc/{pid}/cmdline")
    return file.is_file() and bool(file.read_bytes())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    line = "import os, subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    with pytest.raises(PeerError, match="it took longer than 0 minutes"):
        run_process([sys.executable, "-c", line], cores=1, log=tmp_path / "log", limit_s=1, folder=tmp_path)
    child = int((tmp_path / "log").read_text().splitlines()[-1])
    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.05)
    assert not is_running(child)


def test_time_that_is_paused_does_not_count_and_every_budget_gets_its_snapshot() -> None:
    found = importlib.util.spec_from_file_location("loop", SCRIPTS / "loop.py")
    assert found is not None
    assert found.loader is not None
    loop = importlib.util.module_from_spec(found)
    found.loader.exec_module(loop)
    clock, taken = loop.Clock([0.001, 0.0005]), []

    def take(name: str) -> str:
        taken.append(name)
        time.sleep(0.05)
        return "a note"

    assert clock.step(16, take) is False  # not started
    clock.start()
    while not clock.step(16, take):
        time.sleep(0.001)
    assert taken == ["0.0005", "0.001"]
    assert 0.06 <= clock.seconds < 0.16  # two snapshots of 0.05 s each do not count
    assert clock.taken["0.0005"]["slices"] < clock.taken["0.001"]["slices"]
    assert clock.taken["0.001"]["minutes"] >= 0.001


def test_every_script_has_its_phases_and_the_reference_is_a_peer() -> None:
    assert REFERENCE in PEERS
    phases = 'main({"prepare": prepare, "train": train, "predict": predict, "cold": cold})'
    assert all(phases in (SCRIPTS / peer.script).read_text() for peer in PEERS.values())
