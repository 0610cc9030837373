"""Peers of the benchmark: what each is, what it needs, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Peer:
    """One row of the table.

    Attributes:
        name: on the command line and in the table.
        what: what is trained, in a few words.
        environment: name of its virtual environment; peers of one name share it.
        requirements: arguments of `uv pip install`.
        script: file in `scripts/`, called as `SCRIPT PHASE JOB.json`.
        options: passed on to the script.
        outputs: what it gives for a scan without code of the user's own.
    """

    name: str
    what: str
    environment: str
    requirements: tuple[str, ...]
    script: str
    outputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


NNUNET = ("nnunetv2>=2.8,<2.9",)
PLAIN = ("torch>=2.8", "torchvision", "segmentation-models-pytorch>=0.5,<0.7", "timm>=1.0.15,<1.1", "monai>=1.6,<1.7", "pillow")
MONAI = ("torch>=2.8", "monai>=1.6,<1.7", "pillow")
BTS = ("--refresh-package", "bts", f"bts[onnx] @ {ROOT.as_uri()}", "-c", str(ROOT / "constraints.txt"))
"""A copy of this source, so that a change of it during the hours of a run changes nothing."""
SMALL = "configs/joint_small.yaml"
"""Settings of the small network that reaches most in a short time (docs/experiments.md); they are part of the package."""
REFERENCE = "bts-joint"
"""Peer that the others are compared with, paired over patients."""

PEERS = {
    peer.name: peer
    for peer in (
        Peer("nnunet", "nnU-Net v2, 2d, planned batch", "nnunet", NNUNET, "run_nnunet.py", ("mask",), {"batch": None}),
        Peer("nnunet-batch12", "nnU-Net v2, 2d, batch 12", "nnunet", NNUNET, "run_nnunet.py", ("mask",), {"batch": 12}),
        Peer(
            "plain-resnet50",
            "plain loop: smp U-Net (scse) and timm classifier, ResNet50",
            "plain",
            PLAIN,
            "run_plain.py",
            ("mask", "class", "map"),
            {"encoder": "resnet50", "smp_encoder": "resnet50", "layer": "layer4"},
        ),
        Peer(
            "plain-mobilenetv2",
            "plain loop: smp U-Net (scse) and timm classifier, MobileNetV2",
            "plain",
            PLAIN,
            "run_plain.py",
            ("mask", "class", "map"),
            {"encoder": "mobilenetv2_100", "smp_encoder": "tu-mobilenetv2_100", "layer": "bn2"},
        ),
        Peer("monai-unet", "MONAI UNet, CacheDataset, DiceCE", "monai", MONAI, "run_monai.py", ("mask",)),
        Peer(
            "bts-seg",
            "`bts train seg`, `configs/joint_small.yaml`",
            "bts",
            BTS,
            "run_bts.py",
            ("mask", "uncertain masks", "intervals"),
            {"task": "seg", "encoder": "mobilenetv2_100", "config": SMALL},
        ),
        Peer(
            REFERENCE,
            "`bts train joint`, `configs/joint_small.yaml`",
            "bts",
            BTS,
            "run_bts.py",
            ("mask", "class", "map", "calibration", "referral", "intervals"),
            {"task": "joint", "encoder": "mobilenetv2_100", "config": SMALL},
        ),
    )
}
"""Name -> peer, in the order of the table."""
