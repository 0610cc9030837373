"""How do the pictures of a report get into TensorBoard, beside the curves of the run?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from bts.data.readers.picture import open_picture
from bts.runs import Run


def show_on_board(run: Run, pictures: Iterable[Path]) -> None:
    """Write PNGs into the run's events, under `report/<name>`."""
    with SummaryWriter(str(run.path)) as writer:
        for path in pictures:
            with open_picture(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(f"report/{path.stem}", pixels, dataformats="HWC")
