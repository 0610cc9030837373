"""Train the segmentation model, an attention U-Net.

python train_seg.py                                    # configs/seg.yaml
python train_seg.py --optim.lr 1e-4 --data.size 256    # any setting from the command line
python train_seg.py --resume runs/seg/TIME             # resume an interrupted run
python train_seg.py --help                             # every setting
"""

from __future__ import annotations

from collections.abc import Sequence

from bts.apps.run import run_program
from bts.apps.train import main as train


def main(argv: Sequence[str] | None = None) -> int:
    """Train and return the exit status."""
    return train("seg", argv)


if __name__ == "__main__":
    run_program(main)
