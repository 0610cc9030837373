"""What every test shares: a quiet, single-threaded machine, and one tiny phantom set."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from bts import progress

if TYPE_CHECKING:
    from onnx import ModelProto

    from bts.export.base import Trained
    from bts.glossary import Task
    from bts.runs import Run

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
"""Name of a folder and what writes it -> the folder."""
SIDE = 128
"""Rows and columns of the phantoms: those of 512 are drawn and read ten times as slowly."""
FATAL = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL} | (
    {signal.SIGBUS} if hasattr(signal, "SIGBUS") else set()
)

if "PYTEST_XDIST_WORKER" in os.environ:
    atexit.register(os._exit, 0)  # after all other exit functions: Python takes seconds to free a million objects one by one

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
gc.set_threshold(20_000, 20, 20)  # by default searches of all objects, a million with torch, are a tenth of the work


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Keep torch on one thread where a test has it: several workers share the cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def _crashes_are_told(pytestconfig: pytest.Config) -> None:
    """Let a crash of the interpreter print its stack: Lightning, leaving a training, would reset the handlers that do that."""
    descriptor = pytestconfig.stash.get(fault_handler_stderr_fd_key, None)
    if descriptor is not None:
        faulthandler.disable()  # enabling what is enabled would leave the handlers as Lightning left them
        faulthandler.enable(descriptor)
    connector = sys.modules.get("lightning.pytorch.trainer.connectors.signal_connector")
    if connector is not None:
        connector._SignalConnector._valid_signals = staticmethod(lambda: signal.valid_signals() - FATAL)


@pytest.fixture(autouse=True)
def _empty_box(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the bundled model: a test predicts with its own models."""
    from bts.models import bundled_model

    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path_factory.getbasetemp() / "no box")


@pytest.fixture
def phases(monkeypatch: pytest.MonkeyPatch) -> list[progress.Phase]:
    """Every phase of work that the test opens, in order; none is left open."""
    found: list[progress.Phase] = []

    class Recorder(progress.Reporter):
        def open(self, *given: Any, **named: Any) -> progress.Phase:
            found.append(super().open(*given, **named))
            return found[-1]

    reporter = Recorder(is_terminal=lambda: False, tick_s=None)
    monkeypatch.setattr(progress, "REPORTER", reporter)
    return found


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Maker of folders that all workers of this session share: the first to ask makes one, and the others wait for it."""
    from filelock import FileLock  # torch needs it, so it is there

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once"
    shared.mkdir(exist_ok=True)

    def make(name: str, write: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(done.with_suffix(".lock")):
            if not done.exists():
                write(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def phantom_set(made_once: MadeOnce) -> Path:
    """Folder of a tiny synthetic set in figshare's layout: nine patients of the three classes, one slice each."""
    from bts.data.phantom import write_phantom

    return made_once("phantoms", lambda root: write_phantom(root, patients=9, slices_per_patient=(1, 1), side=SIDE))


@pytest.fixture(scope="session")
def mixed_set(made_once: MadeOnce) -> Path:
    """Folder of a small synthetic set: nine patients with a tumour, one or two slices each, and three healthy ones."""
    from bts.data.phantom import write_phantom

    return made_once("mixed", lambda root: write_phantom(root, patients=9, slices_per_patient=(1, 2), healthy=3, side=SIDE))


class FinishedRuns:
    """One finished run per task on `mixed_set`, with untrained networks; made on first use. Copy what you change."""

    def __init__(self, made_once: MadeOnce, data: Path) -> None:
        self.made_once, self.data = made_once, data

    def __getitem__(self, task: Task) -> Run:
        return self.with_result(task)[0]

    def with_result(self, task: Task) -> tuple[Run, dict[str, Any]]:
        """Return the run of a task and what `finish_run` returned for it."""
        from made_runs import made_run

        from bts.experiments.finish import finish_run
        from bts.runs import Run

        def write(root: Path) -> None:
            options = {"stage1": True, "limit": 2} if task == "cls" else {}
            run = made_run(root, task, data=self.data, **options)
            run.log.write_text("2026-01-01 10:00:00 began\n2026-01-01 10:30:00 ended\n", encoding="utf-8")
            (root / "result.pickle").write_bytes(pickle.dumps(finish_run(run, device="cpu")))

        root = self.made_once(f"finished-{task}", write)
        return Run(root / task / "one"), pickle.loads((root / "result.pickle").read_bytes())


@pytest.fixture(scope="session")
def finished_runs(made_once: MadeOnce, mixed_set: Path) -> FinishedRuns:
    return FinishedRuns(made_once, mixed_set)


@pytest.fixture(scope="session")
def exported_models(made_once: MadeOnce) -> dict[str, Path]:
    """Model folders of the three tasks, tiny networks with random weights, each with its `model.onnx`. Copy what you change."""
    tasks: tuple[Task, ...] = ("seg", "cls", "joint")

    def write(root: Path) -> None:
        from bts.export.formats import export_model

        export_model(write_tiny_model(root, root.name.removeprefix("exported-")), format="onnx")

    first = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % len(tasks)  # no two wait for each other
    return {task: made_once(f"exported-{task}", write) for task in tasks[first:] + tasks[:first]}


@pytest.fixture(scope="session")
def graph_beside() -> Callable[[Trained], ModelProto]:
    """What stands for `make_onnx` where a test is about what follows it: the graph traced before of this very model."""
    import onnx

    from bts.inference.runtimes.exported import card_in

    def load(model: Trained) -> ModelProto:
        file = model.folder / "model.onnx"
        assert card_in(file) == model.card
        return onnx.load(file)

    return load


def write_tiny_model(folder: Path, task: str, *, size: int = 64) -> Path:
    """Write a model folder whose answers are spread wide: masks from 0 to 1, maps for every class."""
    import torch

    from bts.data.preprocess import Preprocessing
    from bts.models.folder import ModelCard, write_model_folder
    from bts.models.networks import Architecture, build_network

    torch.manual_seed(0)
    classes = [] if task == "seg" else ["meningioma", "glioma", "pituitary"]
    architecture = Architecture(
        task=task,
        encoder="test_resnet",
        size=size,
        num_classes=len(classes),
        channels=(16, 16, 8, 8, 8),
        input_mean=0.4,
        input_std=0.2,
    )
    network = build_network(architecture)
    with torch.no_grad():
        if task != "seg":
            torch.nn.init.normal_(network.class_head[1].weight)
        if task != "cls":
            mask = network.eval()(torch.rand(4, 1, size, size)).mask_logits
            scale = 3 / mask.std()
            network.mask_head.bias.sub_(mask.mean()).mul_(scale)
            network.mask_head.weight.mul_(scale)
    card = ModelCard(
        task=task,
        name=f"tiny {task}",
        architecture=network.architecture.to_dict(),
        preprocessing=Preprocessing(size=size, crop_brain=False).to_dict(),
        classes=classes,
        temperature=1.5,
        cam_scale=1.0,
        cell_offset_px=-15.5 if task == "joint" else None,
        trained_on="nothing",
    )
    write_model_folder(folder, card, network.state_dict())
    return folder
