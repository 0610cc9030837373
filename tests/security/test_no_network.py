"""Training, inference, page, export, audit and PACS client contact no other machine and leave nothing in the home folder.

Every connection and name lookup of the commands is recorded, in Python and in native code. One tiny training serves them all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import made_series
import pacs_servers
import pytest
from network_recorder import ROOT, Call, NetworkRecorder

from bts import privacy

pytest.importorskip("onnxruntime", reason="the runtimes are not installed: pip install 'bts[onnx]'")
pytest.importorskip("openvino", reason="the runtimes are not installed: pip install 'bts[openvino]'")
if find_spec("gradio") is None:  # its import takes seconds, and only the page's process needs it
    pytest.skip("the page needs Gradio: pip install 'bts[app]'", allow_module_level=True)
import httpx

ALLOWED_IN_HOME = (".cache/matplotlib/", ".config/matplotlib/")
"""What the threat model names: matplotlib's list of this machine's fonts."""

SMALL = {
    "data.source": "figshare",
    "data.root": "set",
    "data.cache": "cache",
    "data.size": "32",
    "data.batch_size": "4",
    "split.train": "0.34",
    "split.val": "0.33",
    "model.encoder": "test_resnet",
    "model.weights": "none",
    "optim.epochs": "1",
    "optim.warmup_epochs": "0",
    "freeze.epochs": "0",
    "trainer.limit_batches": "1",
    "trainer.precision": "32-true",
    "trainer.accelerator": "cpu",
}
RUN_ALL = """
import glob, json, os, sys
from bts.apps import cli
from bts.apps.run import run_program

def run_all():
    for name, words in json.loads(sys.argv[1]).items():
        os.environ["NETWORK_RECORD_AS"] = name
        if name == "export openvino":  # takes the graph that the command before has traced
            import onnx
            from bts.export import openvino
            openvino.make_onnx = lambda model: onnx.load(model.folder / "model.onnx")
        words = [glob.glob("joint/joint/*")[0] if word == "RUN" else word for word in words]
        print(f"{name} ended with {cli.main(words)}", flush=True)
    return 0

run_program(run_all)
"""


def train(task: str, **changes: str) -> list[str]:
    channels = {} if task == "cls" else {"model.channels": "[8, 8, 8, 8, 8]"}
    given = SMALL | channels | {name.replace("__", "."): value for name, value in changes.items()}
    return ["train", task, *(word for name, value in given.items() for word in (f"--{name}", value))]


PAGE, ASKED_FOR = "page", "train with ImageNet weights"
"""The page, and the one command here that asks for another machine: it is recorded and refused."""
TOGETHER = {
    "phantom": ["phantom", "set", "--patients", "9", "--slices", "1", "1", "--side", "128"],
    "train joint": train("joint", runs="joint"),
    "infer torch": ["infer", "set/1.mat", "--runtime", "torch", "--out", "by-torch"],
    "evaluate": ["evaluate", "--joint", "RUN", "--draws", "20", "--out", "report"],
    "audit": ["audit", "figshare:set", "--out", "audit"],
    "export onnx": ["export", "RUN", "--format", "onnx"],
    "export openvino": ["export", "RUN", "--format", "openvino"],
    "export monai-bundle": ["export", "RUN", "--format", "monai-bundle", "--out", "bundle"],
    ASKED_FOR: train("cls", model__encoder="resnet18", model__weights="imagenet"),
}
"""Commands that need torch, one after another in one process, since its import takes seconds."""
APART = {
    "infer onnx": ["infer", "set/1.mat", "--joint", "RUN", "--runtime", "onnx", "--out", "by-onnx"],
    "infer openvino": ["infer", "set/1.mat", "--joint", "RUN", "--runtime", "openvino", "--out", "by-openvino"],
}
"""Commands that need no torch, each in a process of its own."""


def test_no_command_contacts_another_machine_or_writes_to_the_home_folder(tmp_path: Path) -> None:
    """All in one test, so that parallel workers do not train twice."""
    recorder = NetworkRecorder(tmp_path / "recorded")
    work = tmp_path / "work"
    work.mkdir()
    said = run(TOGETHER, recorder, work)
    for name, words in APART.items():
        said |= run({name: words}, recorder, work)
    for name, text in said.items():
        assert f"{name} ended with {2 if name == ASKED_FOR else 0}" in text, text
    assert "event: complete" in show_a_scan(recorder, work)

    calls = {(call.during, call.where) for call in recorder.outgoing()}
    assert sorted(calls - {(ASKED_FOR, "huggingface.co")}) == []
    assert (ASKED_FOR, "huggingface.co") in calls  # so the recorder sees what a command does
    assert "the hub does not respond" in said[ASKED_FOR]

    found = [path.relative_to(recorder.home).as_posix() for path in recorder.home.rglob("*") if path.is_file()]
    assert [name for name in found if not name.startswith(ALLOWED_IN_HOME)] == []


def run(commands: dict[str, list[str]], recorder: NetworkRecorder, work: Path) -> dict[str, str]:
    """Run commands in one process of their own; return what that process printed, by command."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands)],
        cwd=work,
        env=recorder.environment("before the first command"),
        text=True,
        capture_output=True,
        timeout=600,
    )
    return dict.fromkeys(commands, ended.stdout + ended.stderr)


