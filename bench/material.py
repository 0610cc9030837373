"""Material of the benchmarks: phantoms and models with random weights, made in a temporary folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bts.glossary import FIGSHARE_CLASSES

SIDE = 512
"""Rows and columns of the phantoms."""
THRESHOLD = 0.999
"""Random weights draw random masks; over this threshold nearly nothing of them is left."""


@dataclass(frozen=True)
class Kind:
    """Which network: task, encoder, and the side of its picture."""

    task: str
    encoder: str
    size: int = 224

    @property
    def name(self) -> str:
        """For a folder's name."""
        return f"{self.task}_{self.encoder}_{self.size}"


def phantoms(work: Path, *, patients: int, slices: int = 4) -> Path:
    """Return a folder of phantoms in figshare's layout, made where it is not there."""
    folder = work / f"phantoms_{patients}x{slices}"
    if not (folder / "cvind.mat").is_file():
        from bts.data.phantom import write_phantom

        write_phantom(folder, patients=patients, slices_per_patient=(slices, slices), seed=0, side=SIDE)
    return folder


def scans(work: Path, *, count: int, patients: int) -> Path:
    """Return a folder of that many scans: copies of few phantoms, as every copy is read and written anew."""
    folder = work / f"scans_{count}"
    if not folder.is_dir():
        made = sorted(path for path in phantoms(work, patients=patients).glob("*.mat") if path.name != "cvind.mat")
        folder.mkdir()
        for number in range(count):
            shutil.copyfile(made[number % len(made)], folder / f"scan{number:04d}.mat")
    return folder


def model(work: Path, kind: Kind) -> Path:
    """Return a model folder with random weights and its `model.onnx`, made where it is not there."""
    folder = work / kind.name
    if (folder / "model.onnx").is_file():
        return folder
    import torch

    from bts.data.preprocess import Preprocessing
    from bts.export.formats import export_model
    from bts.models.architecture import Architecture
    from bts.models.card import ModelCard
    from bts.models.folder import write_model_folder
    from bts.models.networks import build_network

    torch.manual_seed(0)
    classes = [] if kind.task == "seg" else list(FIGSHARE_CLASSES)
    network = build_network(Architecture(task=kind.task, encoder=kind.encoder, size=kind.size, num_classes=len(classes)))  # type: ignore[arg-type]
    card = ModelCard(
        task=kind.task,  # type: ignore[arg-type]
        name=f"random {kind.task}, {kind.encoder}",
        architecture=network.architecture.to_dict(),
        preprocessing=Preprocessing(size=kind.size, crop_brain=False).to_dict(),
        classes=classes,
        operating_point={"threshold": THRESHOLD, "min_area": 0.0, "flip": False},
        cam_scale=1.0,
        synthetic=True,
        trained_on="nothing: random weights",
    )
    write_model_folder(folder, card, network.state_dict())
    export_model(folder, format="onnx")
    return folder
