"""Uploads are read in a process of their own: what a hostile file does to its reader ends with one line."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hostile_files import PICTURE, write_hdf
from PIL import Image

from bts.apps.web.limits import Limits
from bts.apps.web.upload_reader import read_upload
from bts.data.readers import isolated
from bts.data.readers.catalogue import read_scan
from bts.data.readers.isolated import ClaimError, ReadingProcess, missing_isolation, read_scan_isolated
from bts.data.readers.scan_bytes import pack, unpack
from bts.errors import InputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork, so nothing is isolated")
HERE = Path(__file__).parent
HOSTILE = f"import sys; sys.path.insert(0, {str(HERE)!r}); import hostile_reader; hostile_reader."
LIMITED = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no address-space limit on this system")


@pytest.fixture(scope="module")
def hostile() -> Iterator[ReadingProcess]:
    """A process whose reader does what the name of a file says."""
    process = ReadingProcess(code=HOSTILE + "start({descriptor})")
    yield process
    process.close()


def whole(process: ReadingProcess) -> None:
    """Check that the next file is read as if nothing had happened."""
    found = process.read_scan("fine.png").slices[0]
    np.testing.assert_array_equal(found.image, np.arange(48).reshape(6, 8))
    assert found.label == "fine"


# --- the same as without ---------------------------------------------------------------------------------------------------


def volume(path: Path, shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).integers(1, 99, shape).astype(np.int16)
    array[:, :, 2] = 5
    image = nibabel.Nifti1Image(array, np.diag([-1.5, 2.0, 5.0, 1.0]) + np.eye(4) * 0.001)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write(path: Path) -> Path:
    if path.suffix == ".mat":
        write_hdf(path).close()
    elif path.name.endswith(".nii.gz"):
        volume(path, (7, 8, 6))
    else:
        alpha = np.full(PICTURE.shape, 255, np.uint8)
        alpha[0] = 0
        grey = (PICTURE // 16).astype(np.uint8)
        Image.fromarray(np.dstack([grey, grey, grey, alpha])).save(path)
    return path


@pytest.mark.parametrize("name", ["1.mat", "a.png", "a.nii.gz"])
@pytest.mark.parametrize("axis", [None, 0])
def test_a_file_reads_as_it_does_in_this_process(name: str, axis: int | None, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    expected, found = read_scan(path, axis=axis), read_scan_isolated(path, axis=axis)
    assert (found.path, found.blank, len(found.slices)) == (expected.path, expected.blank, len(expected.slices))
    for one, other in zip(found.slices, expected.slices, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.image.dtype == np.float32
        assert (one.mask is None) == (other.mask is None)
        if one.mask is not None:
            np.testing.assert_array_equal(one.mask, other.mask)
        for name in ("source", "path", "label", "patient", "spacing_mm", "index", "content", "synthetic", "warnings"):
            assert getattr(one, name) == getattr(other, name), name
    assert (found.volume is None) == (expected.volume is None)
    if found.volume is not None:
        np.testing.assert_array_equal(found.volume.affine, expected.volume.affine)
        np.testing.assert_array_equal(found.volume.orientation, expected.volume.orientation)
        for name in ("shape", "axis", "codes", "unit"):
            assert getattr(found.volume, name) == getattr(expected.volume, name), name


@pytest.mark.parametrize("name", ["gone.png", "a.docx", "damaged.mat", "damaged.nii", "damaged.png", "."])
def test_a_file_is_refused_in_the_words_of_this_process(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "." in name.strip(".") and not name.startswith("gone"):
        Path(name).write_bytes(b"damaged " * 50)
    with pytest.raises(InputError) as expected:
        read_scan(name)
    with pytest.raises(InputError) as found:
        read_scan_isolated(name)
    assert str(found.value) == str(expected.value)


def test_an_upload_is_not_read_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise AssertionError("read in the server's own process")

    for where in ("catalogue.read_scan", "catalogue.claimed_values", "picture.read_picture", "mat.read_mat"):
        monkeypatch.setattr(f"bts.data.readers.{where}", refuse)
    found = read_upload([write(tmp_path / "1.mat")], limits=Limits())
    np.testing.assert_array_equal(found.slices[0].image, PICTURE)


def test_a_claim_over_the_limit_is_told_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    with pytest.raises(ClaimError, match=r"a\.nii\.gz: its header claims 336 values: at most 335 are accepted here") as caught:
        read_scan_isolated(path, most_values=335)
    assert caught.value.claimed == 336
    assert read_scan_isolated(path, most_values=336).volume is not None
    with pytest.raises(InputError, match=r"^a\.nii\.gz: its header claims 336 voxels: this page takes at most 9, use"):
        read_upload([path], limits=Limits(voxels=9))


# --- hostile readers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crash.png", "its reader crashed or took more than 512 MiB: the file is damaged, export it again"),
        ("exit.png", "its reader crashed or took more than 512 MiB"),
        ("short.png", "its reader crashed or took more than 512 MiB"),
        ("bug.png", r"its reader failed \(ZeroDivisionError\): export it again, or as PNG"),
        ("huge.png", "its reader crashed or took more than 512 MiB"),
        pytest.param("bomb.png", "reading it takes more memory than there is: scale it down", marks=LIMITED),
    ],
)
def test_what_ends_a_reader_costs_one_file(name: str, message: str, hostile: ReadingProcess) -> None:
    whole(hostile)
    with pytest.raises(InputError, match=rf"^{name}: {message}") as caught:
        hostile.read_scan(name, memory_mib=512)
    assert "\n" not in str(caught.value)
    assert "42" not in str(caught.value)
    whole(hostile)


@pytest.mark.parametrize("name", ["hang.png", "asleep.png", "deaf.png"])
def test_a_reader_without_end_is_stopped(name: str, hostile: ReadingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.5)
    with pytest.raises(InputError, match=rf"{name}: stopped after 0\.5 s of reading: export it again, or as PNG"):
        hostile.read_scan(name, seconds=0.5)
    whole(hostile)


def test_a_long_line_with_signs_is_one_short_line(hostile: ReadingProcess) -> None:
    with pytest.raises(InputError, match=r"lines\.png: onetwo\[31mxxx") as caught:
        hostile.read_scan("lines.png")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


@LIMITED
def test_a_fork_has_nothing_but_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = ("BTS_APP_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "HOME", "USER", "ANYTHING")
    for name in planted:
        monkeypatch.setenv(name, "sesam")
    process = ReadingProcess(code=HOSTILE + "start({descriptor})")
    monkeypatch.setattr(isolated, "MAX_LINE", 10_000)
    with pytest.raises(InputError, match=r"world\.png: \{") as caught:
        process.read_scan("world.png")
    process.close()
    found = json.loads(str(caught.value).partition(": ")[2])
    assert set(isolated.SET) <= set(found["environment"])
    assert not set(planted) & set(found["environment"])
    assert found["limits"] == {"CORE": 0, "FSIZE": 0, "NOFILE": 32, "NPROC": 0}
    assert found["kinds"][:3] == ["/dev/null"] * 3
    assert found["kinds"].count("socket") == 1
    assert len(found["open"]) == 5  # and the folder that was listed


def test_the_next_file_gets_a_new_process_where_the_old_one_was_killed(hostile: ReadingProcess) -> None:
    whole(hostile)
    before = hostile._process
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    before.wait()
    whole(hostile)
    assert hostile._process is not before


def test_a_process_that_does_not_start_is_no_fault_of_the_file(caplog: pytest.LogCaptureFixture) -> None:
    process = ReadingProcess(code=HOSTILE + "dead({descriptor})")
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="the process that reads uploads can't be started"):
        process.read_scan("fine.png")
    process.close()


def test_several_sessions_read_at_once(hostile: ReadingProcess) -> None:
    names = ["fine.png", "crash.png", "bug.png"] * 6
    told: list[str] = []

    def read(name: str) -> str:
        try:
            return str(hostile.read_scan(name).slices[0].label)
        except InputError as error:
            told.append(str(error))
            return "refused"

    with ThreadPoolExecutor(9) as threads:
        found = list(threads.map(read, names))
    assert found == ["fine" if name == "fine.png" else "refused" for name in names]
    assert sorted(line.split(":")[0] for line in told) == ["bug.png"] * 6 + ["crash.png"] * 6


def test_a_file_waits_for_a_free_lane() -> None:
    process = ReadingProcess(code=HOSTILE + "start({descriptor})", lanes=1)
    refused = threading.Event()

    def hang() -> None:
        with pytest.raises(InputError, match="stopped after"):
            process.read_scan("asleep.png", seconds=0.5)
        refused.set()

    thread = threading.Thread(target=hang)
    thread.start()
    whole(process)
    thread.join()
    assert refused.is_set()
    process.close()


def test_closing_ends_the_process_and_what_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    process = ReadingProcess(code=HOSTILE + "start({descriptor})")
    asked, read_head, told = threading.Event(), isolated._Answer.read_head, []

    def noted(answer: isolated._Answer) -> None:
        asked.set()
        read_head(answer)

    def wait_for_it() -> None:
        with pytest.raises(InputError) as caught:
            process.read_scan("asleep.png", seconds=600)
        told.append(str(caught.value))

    monkeypatch.setattr(isolated._Answer, "read_head", noted)
    thread = threading.Thread(target=wait_for_it)
    thread.start()
    asked.wait()
    child = process._process
    assert child is not None
    process.close()
    thread.join()
    assert child.returncode == -signal.SIGKILL
    assert told[0].startswith("asleep.png: its reader crashed")


# --- hostile answers -------------------------------------------------------------------------------------------------------


def honest(tmp_path: Path) -> tuple[dict[str, Any], bytes]:
    """The answer for a volume, as JSON gives it back."""
    volume(tmp_path / "a.nii.gz", (7, 8, 6))
    head, parts = pack(read_scan(tmp_path / "a.nii.gz"))
    return json.loads(json.dumps(head)), b"".join(parts)


def taken(head: Any, data: bytes, *, most: int = 10**6) -> Any:
    place = 0

    def take(count: int) -> bytearray:
        nonlocal place
        place += count
        return bytearray(data[place - count : place].ljust(count, b"\0"))

    return unpack(head, take, path="a", most=most)


def test_an_honest_answer_is_unpacked(tmp_path: Path) -> None:
    head, data = honest(tmp_path)
    assert len(taken(head, data).slices) == 5


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("slices",), []),
        (("slices",), "x"),
        (("slices",), [3]),
        (("slices", 0, "shape"), [10**9, 10**9]),
        (("slices", 0, "shape"), [8192, 8192]),
        (("slices", 0, "shape"), [-1, 8]),
        (("slices", 0, "shape"), [8, 8, 8]),
        (("slices", 0, "shape"), [True, 8]),
        (("slices", 0, "shape"), [3, 3]),
        (("slices", 0, "index"), 99),
        (("slices", 0, "index"), 1),
        (("slices", 0, "index"), None),
        (("slices", 0, "label"), ["x"]),
        (("slices", 0, "patient"), 5),
        (("slices", 0, "warnings"), "x"),
        (("slices", 0, "warnings"), [{}]),
        (("slices", 0, "spacing_mm"), [1.0]),
        (("slices", 0, "spacing_mm"), ["a", "b"]),
        (("slices", 0, "content"), [0, 0, 99, 4]),
        (("blank",), [0]),
        (("blank",), None),
        (("volume",), None),
        (("volume", "shape"), [7, 8]),
        (("volume", "shape"), [7, 8, 10**9]),
        (("volume", "axis"), 3),
        (("volume", "orientation"), [[0, 1], [0, 1], [2, 1]]),
        (("volume", "orientation"), [[0, 5], [1, 1], [2, 1]]),
        (("volume", "orientation"), "x"),
        (("volume", "affine"), [1.0] * 15),
        (("volume", "affine"), [["a"] * 4] * 4),
        (("volume", "codes"), [1]),
        (("volume", "unit"), 7),
    ],
)
def test_a_hostile_answer_is_refused(where: tuple, value: object, tmp_path: Path) -> None:
    head, data = honest(tmp_path)
    place: Any = head
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    with pytest.raises((ValueError, TypeError, KeyError)):
        taken(head, data)


def test_an_answer_of_more_bytes_than_the_reader_may_have_is_refused(tmp_path: Path) -> None:
    head, data = honest(tmp_path)
    with pytest.raises(ValueError, match="no or too many bytes"):
        taken(head, data, most=100)


@pytest.mark.parametrize("head", ["[]", "{}", '{"slices": 3}', '{"claimed": "x"}', '{"claimed": 5}', '{"error": ["a"]}'])
def test_an_answer_that_is_none_is_one_line(head: str, hostile: ReadingProcess, tmp_path: Path) -> None:
    path = tmp_path / "head.png"
    path.write_text(head)
    with pytest.raises(InputError, match=r"head\.png: ") as caught:
        hostile.read_scan(path)
    assert "\n" not in str(caught.value)
    whole(hostile)


def test_a_head_of_endless_bytes_is_refused(hostile: ReadingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MAX_HEAD_BYTES", 2**20)
    with pytest.raises(InputError, match=r"many heads\.png: its reader gave no usable answer"):
        hostile.read_scan("many heads.png")
    whole(hostile)


# --- systems that lack something -------------------------------------------------------------------------------------------


def test_this_system_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        assert missing_isolation() is None
    monkeypatch.delattr("os.fork")
    assert "can't fork: uploads are read in the server's own process" in str(missing_isolation())


def test_without_fork_files_are_read_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.fork")
    path = write(tmp_path / "1.mat")
    np.testing.assert_array_equal(read_scan_isolated(path).slices[0].image, PICTURE)
    with pytest.raises(ClaimError, match="its header claims 4096 values: at most 9 are accepted here"):
        read_scan_isolated(path, most_values=9)
