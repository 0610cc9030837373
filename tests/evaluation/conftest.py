"""What the tests of evaluation share: one small phantom set, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts.data.phantom import write_phantom


@pytest.fixture(scope="session")
def phantom_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=9, slices_per_patient=(1, 2), healthy=3)
    return folder
