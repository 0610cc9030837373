"""Phantoms and small settings for every training test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_settings import Make, shrunk

from bts.data.phantom import write_phantom
from bts.settings import ClsSettings, JointSettings, SegSettings


@pytest.fixture(scope="session")
def phantoms(made_once: Callable) -> Path:
    """Nine patients with two slices each, so that each part has all three classes."""
    return made_once("training", lambda root: write_phantom(root, patients=9, slices_per_patient=(2, 2), side=128))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session: phantoms are decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def seg(phantoms: Path, cache: Path, tmp_path: Path) -> Make:
    """Return a maker of small segmentation settings; all of a test share one folder of runs."""
    return lambda: shrunk(SegSettings(), data=phantoms, cache=cache, runs=tmp_path / "runs")


@pytest.fixture
def cls(phantoms: Path, cache: Path, tmp_path: Path) -> Make:
    """Return a maker of small classification settings."""
    return lambda: shrunk(ClsSettings(), data=phantoms, cache=cache, runs=tmp_path / "runs")


@pytest.fixture
def joint(phantoms: Path, cache: Path, tmp_path: Path) -> Make:
    """Return a maker of small settings for mask and class from one network."""
    return lambda: shrunk(JointSettings(), data=phantoms, cache=cache, runs=tmp_path / "runs")
