"""Run folders as training leaves them, with untrained networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
import yaml

from bts.data.patient_ids import hashed_patient, key_name, make_key
from bts.data.preprocess import Preprocessing
from bts.data.sources.catalogue import open_source
from bts.data.split_making import make_split
from bts.glossary import Task
from bts.models.architecture import Architecture
from bts.models.folder import ModelCard, write_model_folder
from bts.models.networks import build_network
from bts.runs import Run
from bts.settings import SETTINGS, SplitSettings

SIZE = 32


def made_run(
    root: Path, task: Task, *, data: Path, name: str = "one", seed: int = 0, stage1: bool = False, limit: int | None = None
) -> Run:
    """Write `<root>/<task>/<name>` on the phantom set in `data`."""
    run = Run(root / task / name)
    run.path.mkdir(parents=True)
    settings = SETTINGS[task]()
    settings.data.root, settings.data.size, settings.runs = str(data), SIZE, str(root)
    settings.split = SplitSettings(train=0.4, val=0.3)
    settings.trainer.limit_batches = limit
    run.settings_file.write_text(yaml.safe_dump(asdict(settings)), encoding="utf-8")
    source = open_source("figshare", data)
    split, _ = make_split(source.records(), settings.split)
    split.write(run.split_file)
    trained = sorted({row.patient for row in split.part("train")})
    for folder in [run.model, *([run.model_stage1] if stage1 else [])]:
        write_made_model(folder, task, name=f"{task}/{name}", classes=list(source.classes), trained=trained, seed=seed)
        seed += 1
    run.curves.write_text("epoch,stage,lr,train_loss,val_loss\n1,2,0.001,1.5,1.6\n2,2,0.0005,1.2,1.4\n", encoding="utf-8")
    return run


def write_made_model(folder: Path, task: Task, *, name: str, classes: list[str], trained: list[str], seed: int) -> None:
    """Write a model folder with random weights that says it was trained on these patients."""
    key = make_key(folder.parent) if trained else None
    torch.manual_seed(seed)
    architecture = Architecture(
        task=task, encoder="test_resnet", size=SIZE, num_classes=0 if task == "seg" else len(classes), channels=(8, 8, 8, 8, 8)
    )
    network = build_network(architecture, weights="none")
    card = ModelCard(
        task=task,
        name=name,
        architecture=network.architecture.to_dict(),
        classes=[] if task == "seg" else classes,
        preprocessing=Preprocessing(size=SIZE, crop_brain=False).to_dict(),
        training_patients=sorted({hashed_patient(patient, key=key) for patient in trained}),
        patients_key=key_name(key) if key else "",
        synthetic=True,
        trained_on="nothing: random weights",
    )
    write_model_folder(folder, card, network.state_dict())
