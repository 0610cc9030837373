"""Train the classifier.

python train_cls.py                                    # configs/cls.yaml
python train_cls.py --optim.lr 3e-4 --freeze.epochs 5  # any setting from the command line
python train_cls.py --resume runs/cls/TIME             # resume an interrupted run
python train_cls.py --help                             # every setting
"""

from __future__ import annotations

from collections.abc import Sequence

from bts.apps.run import run_program
from bts.apps.train import main as train


def main(argv: Sequence[str] | None = None) -> int:
    """Train and return the exit status."""
    return train("cls", argv)


if __name__ == "__main__":
    run_program(main)
