"""Folders that hold more than files: a search of them ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bts.inference.inputs import expand


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_in_a_folder_is_skipped(tmp_path: Path) -> None:
    """Opening it would wait for a writer for ever."""
    (tmp_path / "a.png").write_bytes(b"a picture")
    os.mkfifo(tmp_path / "scan")
    os.mkfifo(tmp_path / "b.png")
    signal.alarm(60)
    try:
        assert expand([tmp_path]) == [tmp_path / "a.png"]
    finally:
        signal.alarm(0)
