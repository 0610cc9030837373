"""Commands on a local Ray cluster of two machines: `BTS_RAY=1 python -m pytest tests/apps/test_ray.py` (minutes)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_end_to_end import shrunk
from test_infer_many import draw_scans, files

from bts.apps import crossval, infer
from bts.cluster import Cluster

MANY = 12

pytestmark = [
    pytest.mark.skipif("BTS_RAY" not in os.environ, reason="starts a Ray cluster, which takes a minute: BTS_RAY=1 runs it"),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, and two machines of one core."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    import ray
    from ray import cluster_utils

    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.parametrize("killed", [False, True])
def test_machines_write_the_files_of_a_single_process_also_if_one_is_killed(
    killed: bool, machines: Any, exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_scans(tmp_path / "scans", MANY)
    (tmp_path / "scans" / "torn.png").write_bytes(b"no picture")
    (tmp_path / "list.txt").write_text("scans\ngone.png\n")
    arguments = ["list.txt", "--joint", str(exported_models["joint"]), "--runtime", "onnx", "--device", "cpu", "--out"]
    assert infer.main([*arguments, "alone"]) == 1
    alone = capsys.readouterr()

    def kill() -> None:
        end = time.monotonic() + 300
        while len(list(tmp_path.glob("shared/*/result.json"))) < MANY // 3 and time.monotonic() < end:
            time.sleep(0.01)
        machines.remove_node(machines.workers[0], allow_graceful=False)

    killer = threading.Thread(target=kill if killed else int)
    killer.start()
    assert infer.main([*arguments, "shared", "--engine", "ray", "--address", machines.address]) == 1
    killer.join()
    shared = capsys.readouterr()
    assert files(tmp_path / "shared") == files(tmp_path / "alone")
    assert shared.out.splitlines()[-1] == alone.out.splitlines()[-1].replace("alone", "shared")
    assert [line for line in shared.err.splitlines() if line.startswith("error:")] == alone.err.splitlines()


def test_a_task_of_a_killed_machine_is_begun_again_on_another(
    machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meet(number: int) -> tuple[int, str]:
        """Say that it began, and wait for the word to end."""
        begun = Path(f"{number}-{os.getpid()}")
        begun.touch()
        while not Path("end").exists():
            time.sleep(0.05)
        return number, str(begun)

    monkeypatch.chdir(tmp_path)
    cluster = Cluster.connect(machines.address)
    assert cluster.count == 2

    def kill() -> None:
        end = time.monotonic() + 300
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        machines.remove_node(machines.workers[0], allow_graceful=False)
        (tmp_path / "end").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    found = list(cluster.map_tasks(meet, range(2)))
    killer.join()
    assert [number for number, _ in found] == [0, 1]
    begun = {path.name for path in tmp_path.iterdir()} - {"end"}
    assert len(begun - {name for _, name in found}) == 1  # that of the killed machine


def test_folds_on_machines_give_the_report_of_one_process_and_are_kept(
    machines: Any, phantom_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = ["--task", "cls", "--folds", "2", *shrunk(phantom_set, model__encoder="test_resnet", data__source="figshare")]
    assert crossval.command([*recipe, "--out", "alone"]) == 0
    on_ray = [*recipe, "--out", "shared", "--engine", "ray", "--address", machines.address]
    assert crossval.command(on_ray) == 0
    tables = [(tmp_path / out / "report" / "slices.csv").read_bytes() for out in ("alone", "shared")]
    assert tables[0] == tables[1]
    models = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shared/fold*/cls/*/model/model.safetensors")}
    assert crossval.command([*recipe, "--out", "shared"]) == 0
    assert len(models) == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("shared/fold*/cls/*/model/model.safetensors")} == models