def test_a_study_is_asked_for_at_the_named_address_alone(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'bts[dicom]'")
    pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed: pip install 'bts[pacs]'")
    recorder, series = NetworkRecorder(tmp_path / "recorded"), made_series.write_series(tmp_path / "series")
    with pacs_servers.SmallPacs(series).running() as pacs:
        words = [
            "dicomweb",
            pacs.url,
            "--study",
            pacs.study,
            "--joint",
            "joint-mobilenetv2",
            "--runtime",
            "onnx",
            "--out",
            "out",
        ]
        said = run({"dicomweb": words}, recorder, tmp_path)["dicomweb"]
    assert "dicomweb ended with 0" in said, said
    assert len(pacs.asked) == 4 + made_series.SLICES  # pages of series and instances end with one that holds nothing new
    assert {call.during for call in recorder.calls()} == {"dicomweb"}
    assert recorder.outgoing() == []
    assert [path for path in recorder.home.rglob("*") if path.is_file()] == []


def show_a_scan(recorder: NetworkRecorder, work: Path) -> str:
    """Start the page, send it a scan as a program does, and return the last event."""
    (run,) = work.glob("joint/joint/*")
    line = [sys.executable, "-m", "bts.apps.cli", "app", "--joint", str(run), "--port", "0"]
    with subprocess.Popen(line, cwd=work, env=recorder.environment(PAGE), text=True, stdout=subprocess.PIPE) as page:
        assert page.stdout is not None
        try:
            url = next(said.split()[1] for said in page.stdout if said.startswith("open "))
            with httpx.Client(base_url=url, timeout=120) as client:
                assert client.get("/").status_code == 200
                scan = work / "set" / "1.mat"
                (path,) = client.post("/gradio_api/upload", files={"files": (scan.name, scan.read_bytes())}).json()
                body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, ""]}
                event = client.post("/gradio_api/call/predict", json=body).json()["event_id"]
                return client.get(f"/gradio_api/call/predict/{event}").text
        finally:
            page.terminate()
            page.wait(120)


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("import socket; socket.socket().connect(('192.0.2.1', 80))", Call("tried", "connect", "192.0.2.1")),
        ("import socket; socket.getaddrinfo('name.invalid', 80)", Call("tried", "lookup", "name.invalid")),
        ("import urllib.request as u; u.urlopen('http://name.invalid')", Call("tried", "lookup", "name.invalid")),
    ],
)
def test_the_recorder_sees_and_refuses(code: str, call: Call, tmp_path: Path) -> None:
    recorder = NetworkRecorder(tmp_path / "recorded")
    ended = subprocess.run([sys.executable, "-c", code], env=recorder.environment("tried"), capture_output=True, text=True)
    assert "OSError" in ended.stderr or "URLError" in ended.stderr or "gaierror" in ended.stderr
    assert set(recorder.outgoing()) == {call}


def test_the_recorder_sees_native_code(tmp_path: Path) -> None:
    recorder = NetworkRecorder(tmp_path / "recorded")
    if not recorder.native:
        pytest.skip("no C compiler, or not Linux: only Python's own calls are recorded here")
    code = "import ctypes; print(ctypes.CDLL(None).getaddrinfo(b'name.invalid', None, None, ctypes.byref(ctypes.c_void_p())))"
    subprocess.run([sys.executable, "-c", code], env=recorder.environment("tried"), check=True)
    assert recorder.outgoing() == [Call("tried", "lookup", "name.invalid")]


def test_calls_within_this_machine_are_no_offence(tmp_path: Path) -> None:
    recorder = NetworkRecorder(tmp_path / "recorded")
    code = (
        "import socket; listening = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(('localhost', listening.getsockname()[1]))"
    )
    subprocess.run([sys.executable, "-c", code], env=recorder.environment("tried"), check=True)
    assert recorder.calls() != []
    assert recorder.outgoing() == []


def test_every_switch_is_set_by_the_import_of_bts() -> None:
    code = "import os, bts; from bts.privacy import SWITCHES; print(all(os.environ[n] == v for n, v in SWITCHES.items()))"
    plain = {name: value for name, value in os.environ.items() if name not in privacy.SWITCHES}
    ended = subprocess.run([sys.executable, "-c", code], env=plain, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "True"
