"""Train one network for mask and class: an attention U-Net whose encoder also answers the class.

python train_joint.py                                    # configs/joint.yaml
python train_joint.py --loss.cross_entropy_weight 0.5    # any setting from the command line
python train_joint.py --config configs/demo.yaml          # the bundled model further, on phantoms
python train_joint.py --resume runs/joint/TIME           # resume an interrupted run
python train_joint.py --help                             # every setting
"""

from __future__ import annotations

from collections.abc import Sequence

from bts.apps.run import run_program
from bts.apps.train import main as train


def main(argv: Sequence[str] | None = None) -> int:
    """Train and return the exit status."""
    return train("joint", argv)


if __name__ == "__main__":
    run_program(main)
