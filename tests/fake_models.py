"""Small stand-ins for trained models, for all test folders: cards, a runtime with known outputs, and model folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.inference.runtimes.base import RawOutput
from bts.models.folder import ModelCard, write_model_folder
from bts.models.networks import Architecture, build_network

CLASSES = ["meningioma", "glioma", "pituitary"]


def make_card(task="cls", *, classes=None, size=32, **changes) -> ModelCard:
    """Return a card as training writes it, with whatever a test wants changed."""
    classes = (list(CLASSES) if task != "seg" else []) if classes is None else classes
    fields = {
        "task": task,
        "name": f"a {task} model",
        "architecture": Architecture(task=task, num_classes=len(classes), size=size).to_dict(),
        "classes": classes,
        "preprocessing": Preprocessing(size=size, crop_brain=False).to_dict(),
        "trained_on": "nothing",
        "weights_sha256": "0123456789abcdef" * 4,
        "cam_scale": 1.0,
    }
    return ModelCard(**(fields | changes))


def make_slice(image=None, **changes) -> Slice:
    """Return a slice with a bright disc, or with the image that is given."""
    if image is None:
        row, column = np.mgrid[:40, :30]
        image = 1.0 * ((row - 12) ** 2 + (column - 10) ** 2 < 36) + 0.01 * row
    return Slice(**({"image": image, "source": "file", "path": "scan.png"} | changes))


class BrightRuntime:
    """Runtime whose mask is what is bright, with given class logits and maps. It remembers the batches that it ran."""

    name = "bright"
    device = "paper"
    notes = ("computed on paper",)

    def __init__(self, card, *, class_logits=None, cam=None):
        self.card, self.class_logits, self.cam = card, class_logits, cam
        self.versions = {"paper": "1"}
        self.asked: list[tuple[np.ndarray, int | None]] = []

    def run(self, images, *, cam_class=None):
        """Answer with the picture itself as the mask's probability."""
        self.asked.append((images, cam_class))
        count = len(images)
        mask_prob = images.astype(np.float32) / 255 if self.card.task != "cls" else None
        if self.card.task == "seg":
            return RawOutput(mask_prob=mask_prob)
        class_logits = np.tile(np.asarray(self.class_logits, np.float32), (count, 1))
        cam = np.tile(np.asarray(self.cam, np.float32), (count, 1, 1))
        return RawOutput(mask_prob=mask_prob, class_logits=class_logits, cam=cam, features=np.ones((count, 2), np.float32))


def write_model(folder: Path, task, *, classes=None, encoder="resnet10t", size=64, seed=0, **changes) -> Path:
    """Write a model folder with a small network of random weights, the same for the same seed."""
    card = make_card(task, classes=classes, size=size)
    torch.manual_seed(seed)
    architecture = Architecture(
        task=task, encoder=encoder, size=size, num_classes=len(card.classes), channels=(16, 16, 8, 8, 8)
    )
    network = build_network(architecture)
    card = make_card(task, classes=classes, size=size, **({"architecture": network.architecture.to_dict()} | changes))
    write_model_folder(folder, card, network.state_dict())
    return folder
