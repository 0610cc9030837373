"""Selection of models: named ones, latest runs, phantoms, missing tasks."""

import json
from dataclasses import asdict

import pytest
from fake_models import make_card

from bts.errors import RequestError
from bts.inference.model_selection import model_folder, select_models
from bts.models import bundled_model
from bts.runs import Run

NONE = {"seg": None, "cls": None, "joint": None}


def write_run(runs, task, name, *, synthetic=False, finished=True):
    run = Run(runs / task / name)
    run.model.mkdir(parents=True)
    card = make_card(task, name=name, synthetic=synthetic)
    (run.model / "model.json").write_text(json.dumps(asdict(card)))  # weights play no part in the choice
    if finished:
        run.finished.write_text(json.dumps({"task": task, "synthetic": synthetic, "time": name}))
    return run


def chosen_names(runs, **named):
    models, notes = select_models(**(NONE | named), runs=runs)
    return [model.card.name for model in models], " ".join(notes)


def test_the_latest_finished_run_of_each_task_answers_and_is_told(tmp_path):
    for task in ("seg", "cls"):
        write_run(tmp_path, task, f"{task}-1")
        write_run(tmp_path, task, f"{task}-2")
        write_run(tmp_path, task, f"{task}-3", finished=False)
    names, notes = chosen_names(tmp_path)
    assert names == ["seg-2", "cls-2"]
    assert f"mask: {tmp_path / 'seg' / 'seg-2' / 'model'} (latest finished run, trained on nothing)" in notes


def test_beside_a_run_it_is_told_how_the_bundled_model_is_asked(tmp_path, monkeypatch):
    write_run(tmp_path / "runs", "joint", "joint-1")
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path / "bundled")
    assert "the bundled model" not in chosen_names(tmp_path / "runs")[1]
    (tmp_path / "bundled" / "small").mkdir(parents=True)
    (tmp_path / "bundled" / "small" / "model.json").write_text(json.dumps(asdict(make_card("joint", name="small"))))
    names, notes = chosen_names(tmp_path / "runs")
    assert names == ["joint-1"]
    assert "the bundled model answers with --joint small" in notes


def test_real_data_goes_before_phantoms_whatever_is_newer(tmp_path):
    write_run(tmp_path, "seg", "1-real")
    write_run(tmp_path, "seg", "2-phantom", synthetic=True)
    assert chosen_names(tmp_path)[0] == ["1-real"]


def test_a_phantom_model_answers_only_where_there_is_nothing_else(tmp_path):
    write_run(tmp_path, "seg", "phantom-seg", synthetic=True)
    write_run(tmp_path, "cls", "phantom-cls", synthetic=True)
    assert chosen_names(tmp_path)[0] == ["phantom-seg", "phantom-cls"]
    write_run(tmp_path, "cls", "real-cls")
    names, notes = chosen_names(tmp_path)
    assert names == ["real-cls"]
    assert "phantom-seg/model is left out: it was trained on phantoms" in notes
    assert "no mask: no finished seg run" in notes
    assert "python train_seg.py" in notes


def test_one_model_alone_answers_and_the_missing_part_is_told(tmp_path):
    write_run(tmp_path, "seg", "s")
    names, notes = chosen_names(tmp_path)
    assert names == ["s"]
    assert "no class: no finished cls run" in notes


def test_a_joint_model_answers_where_the_pair_is_not_complete(tmp_path):
    write_run(tmp_path, "joint", "j")
    write_run(tmp_path, "seg", "s")
    assert chosen_names(tmp_path)[0] == ["j"]
    write_run(tmp_path, "cls", "c")
    assert chosen_names(tmp_path)[0] == ["s", "c"]


def test_what_is_named_answers_alone_by_model_folder_or_by_run(tmp_path):
    run = write_run(tmp_path, "seg", "s")
    write_run(tmp_path, "cls", "c")
    assert chosen_names(tmp_path, seg=run.path)[0] == ["s"]
    assert chosen_names(tmp_path, seg=str(run.model))[0] == ["s"]
    assert model_folder(run.path) == model_folder(run.model) == run.model


def test_nothing_found_names_the_commands_that_train(tmp_path):
    with pytest.raises(RequestError) as error:
        select_models(**NONE, runs=tmp_path)
    for part in (str(tmp_path), "python train_seg.py", "python train_cls.py", "--seg", "--cls"):
        assert part in str(error.value)


def test_a_segmenter_named_as_classifier_is_refused_in_one_line(tmp_path):
    run = write_run(tmp_path, "seg", "s")
    with pytest.raises(RequestError, match=r"a model for task 'seg', one for 'cls' is needed here") as error:
        select_models(**(NONE | {"cls": run.path}), runs=tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(RequestError, match="not a model folder"):
        select_models(**(NONE | {"seg": tmp_path}), runs=tmp_path)
    with pytest.raises(RequestError, match="no such model folder"):
        select_models(**(NONE | {"seg": tmp_path / "gone"}), runs=tmp_path)


def test_a_joint_model_beside_others_is_refused(tmp_path):
    with pytest.raises(RequestError, match="a joint model predicts mask and class: give it alone"):
        select_models(seg=None, cls=tmp_path, joint=tmp_path, runs=tmp_path)
