"""Commands on a local Ray cluster of two machines: `BTS_RAY=1 python -m pytest tests/apps/test_ray.py` (minutes)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_infer_many import MANY, draw_scans, files

from bts.apps import infer

pytestmark = [
    pytest.mark.skipif("BTS_RAY" not in os.environ, reason="starts a Ray cluster, which takes a minute: BTS_RAY=1 runs it"),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, and two machines of one core."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
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
    draw_scans(tmp_path / "scans", MANY, side=300)
    (tmp_path / "scans" / "torn.png").write_bytes(b"no picture")
    arguments = ["scans", "--joint", str(exported_models["joint"]), "--runtime", "onnx", "--device", "cpu", "--out"]
    assert infer.main([*arguments, "alone"]) == 1
    alone = capsys.readouterr()

    def kill() -> None:
        end = time.monotonic() + 300
        while len(list(tmp_path.glob("shared/*/result.json"))) < MANY // 4 and time.monotonic() < end:
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
