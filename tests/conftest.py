"""What every test shares: a quiet, single-threaded machine, and one tiny phantom set."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Keep torch on one thread where a test has it: several workers share the cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def phantom_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny synthetic set in figshare's layout: nine patients of the three classes, one slice each."""
    from bts.data.phantom import write_phantom

    root = tmp_path_factory.mktemp("phantoms") / "set"
    write_phantom(root, patients=9, slices_per_patient=(1, 1), seed=0)
    return root
