"""How do the pictures of a report get into TensorBoard, beside the curves of the run?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from bts.runs import Run


def show_on_board(run: Run, pictures: Iterable[Path]) -> None:
    """Write PNGs into the run's events, under `report/<name>`."""
    with SummaryWriter(str(run.path)) as writer:
        for path in pictures:
            with Image.open(path) as picture:
                writer.add_image(f"report/{path.stem}", np.asarray(picture.convert("RGB")), dataformats="HWC")
