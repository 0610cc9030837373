"""What every data source promises. A new source comes under these tests by one line in `ROOTS`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import source_files

from bts.data.phantom import write_phantom
from bts.data.sources import base
from bts.data.sources.catalogue import open_source
from bts.errors import InputError, RequestError


def figshare_root(folder: Path) -> Path:
    write_phantom(folder, patients=3, slices_per_patient=(1, 2), healthy=1, seed=1, side=128)
    return folder


ROOTS = {
    "brisc": source_files.brisc_root,
    "brisc_seg": source_files.brisc_root,
    "figshare": figshare_root,
    "folders": source_files.folders_root,
    "lgg": source_files.lgg_root,
    "lgg_flair": source_files.lgg_root,
    "lgg_t1": source_files.lgg_root,
    "manifest": source_files.manifest_root,
    "npz": source_files.npz_root,
}
"""For each registered source a function that lays out a small set of it in an empty folder and returns the root."""


@pytest.fixture(scope="module")
def root_of(tmp_path_factory):
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = ROOTS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return make


@pytest.fixture(params=sorted(ROOTS))
def source(request, root_of):
    return open_source(request.param, root_of(request.param))


def test_every_registered_source_is_under_contract():
    assert set(base.sources) == set(ROOTS)


def test_records_are_the_same_each_time_and_not_empty(source):
    assert source.records()
    assert source.records() == source.records()
    assert type(source)(source.root).records() == source.records()


def test_changing_the_returned_list_changes_nothing(source):
    before = len(source.records())
    source.records().clear()
    assert len(source.records()) == before


def test_paths_are_unique_relative_and_exist(source):
    paths = [record.path for record in source.records()]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert not Path(path).is_absolute()
        assert "\\" not in path
        assert (source.root / path.partition("#")[0]).is_file()  # `train.npz#3` is one array of a file


def test_labels_are_among_the_classes(source):
    assert len(set(source.classes)) == len(source.classes)
    assert {record.label for record in source.records()} <= {*source.classes, None}


def test_patients_are_whole_strings_or_none(source):
    for record in source.records():
        assert record.patient is None or (record.patient == record.patient.strip() != "")


def test_folds_count_from_one(source):
    assert all(record.fold is None or record.fold >= 1 for record in source.records())


def test_a_slice_agrees_with_its_record(source):
    for record in source.records():
        found = source.read(record)
        assert (found.label, found.patient, found.source) == (record.label, record.patient, type(source).name)
        assert Path(found.path) == source.root / record.path
        assert found.image.dtype == np.float32
        assert found.synthetic == source.synthetic
        assert found.mask is None or found.mask.shape == found.image.shape


def test_reading_twice_gives_the_same_pixels(source):
    record = source.records()[0]
    np.testing.assert_array_equal(source.read(record).image, source.read(record).image)


def test_a_record_without_file_is_an_input_error_with_the_path_in_front(source):
    record = base.Record(path="nowhere/1.mat", label=source.classes[0], patient="1")
    with pytest.raises(InputError, match=r"nowhere/1\.mat: ") as caught:
        source.read(record)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(ROOTS))
def test_an_empty_or_missing_folder_is_a_wrong_request(tmp_path, name):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RequestError, match=str(folder)):
            open_source(name, folder)


def test_an_unknown_source_gives_the_nearest_name(tmp_path):
    with pytest.raises(RequestError, match=r"unknown data source 'figshar' \(did you mean 'figshare'\?\): choose one of"):
        open_source("figshar", tmp_path)
