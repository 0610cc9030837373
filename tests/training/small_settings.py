"""The shipped settings, shrunk in one place: 32 pixels, timm's test network, 32 bits on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bts.settings import JointSettings, SegSettings, Settings

Make = Callable[[], Settings]


def shrunk(settings: Settings, *, data: Path, cache: Path, runs: Path) -> Settings:
    """Return the settings as they are shipped but for size and place."""
    settings.data.root, settings.data.cache, settings.runs = str(data), str(cache), str(runs)
    settings.data.size, settings.data.batch_size = 32, 4
    settings.split.train = settings.split.val = 0.34
    settings.model.encoder, settings.model.weights = "test_resnet", "none"  # type: ignore[attr-defined]
    if isinstance(settings, (SegSettings, JointSettings)):
        settings.model.channels = (8, 8, 8, 8, 8)
    settings.optim.epochs = 2
    settings.trainer.accelerator, settings.trainer.precision = "cpu", "32-true"
    settings.trainer.images = 2
    return settings
