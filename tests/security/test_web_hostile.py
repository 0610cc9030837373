"""A short attack with hostile uploads; `python -m bench hostile` is the long one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from web_server import Served, serving

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
from bench.hostile import GROWTH_MIB, attack
from bench.hostile_files import WAYS, Files

MOST = 90


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that write the files
        return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, upload_mib=8, disk_mib=64, sweep_seconds=0.5) as page:
        yield page


@pytest.mark.filterwarnings("ignore")
def test_hostile_uploads_leave_the_page_as_it_was(served: Served, files: Files) -> None:
    outcomes, memory, left = attack(
        served.url, served.pid, served.root, files, expire=served.after_idle_time, seconds=60, most=MOST, seed=1
    )
    acts = {what: count for what, count in outcomes.items() if ": " in what}
    assert sum(acts.values()) == MOST
    assert {what.partition(":")[0] for what in acts} >= {"ask", "leave", "break off", "unread", "junk"}
    wrong = [what for what in acts if any(word in what for word in ("traceback", "HTTP 5", "no answer", "no picture"))]
    assert wrong == []
    assert memory[2] - memory[0] < GROWTH_MIB
    assert left == []
    assert "Traceback" not in served.log.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_every_kind_is_harmed_in_every_way(files: Files) -> None:
    rng = np.random.default_rng(0)
    drawn = [files.draw(rng) for _ in range(500)]
    assert {(way, kind) for way, kind, _ in drawn} == {(way, kind) for way in WAYS for kind in files.whole}
    for way, kind, data in drawn:
        assert (data == files.whole[kind]) == (way == "whole")
        assert len(data) < 2**21
