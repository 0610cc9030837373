"""Small hand-made sets in each publisher's layout."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("glioma", "meningioma", "pituitary", "no_tumor")
CODES = {"glioma": "gl", "meningioma": "me", "pituitary": "pi", "no_tumor": "no"}


def picture(seed: int, side: int = 32) -> np.ndarray:
    """Return a grey picture (side, side) uint8 that no other seed gives."""
    rows, columns = np.mgrid[:side, :side] / side
    return np.rint(120 + 100 * np.sin(rows * (3 + seed)) * np.cos(columns * (5 + 2 * seed))).astype(np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def folders_root(folder: Path) -> Path:
    """Training and Testing with two pictures a class, named as the Kaggle set names them."""
    seed = 0
    for part in ("Training", "Testing"):
        for name in ("glioma", "meningioma", "pituitary", "notumor"):
            for i in (2, 10):
                save(folder / part / name / f"{name}_{i}.png", picture(seed := seed + 1))
    return folder


def brisc_root(folder: Path) -> Path:
    """Both tasks; masks are as dirty as JPEG leaves them, 10 for background and 245 inside."""
    mask = np.full((32, 32), 10, np.uint8)
    mask[8:12, 20:24] = 245
    seed = 0
    for part in ("train", "test"):
        for name in CLASSES:
            stem = f"brisc2025_{part}_{seed + 1:05d}_{CODES[name]}_ax_t1"
            save(folder / "classification_task" / part / name / f"{stem}.jpg", picture(seed := seed + 1))
            if name != "no_tumor":
                save(folder / "segmentation_task" / part / "images" / f"{stem}.jpg", picture(seed))
                save(folder / "segmentation_task" / part / "masks" / f"{stem}.png", mask)
    return folder


def write_manifest(folder: Path, rows: list[dict[str, str]], *, name: str = "manifest.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def manifest_root(folder: Path) -> Path:
    """Three patients; one slice has a mask, one is healthy, one has no label."""
    mask = np.zeros((32, 32), np.uint8)
    mask[4:9, 4:9] = 255
    save(folder / "masks" / "1.png", mask)
    for i in range(1, 5):
        save(folder / "pictures" / f"{i}.png", picture(i))
    labels, patients, parts = ("Glioma", "no tumor", "glioma", ""), ("p1", "p2", "p3", ""), ("train", "test", "Validation", "")
    write_manifest(
        folder,
        [
            {
                "path": f"pictures/{i + 1}.png",
                "label": labels[i],
                "mask": "masks/1.png" if i == 0 else "",
                "patient_id": patients[i],
                "split": parts[i],
                "age": "50",
            }
            for i in range(4)
        ],
    )
    return folder


def npz_root(folder: Path) -> Path:
    """train.npz with numbered labels and masks, test.npz with names and three equal channels."""
    images = np.stack([picture(i) for i in range(4)])
    masks = np.zeros((4, 32, 32), bool)
    masks[:, 3:6, 5:9] = True
    names = np.array(["notumor", "glioma"])
    patients = np.array(["a", "a", "b", "c"])
    np.savez(folder / "train.npz", images=images, labels=[1, 0, 1, 1], classes=names, masks=masks, patients=patients)
    colour = np.repeat(images[:2, :, :, None], 3, axis=3) // 2
    np.savez(folder / "test.npz", images=colour, labels=np.array(["glioma", "no_tumor"]))
    return folder


def lgg_root(folder: Path) -> Path:
    """Two series of 11 slices, named such that text order is not slice order; a tumour in slices 4 to 6, channels differ."""
    for seed, name in enumerate(("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405")):
        for number in range(1, 12):
            mask = np.zeros((32, 32), np.uint8)
            mask[8:14, 10:18] = 255 * (4 <= number <= 6)
            channels = [picture(100 * channel + 20 * seed + number) for channel in range(3)]
            save(folder / name / f"{name}_{number}.tif", np.stack(channels, -1))
            save(folder / name / f"{name}_{number}_mask.tif", mask)
    return folder
