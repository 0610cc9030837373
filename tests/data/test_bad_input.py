"""Pictures of mixed sizes and modes in one set are read alike.

Other kinds of bad input are refused where they are read: test_folders_source, test_npz_source, test_manifest_source,
test_split_making, and training's test_prepare for pictures that can't be read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bts.data.arrays import load_arrays
from bts.data.preprocess import Preprocessing
from bts.data.sources.folders import Folders

MODES = {"L": 64, "RGB": 128, "RGBA": 96, "P": 160, "I;16": 200}
"""Mode and side of each picture of the mixed set."""


def picture(side: int) -> np.ndarray:
    """Return a bright disc on a ramp (side, side) in [0, 255], the same picture at every size."""
    rows, columns = np.mgrid[0:side, 0:side] / (side - 1)
    return np.where((rows - 0.4) ** 2 + (columns - 0.6) ** 2 < 0.04, 255.0, 200 * rows)


def save(values: np.ndarray, mode: str, path: Path) -> None:
    """Write values in [0, 255] as a PNG of a mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = Image.fromarray(values.astype(np.uint8))
    wide = Image.fromarray((values * 257).astype(np.uint16))
    (wide if mode == "I;16" else grey.convert(mode)).save(path)


def test_one_set_of_mixed_sizes_and_modes_gives_equal_squares(tmp_path: Path) -> None:
    for mode, side in MODES.items():
        save(picture(side), mode, tmp_path / "glioma" / f"{mode.replace(';', '')}.png")
    source = Folders(tmp_path)
    arrays = load_arrays(
        source, source.records(), preprocessing=Preprocessing(size=32, crop_brain=False), classes=source.classes
    )
    assert arrays.images.shape == (len(MODES), 32, 32)
    values = arrays.images.astype(float)
    for one in values[1:]:
        assert np.abs(one - values[0]).mean() < 4  # edges of the disc fall on other pixels
    assert values[0].std() > 40  # and the picture is there at all
