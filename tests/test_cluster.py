"""Work on a Ray cluster: what is refused before Ray is started, and answers that travel as bytes.

The tests that start a cluster are in tests/apps/test_ray.py.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from bts import cluster
from bts.apps import benchmark, crossval, infer
from bts.apps.engine import map_engine
from bts.apps.infer_cluster import refuse_archives
from bts.errors import InputError, RequestError


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """Address of a server that says one thing to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(answer)
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_server_of_grpc_is_taken_for_a_cluster() -> None:
    with server(b"\0\0\0\4\0\0\0\0\0") as address:
        cluster.refuse_silent(address)


def test_another_kind_of_server_is_refused() -> None:
    with server(b"HTTP/1.1 400 Bad Request") as address, pytest.raises(RequestError, match="another kind of server"):
        cluster.refuse_silent(address)


def test_a_closed_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RequestError, match=rf"--address 127.0.0.1:{port}: no Ray cluster answers there \(Connection refused\)"):
        cluster.refuse_silent(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["head", "head:x", ":6379", "ray://head:10001", "head:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="expected HOST:PORT of the head, such as"):
        cluster.refuse_silent(address)


def test_a_missing_ray_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"Ray is not installed: pip install 'bts\[ray\]'"):
        cluster.Cluster.connect()


def test_answers_come_back_in_order_and_errors_as_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cluster.opened(cluster.answer(str(tmp_path), lambda items: [each * each for each in items], [3, 4])) == [9, 16]

    def fail(items: list[int]) -> list[int]:
        raise InputError("scan.png: torn")

    with pytest.raises(InputError, match=r"^scan\.png: torn$"):
        cluster.opened(cluster.answer(str(tmp_path), fail, [1]))


def test_a_missing_folder_of_the_job_is_an_error_of_the_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cluster.opened(cluster.answer(str(tmp_path / "elsewhere"), list, [1]))


@pytest.mark.parametrize(
    ("machine", "cpus", "gpus", "expected"),
    [({"CPU": 8.0}, 2, 0, 4), ({"CPU": 8.0}, 2, 1, 0), ({"CPU": 1.0}, 2, 0, 0), ({"CPU": 8.0, "GPU": 2.0}, 1, 1, 2)],
)
def test_scarcest_resource_of_a_machine_limits_what_runs_on_it(
    machine: dict[str, float], cpus: int, gpus: int, expected: int
) -> None:
    assert cluster.how_many(machine, cpus, gpus) == expected


def test_cores_of_a_cluster_without_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(["scan.png", "--cpus", "2"]) == 2
    assert "--cpus is of a cluster: add --engine ray" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--cpus", "0"], ["--gpus", "-1"]])
def test_what_is_no_number_of_cores_or_gpus_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(["scan.png", "--engine", "ray", *wrong]) == 2
    assert "expected at least one core, and no negative number of GPUs" in capsys.readouterr().err


def test_an_archive_is_refused_on_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"scans\.zip: --engine ray takes no archives: unpack it on the disk that all"):
        refuse_archives([tmp_path / "a.png", tmp_path / "scans.zip"])


@pytest.mark.parametrize("command", [benchmark, crossval])
def test_trainings_take_the_options_of_a_cluster(command: ModuleType) -> None:
    options, rest = command.make_parser().parse_known_args(["--engine", "ray", "--cpus", "4", "--data.size", "32"])
    assert (options.engine, options.cpus, rest) == ("ray", 4, ["--data.size", "32"])


def test_a_training_is_applied_by_python_where_no_cluster_is_asked_for() -> None:
    options, _ = crossval.make_parser().parse_known_args([])
    assert map_engine(options) is map


def test_inference_without_a_cluster_does_not_import_ray() -> None:
    code = "import sys, bts.apps.infer as app; app.make_parser(); sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
