"""Many scans on several cores and processes, interrupted and resumed: the same files as in one go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card
from PIL import Image

from bts.apps import infer
from bts.inference.inputs import natural_key
from bts.inference.predictor import Predictor
from bts.progress import Phase

ROOT = Path(__file__).parents[2]
MANY = 40


def draw_scans(folder: Path, count: int, *, side: int = 96) -> Path:
    """Write pictures that all differ."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).normal(100, 30, (side, side)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[BrightRuntime]:
    """The segmenters that were loaded, one a call of the program; they need no weights."""
    segmenters: list[BrightRuntime] = []

    def load(*, workers: int, **how: Any) -> Predictor:
        segmenters.append(BrightRuntime(make_card("seg")))
        segmenters[-1].device = "cpu"
        classifier = BrightRuntime(make_card("cls"), class_logits=[0.0, 3.0, 0.0], cam=np.ones((2, 2)))
        classifier.device = "cpu"
        return Predictor([segmenters[-1], classifier], workers=workers)

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.chdir(tmp_path)
    return segmenters


def test_lanes_write_the_same_files_as_one_after_another(
    loaded: list[BrightRuntime], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phases: list[Phase]
) -> None:
    draw_scans(tmp_path / "scans", 9)
    (tmp_path / "scans" / "5b.png").write_bytes(b"no picture")
    for workers in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", workers)
        assert infer.main(["scans", "--out", f"with{workers}"]) == 1
    assert files(tmp_path / "with1") == files(tmp_path / "with4")
    assert [(phase.name, phase.done, phase.total) for phase in phases if phase.total] == [("inferring", 10, 10)] * 2


def test_a_list_gives_the_files_of_its_folder_and_is_resumed(loaded: list[BrightRuntime], tmp_path: Path, capsys: Any) -> None:
    draw_scans(tmp_path / "scans", 12)
    lines = ["scans/" + path.name for path in sorted((tmp_path / "scans").iterdir(), key=natural_key)]
    (tmp_path / "list.txt").write_text("\n".join([*lines, "gone.png", "list.txt"]) + "\n")
    (tmp_path / "list.csv").write_text("\n".join(["path", *lines]) + "\n")
    assert infer.main(["scans", "--out", "folder"]) == 0
    assert infer.main(["list.txt", "--out", "list"]) == 1
    told = capsys.readouterr()
    assert [line.split(": ")[1] for line in told.err.splitlines() if line.startswith("error: ")] == ["gone.png", "list.txt"]
    assert "12 of 14 scans done" in told.out
    assert files(tmp_path / "list") == files(tmp_path / "folder")
    assert infer.main(["list.csv", "--out", "list", "--resume"]) == 0
    assert "12 of 12 scans are already finished" in capsys.readouterr().out


def test_scans_in_an_object_store_are_fetched_and_resumed_from_anywhere(
    loaded: list[BrightRuntime], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(draw_scans(tmp_path / "scans", 3)), "/bucket/scans", recursive=True)
    store.pipe_file("/bucket/scans/torn.png", b"no picture")
    store.pipe_file("/bucket/v.nii.gz", b"no volume")
    named = ["memory://bucket/scans", "memory://bucket/v.nii.gz", "memory://bucket/gone.png"]
    try:
        assert infer.main([*named, "--out", "store"]) == 1
        told = capsys.readouterr()
        assert infer.main(["scans", "--out", "disk"]) == 0
        monkeypatch.chdir(tmp_path / "scans")
        assert infer.main([*named, "--out", "../store", "--resume"]) == 1
    finally:
        store.rm("/", recursive=True)
    failed = [line.split(": ")[1] for line in told.err.splitlines() if line.startswith("error: ")]
    assert failed == [f"memory://bucket/{name}" for name in ("scans/torn.png", "v.nii.gz", "gone.png")]
    assert "bts-object" not in told.out + told.err
    assert "3 of 6 scans are already finished" in capsys.readouterr().out
    written = {name: text for name, text in files(tmp_path / "store").items() if not name.endswith(".json")}
    assert written == {name: text for name, text in files(tmp_path / "disk").items() if not name.endswith(".json")}
    assert json.loads((tmp_path / "store" / "1" / "result.json").read_text())["source"] == "memory://bucket/scans/1.png"


def test_a_killed_run_resumes_to_the_same_files_as_an_unbroken_one(
    exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_scans(tmp_path / "scans", MANY, side=300)
    arguments = ["scans", "--joint", str(exported_models["joint"]), "--runtime", "onnx", "--device", "cpu", "--out"]
    assert infer.main([*arguments, "unbroken"]) == 0

    command = [sys.executable, "-c", "import sys; from bts.apps.infer import main; sys.exit(main())", *arguments, "broken"]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("broken/*/result.json"))) < 4 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("broken/*/result.json")}
    assert 4 <= len(done) < MANY, "the run was to be killed in its middle"

    capsys.readouterr()
    assert infer.main([*arguments, "broken", "--resume"]) == 0
    assert f"{len(done)} of {MANY} scans are already finished" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == before for path, before in done.items()), "what was done was done again"
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")


def test_half_a_result_inside_of_the_input_folder_is_no_input(loaded: list[BrightRuntime], tmp_path: Path) -> None:
    draw_scans(tmp_path / "scans", 3)
    infer.main(["scans", "--out", "scans/results"])
    (tmp_path / "scans/results/1/result.json").unlink()
    assert infer.main(["scans", "--out", "scans/results", "--resume"]) == 0
    assert {path.name for path in (tmp_path / "scans/results").iterdir()} == {"0", "1", "2"}
    assert len(loaded[1].asked) == 1


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, 0),
        ({"models": []}, 1),
        ({"runtime": "another"}, 1),
        ({"source": "another.png"}, 1),
        ({"cam_class": "pituitary"}, 1),
        (None, 1),
    ],
)
def test_only_the_very_result_counts_as_done(
    change: dict[str, Any] | None, again: int, loaded: list[BrightRuntime], tmp_path: Path
) -> None:
    draw_scans(tmp_path / "scans", 1)
    infer.main(["scans", "--out", "out"])
    result = tmp_path / "out" / "0" / "result.json"
    text = "{ half" if change is None else json.dumps(json.loads(result.read_text()) | change)
    result.write_text(text)
    assert infer.main(["scans", "--out", "out", "--resume"]) == 0
    assert len(loaded[1].asked) == again


def test_another_class_s_maps_are_made_anew(loaded: list[BrightRuntime], tmp_path: Path) -> None:
    draw_scans(tmp_path / "scans", 1)
    infer.main(["scans", "--out", "out"])
    infer.main(["scans", "--out", "out", "--resume", "--cam", "glioma"])  # the predicted one: nothing is new
    infer.main(["scans", "--out", "out", "--resume", "--cam", "pituitary"])
    assert [len(each.asked) for each in loaded] == [1, 0, 1]


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        (
            {"WORLD_SIZE": "2"},
            [],
            "WORLD_SIZE=2: expected one process, which divides the scans itself: start it without torchrun",
        ),
        ({"SLURM_STEP_NUM_TASKS": "8"}, [], "on several devices or machines with --engine ray"),
        ({}, ["--resume"], "--resume needs the output folder to resume in: set it with --out"),
    ],
)
def test_a_call_that_would_write_elsewhere_or_twice_is_refused(
    environment: dict[str, str],
    arguments: list[str],
    message: str,
    loaded: list[BrightRuntime],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    draw_scans(tmp_path / "scans", 1)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert infer.main(["scans", *arguments]) == 2
    assert message in capsys.readouterr().err
