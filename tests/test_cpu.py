"""Cores available to a computation: affinity, cgroup quota, other processes, and OpenMP's wait policy."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bts.cpu import Cores, OtherLoad, busy_ticks, cgroup_quota, choose_threads

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("cores", "busy", "threads", "reason"),
    [
        (Cores(2, None, 2), 0.0, 2, "2 cores, 0.0 of them in use by other processes"),
        (Cores(2, None, 2), 0.3, 2, "0.3 of them"),
        (Cores(2, None, 2), 0.5, 1, "0.5 of them"),
        (Cores(2, None, 2), 1.0, 1, "1.0 of them"),
        (Cores(2, None, 2), 2.0, 1, "2.0 of them"),
        (Cores(1, None, 2), 1.0, 1, "1 core, 1.0 of them"),
        (Cores(16, None, 16), 3.2, 13, "16 cores, 3.2 of them"),
        (Cores(16, None, 8), 3.2, 8, "16 cores"),  # torch takes one thread per physical core
        (Cores(16, 4.0, 16), 0.0, 4, "16 cores, a quota of 4 cores"),
        (Cores(16, 2.5, 16), 0.0, 2, "a quota of 2.5 cores"),
        (Cores(16, 0.5, 16), 0.0, 1, "a quota of 0.5 cores"),
        (Cores(64, 4.0, 32), 62.0, 2, "64 cores, a quota of 4 cores, 62.0 of them"),
        (Cores(16, None, 16, processes=2), 0.0, 8, "shared by 2 processes"),
        (Cores(2, None, 2, processes=4), 0.0, 1, "shared by 4 processes"),
    ],
)
def test_threads_are_the_cores_that_others_leave(cores: Cores, busy: float, threads: int, reason: str) -> None:
    found, why = choose_threads(cores, busy)
    assert found == threads
    assert reason in why


def cgroup(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("cfs_", "cpu.cfs_").replace("max", "cpu.max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/a/b\n", {"a__b__max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a__b__max": "max 100000\n", "a__max": "400000 100000\n"}, 4.0),  # set on the cgroup above
        ("0::/a/b\n", {"a__b__max": "800000 100000\n", "a__max": "400000 100000\n"}, 4.0),
        ("0::/\n", {"max": "200000 100000\n"}, 2.0),  # as in a container with a cgroup namespace of its own
        ("0::/\n", {"max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("3:cpu,cpuacct:/a\n2:cpuset:/b\n", {"cpu__a__cfs_quota_us": "300000", "cpu__a__cfs_period_us": "100000"}, 3.0),
        ("3:cpu,cpuacct:/a\n", {"cpu__a__cfs_quota_us": "-1", "cpu__a__cfs_period_us": "100000"}, None),
        ("", {"max": "200000 100000\n"}, None),
        ("0::/\n", {"max": "200000 0\n"}, None),
        ("0::/\n", {"max": "what is this"}, None),
    ],
)
def test_the_smallest_quota_of_the_cgroups_counts(
    membership: str, files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    cgroup(tmp_path / "fs", **files)
    (tmp_path / "membership").write_text(membership)
    assert cgroup_quota(tmp_path / "fs", tmp_path / "membership") == quota


def test_no_cgroup_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path / "nowhere", tmp_path / "nothing") is None


def test_idle_time_and_waiting_for_the_disk_are_no_work() -> None:
    text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 4 1000 1000 8 16 32 500 500\ncpu1 64 0 0 0 0 0 0 0 0 0\nintr 5 6\n"
    assert busy_ticks(text, {0}) == 1 + 2 + 4 + 8 + 16 + 32
    assert busy_ticks(text, {0, 1}) == busy_ticks(text, {0}) + 64
    assert busy_ticks(text, set()) == 0
    assert busy_ticks("", {0}) == 0


class Clocks:
    """Stand-ins for the clocks: (wall time, ticks of core 0, own CPU time) at each reading."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, readings: list[tuple[float, int, float]]) -> None:
        self.now = iter(readings)
        monkeypatch.setattr(OtherLoad, "clocks", lambda _: self.read())
        monkeypatch.setattr("bts.cpu.time.sleep", lambda _: None)

    def read(self) -> tuple[float, float, float]:
        wall_s, ticks, own_s = next(self.now)
        return wall_s, ticks / 100, own_s


def test_the_load_of_others_is_all_work_but_ones_own_since_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    Clocks(monkeypatch, [(0, 1000, 5), (10, 3000, 15), (20, 4000, 25), (30, 4990, 35)])
    load = OtherLoad()
    assert load.read() == pytest.approx((20 - 10) / 10)
    assert load.read() == pytest.approx(0)
    assert load.read() == 0  # rounding never makes it negative


def test_without_core_times_the_load_average_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Clocks(monkeypatch, [(0, 0, 5), (10, 0, 20)])
    monkeypatch.setattr("os.getloadavg", lambda: (3.5, 0.0, 0.0), raising=False)
    assert OtherLoad().read() == pytest.approx(3.5 - 15 / 10)


WAIT = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"KMP_BLOCKTIME": "200"}, {"KMP_BLOCKTIME": "200"}),
        ({"GOMP_SPINCOUNT": "1000"}, {"GOMP_SPINCOUNT": "1000"}),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(own: dict[str, str], expected: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in WAIT} | own
    code = f"import bts, os; print({{name: os.environ[name] for name in {WAIT} if name in os.environ}})"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)


FAULTS = """
import ctypes, resource
from bts.cpu import kept_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):  # blocks of 64 MiB, one after another
        block = ctypes.c_void_p(library.malloc(ctypes.c_size_t(2**26)))
        ctypes.memset(block, 1, 2**26)
        library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with kept_memory():
    faults(1)
    print(faults(3))
print(faults(3))
"""


RETURNED = """
import ctypes
from pathlib import Path
from bts.cpu import return_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
def block(size):
    taken = ctypes.c_void_p(library.malloc(ctypes.c_size_t(size)))
    ctypes.memset(taken, 1, size)
    return taken
{}
library.free(block(2**24))  # raises glibc's threshold
blocks = [block(2**21) for _ in range(32)]
last = block(2**21)  # as large as the others, so above them: keeps the heap from shrinking
before = resident()
for one in blocks:
    library.free(one)
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
@pytest.mark.parametrize(("called", "returned"), [("return_freed_memory()", True), ("", False)])
def test_freed_blocks_are_returned_to_the_system(called: str, returned: bool) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    line = [sys.executable, "-c", RETURNED.format(called)]
    said = subprocess.run(line, cwd=ROOT, env=env, text=True, capture_output=True, check=True)
    assert (int(said.stdout) > 2**25 / os.sysconf("SC_PAGE_SIZE")) is returned


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")
@pytest.mark.parametrize("own", [{}, {"MALLOC_ARENA_MAX": "4"}], ids=["by default", "with a setting of the user"])
def test_freed_memory_is_kept_for_the_next_block_inside_the_context(own: dict[str, str]) -> None:
    pages = 2**26 // os.sysconf("SC_PAGE_SIZE")
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | own
    said = subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, env=env, text=True, capture_output=True, check=True)
    inside, after = map(int, said.stdout.split())  # pages that the system handed out
    assert (inside < pages) is not bool(own)  # kept: of three blocks not even one is new
    assert after >= 3 * pages
