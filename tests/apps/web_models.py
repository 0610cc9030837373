"""Models for the tests of the page: they answer on paper and count how often they are asked."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from bts.data.preprocess import Preprocessing
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import RawOutput
from bts.models.folder import ModelCard

CLASSES = ["meningioma", "glioma", "pituitary"]


class PaperRuntime:
    """Outlines what is bright on dark; says glioma; its map lies in another corner for each class."""

    name, device, notes = "paper", "desk", ()

    def __init__(self, task: str) -> None:
        self.card = ModelCard(
            task=task,
            name=f"paper {task}",
            architecture={},
            classes=[] if task == "seg" else CLASSES,
            preprocessing=Preprocessing(size=32, crop_brain=False).to_dict(),
            trained_on="nothing <at all>",
            weights_sha256="0123456789abcdef" * 4,
            cam_scale=1.0,
            cell_offset_px=0.0 if task == "joint" else None,
            refer_below=0.99,
        )
        self.versions = {"paper": "1"}
        self.asked = 0

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        self.asked += 1
        dark = images.mean((1, 2), keepdims=True) < 150
        mask = ((images > 200) & dark).astype(np.float32) if self.card.task != "cls" else None
        if self.card.task == "seg":
            return RawOutput(mask_prob=mask)
        cam = np.zeros((len(images), 2, 2), np.float32)
        cam.reshape(len(images), 4)[:, 1 if cam_class is None else cam_class] = 1
        logits = np.tile(np.array([0, 3, 0], np.float32), (len(images), 1))
        return RawOutput(mask_prob=mask, class_logits=logits, cam=cam, features=np.ones((len(images), 2), np.float32))


def paper_predictor(*tasks: str) -> Predictor:
    return Predictor([PaperRuntime(task) for task in tasks or ("seg", "cls")])


def picture(*, side: int = 48) -> np.ndarray:
    """Grey ramp with a bright disc."""
    row, column = np.mgrid[:side, :side]
    return (40 + row + 150 * ((row - side // 3) ** 2 + (column - side // 2) ** 2 < side)).astype(np.uint8)


def write_png(path: Path, *, side: int = 48) -> Path:
    Image.fromarray(picture(side=side)).save(path)
    return path


def write_volume_file(path: Path, *, slices: int = 5, blank: int = 1) -> Path:
    """A NIfTI volume whose last slices are blank and whose second one is bright with a dark disc."""
    array = np.zeros((48, 48, slices), np.float32)
    array[..., : slices - blank] = picture().T[..., None]
    array[..., 1] = 200 - array[..., 1] * (array[..., 1] > 130) + np.arange(48)[:, None] % 2  # no constant margin to be cut off
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 4.0, 1.0])), path)
    return path


def claims(path: Path, shape: tuple[int, int, int]) -> Path:
    """A NIfTI header of a few bytes that claims an enormous shape."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    raw = bytearray(header.binaryblock)
    raw[40:56] = struct.pack("<8h", 3, *shape, 1, 1, 1, 1)
    raw[344:348] = b"n+1\0"
    path.write_bytes(bytes(raw) + bytes(64))
    return path
