"""Expansion of files, folders and patterns into input files."""

from pathlib import Path

import fsspec
import pytest

from bts.errors import RequestError
from bts.inference.inputs import expand, find_inputs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder as users have it."""
    for name in (
        "10.mat",
        "9.mat",
        "cvind.mat",
        "notes.txt",
        ".hidden.png",
        "a/B.PNG",
        "a/v.nii.gz",
        ".git/x.png",
        "a/old/mask.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "a/old/result.json").write_text('{"schema_version": 2, "source": "a.png"}')
    (tmp_path / "a/old/slices").mkdir()
    (tmp_path / "a/old/slices/1.png").write_bytes(b"x")
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "1.2.840.5").write_bytes(bytes(128) + b"DICM")
    return tmp_path


def names(files, root):
    return [path.relative_to(root).as_posix() for path in files]


def test_a_folder_gives_what_is_readable_in_natural_order_without_hidden_files_and_results(tree):
    assert names(expand([tree]), tree) == ["1.2.840.5", "9.mat", "10.mat", "IM0001", "a/B.PNG", "a/v.nii.gz"]


def test_the_order_of_the_names_is_kept_and_no_file_comes_twice(tree):
    assert names(expand([tree / "a", tree / "9.mat", tree / "a/B.PNG"]), tree) == ["a/B.PNG", "a/v.nii.gz", "9.mat"]


def test_a_pattern_matches_at_any_depth(tree):
    assert names(expand([str(tree / "**/*.mat")]), tree) == ["9.mat", "10.mat"]
    assert names(expand([str(tree / "a/?.PNG")]), tree) == ["a/B.PNG"]


def test_a_named_file_is_taken_as_it_is(tree):
    assert names(expand([tree / ".hidden.png"]), tree) == [".hidden.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    (tmp_path / "scan[1].png").write_bytes(b"x")
    assert names(expand([tmp_path / "scan[1].png"]), tmp_path) == ["scan[1].png"]


def test_nothing_found_is_told_with_what_can_be_read(tree):
    (tree / "empty").mkdir()
    with pytest.raises(RequestError, match=r"empty: no readable file in this folder \(readable are \.mat, \.png"):
        expand([tree / "empty"])
    with pytest.raises(RequestError, match=r"\*\.jpg: no readable file matches this pattern \(0 matches"):
        expand([str(tree / "*.jpg")])
    with pytest.raises(RequestError, match=r"\*\.txt: no readable file matches this pattern \(1 matches"):
        expand([str(tree / "*.txt")])
    with pytest.raises(RequestError, match=r"gone\.png: no such file or folder"):
        expand([tree / "gone.png"])
    with pytest.raises(RequestError, match="no scan is named"):
        expand([])


def test_files_that_are_no_scans_are_named_and_hidden_ones_are_not(tree):
    assert names(find_inputs([tree])[1], tree) == ["cvind.mat", "notes.txt"]


@pytest.mark.parametrize("text", ["{}", "[1]", "no JSON", '{"accuracy": 0.9, "source": "us"}', "[" * 100000])
def test_a_result_of_another_program_hides_no_folder(text, tree):
    (tree / "a" / "result.json").write_text(text)
    assert names(expand([tree / "a"]), tree) == ["a/B.PNG", "a/v.nii.gz"]


def test_linked_folders_are_searched_once_and_a_circle_ends(tree, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (disk / "c.png").write_bytes(b"x")
    (tree / "linked").symlink_to(disk, target_is_directory=True)
    (tree / "twice").symlink_to(disk, target_is_directory=True)
    (disk / "up").symlink_to(tree, target_is_directory=True)
    found = names(expand([tree]), tree)
    assert sum(name.endswith("c.png") for name in found) == 1
    assert sum(name.endswith("10.mat") for name in found) == 1


@pytest.fixture
def store():
    """The object store of this process, in fsspec."""
    store = fsspec.filesystem("memory")
    for name in ("10.mat", "9.mat", "cvind.mat", "notes.txt", "deep/v.nii.gz", ".hidden.png"):
        store.pipe_file(f"/bucket/{name}", b"x")
    yield store
    store.rm("/", recursive=True)


def test_an_address_of_an_object_store_is_searched_as_a_folder(store):
    found = find_inputs(["memory://bucket/"])
    assert [str(path) for path in found.files] == [f"memory://bucket/{name}" for name in ("9.mat", "10.mat", "deep/v.nii.gz")]
    assert [str(path) for path in found.skipped] == [f"memory://bucket/{name}" for name in ("cvind.mat", "notes.txt")]


def test_an_address_of_a_scan_is_taken_as_it_is_also_from_a_list(store, tmp_path):
    (tmp_path / "list.txt").write_text("a.png\nmemory://bucket/9.mat\nmemory://bucket/deep\n")
    assert [str(path) for path in expand(["memory://bucket/gone.png", tmp_path / "list.txt"])] == [
        *("memory://bucket/gone.png", str(tmp_path / "a.png")),
        *("memory://bucket/9.mat", "memory://bucket/deep/v.nii.gz"),
    ]


def test_an_address_without_a_scan_or_with_dicom_is_refused(store):
    with pytest.raises(RequestError, match=r"^memory://bucket/notes.txt: no readable object below it \(readable are .mat"):
        expand(["memory://bucket/notes.txt"])
    store.pipe_file("/bucket/study/1.dcm", b"x")
    with pytest.raises(RequestError, match=r"^memory://bucket/study/1.dcm: DICOM in an object store is not grouped by series"):
        expand(["memory://bucket"])
