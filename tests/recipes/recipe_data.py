"""Tiny made data in every layout that a recipe reads, and the shipped recipes shrunk in one place."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bts.apps.settings_parser import from_yaml, read_settings
from bts.data.npz_files import write_npz
from bts.data.phantom import write_phantom
from bts.data.sources.catalogue import open_source
from bts.glossary import Task
from bts.settings import Settings

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "recipes").glob("*.yaml"))
CLASSES = {"glioma": "gl", "meningioma": "me", "notumor": "no", "pituitary": "pi"}
COUNTS = {"train": 5, "test": 2}


def task_of_recipe(path: Path) -> Task:
    """Return the task that a recipe is for: the end of its name, or classification."""
    return "seg" if path.stem.endswith("_seg") else "cls"


def write_all(root: Path) -> dict[str, Path]:
    """Write every set and return its root by the name of its source."""
    random = np.random.default_rng(0)
    brisc, kaggle = root / "brisc", root / "kaggle"
    for part, count in COUNTS.items():
        for name, code in CLASSES.items():
            for i in range(count):
                picture, mask = _head(random, tumour=name != "notumor")
                stem = f"brisc2025_{part}_{i:05}_{code}_ax_t1"
                _save(picture, kaggle / f"{part.title()}ing" / name / f"{i}.jpg")
                _save(picture, brisc / "classification_task" / part / name / f"{stem}.jpg")
                if name != "notumor":
                    _save(picture, brisc / "segmentation_task" / part / "images" / f"{stem}.jpg")
                    _save(mask, brisc / "segmentation_task" / part / "masks" / f"{stem}.png")
    write_npz(open_source("folders", kaggle), root / "npz", size=32)
    write_phantom(root / "figshare", patients=9, slices_per_patient=(1, 1), side=128)
    roots = {"folders": kaggle, "brisc": brisc, "brisc_seg": brisc, "npz": root / "npz", "figshare": root / "figshare"}
    return {name: path for name, path in roots.items()}


@cache
def shipped(path: Path) -> Settings:
    """Return a recipe as it is shipped; reading it takes a while, so each is read once."""
    return read_settings(task_of_recipe(path), from_yaml(path))


def shrunk_recipe(path: Path, roots: dict[str, Path], *, runs: Path, weights: Path) -> Settings:
    """Return a recipe as shipped, but for size, length, places, and a tiny encoder in place of a large one."""
    settings = copy.deepcopy(shipped(path))
    source, encoder = settings.data.source, settings.model.encoder  # type: ignore[attr-defined]
    changes: dict[str, object] = {
        "data.root": str(roots[source]),
        "data.cache": "",
        "data.size": 32,
        "data.batch_size": 4,
        "optim.epochs": 1,
        "freeze.epochs": min(settings.freeze.epochs, 1),
        "runs": str(runs),
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.limit_batches": 2,
        "trainer.images": 1,
    }
    if source == "figshare":
        changes |= {"split.train": 0.34, "split.val": 0.33}
    if encoder != "cnn_scratch":
        changes |= {"model.encoder": "test_resnet", "model.weights": str(weights)}
    if task_of_recipe(path) == "seg":
        changes |= {"model.channels": (8, 8, 8, 8, 8)}
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        setattr(getattr(settings, group) if group else settings, name, value)
    return settings


def _head(random: np.random.Generator, *, tumour: bool) -> tuple[Image.Image, Image.Image]:
    """Return an ellipse of noise, with a bright disc where there is a tumour, and the disc's mask."""
    picture, mask = Image.new("L", (48, 40)), Image.new("L", (48, 40))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((6, 4, 42, 36), fill=int(random.integers(90, 130)))
    if tumour:
        x, y = int(random.integers(14, 28)), int(random.integers(10, 22))
        draw.ellipse((x, y, x + 8, y + 8), fill=240)
        ImageDraw.Draw(mask).ellipse((x, y, x + 8, y + 8), fill=255)
    noisy = np.asarray(picture, dtype=float) + random.normal(0, 6, (40, 48))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), mask


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
