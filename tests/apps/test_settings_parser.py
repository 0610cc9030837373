"""Settings from files and command lines: accepted values, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts.apps.settings_parser import Override, from_arguments, from_yaml, make_parser, read_settings
from bts.errors import RequestError
from bts.fields import leaf_hints, leaves, problems
from bts.settings import SETTINGS, ClsSettings, SegSettings


def read(task: str, *arguments: str) -> object:
    return read_settings(task, from_arguments(arguments))  # type: ignore[arg-type]


def test_nothing_given_is_the_defaults() -> None:
    assert read("seg") == SegSettings()
    assert read("cls") == ClsSettings()


def test_the_command_line_lies_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("optim: {lr: 1e-3, epochs: 7}\ndata:\n  size: 96\n")
    settings = read_settings("seg", [*from_yaml(tmp_path / "a.yaml"), *from_arguments(["--optim.lr", "3e-4"])])
    assert (settings.optim.lr, settings.optim.epochs, settings.data.size) == (3e-4, 7, 96)
    assert settings.optim.weight_decay == SegSettings().optim.weight_decay


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--optim.lr=3e-4"], "optim.lr", 3e-4),
        (["--data.workers", "null"], "data.workers", None),
        (["--data.workers", "2"], "data.workers", 2),
        (["--model.channels", "[64, 32, 16, 8, 8]"], "model.channels", (64, 32, 16, 8, 8)),
        (["--augment.flip", "false"], "augment.flip", False),
        (["--data.root", "2024"], "data.root", "2024"),
        (["--data.cache", ""], "data.cache", ""),
        (["--model.weights", "none"], "model.weights", "none"),
        (["--trainer.devices", "-1"], "trainer.devices", -1),
    ],
)
def test_a_value_arrives_with_its_type(arguments: list[str], key: str, value: object) -> None:
    assert dict(leaves(read("seg", *arguments)))[key] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optim.lrr", "1"], r"unknown setting 'optim.lrr' \(did you mean 'optim.lr'\?\) \(command line\)"),
        (["--encoder", "x"], r"unknown setting 'encoder' \(did you mean 'model.encoder'\?\)"),
        (["--data", "x"], r"'data' is a group \(command line\): set one of data.source, data.root"),
        (["--optim.lr", "fast"], "optim.lr: expected a number above 0, received 'fast'"),
        (["--optim.epochs", "2.5"], "optim.epochs: expected a whole number of 1 or more, received '2.5'"),
        (["--data.workers", "x"], "data.workers: expected a whole number of 0 or more, or null, received 'x'"),
        (["--augment.flip", "perhaps"], "augment.flip: expected true or false, received 'perhaps'"),
        (
            ["--split.kind", "random"],
            "split.kind: expected 'ratios', 'folds', 'cvind', 'published' or 'file', received",
        ),
        (
            ["--model.channels", "64"],
            "model.channels: expected a list of length 3 to 5, each item a whole number from 1 to 1024, received '64'",
        ),
        (["--optim.lr", "null"], "optim.lr: expected a number above 0, received 'null'"),
        (["--optim.lr"], "--optim.lr has no value: write `--optim.lr VALUE`"),
        (["--optim.lr", "--seed", "1"], "--optim.lr has no value"),
        (["seg"], "unexpected argument 'seg'"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read("seg", *arguments)


def test_all_mistakes_are_told_at_once_with_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("optim: {lr: fast}\nmodle: {encoder: x}\nseed: null\n")
    with pytest.raises(RequestError) as caught:
        read_settings("seg", [*from_yaml(path), Override("data.sise", "1", "command line")])
    told = str(caught.value)
    assert told.startswith("4 settings are wrong: ")
    assert f"optim.lr: expected a number above 0, received 'fast' ({path})" in told
    assert f"unknown setting 'modle.encoder' (did you mean 'model.encoder'?) ({path})" in told
    assert "seed: expected a whole number from 0 to 4294967295, received None" in told
    assert "unknown setting 'data.sise' (did you mean 'data.size'?) (command line)" in told
    assert "\n" not in told


def test_unknown_names_are_told_with_the_other_mistakes() -> None:
    pytest.importorskip("torch")
    wrong = ["--optim.epochs", "two", "--optim.lrr", "3", "--data.source", "mannifest", "--model.encoder", "no_package.Net"]
    with pytest.raises(RequestError) as caught:
        read("seg", *wrong, "--model.decoder", "unett", "--loss.mask_loss", "dice_bce")
    told = str(caught.value)
    assert told.startswith("5 settings are wrong: ")
    assert "data.source: unknown data source 'mannifest' (did you mean 'manifest'?)" in told
    assert "model.encoder: encoder 'no_package.Net': no module named 'no_package'" in told
    assert "model.decoder: unknown decoder 'unett' (did you mean 'unet'?)" in told
    assert "mask_loss" not in told


@pytest.mark.parametrize("wrong", [["--optim.lrr", "3"], ["--data.size", "33"]])
def test_the_import_path_of_a_source_is_no_mistake(wrong: list[str]) -> None:
    pytest.importorskip("torch")
    with pytest.raises(RequestError) as caught:
        read("cls", *wrong, "--data.source", "bts.data.sources.manifest.Manifest")
    assert "data.source" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lr: 1", "invalid YAML"),
        ("- 1\n- 2\n", "expected settings such as .*, received list"),
        (None, "no such settings file: check --config"),
        (b"\xff\xfe\x00", "can't be read as settings"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(text: str | bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RequestError, match=message):
        from_yaml(path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing differs\n")
    assert from_yaml(tmp_path / "a.yaml") == []


@pytest.mark.parametrize("task", SETTINGS)
def test_every_setting_has_its_docstring_as_help(task: str) -> None:
    parser = make_parser(task)  # type: ignore[arg-type]
    helps = {action.dest: action.help for action in parser._actions}
    assert [key for key, _ in leaf_hints(SETTINGS[task]) if not helps.get(key)] == []  # type: ignore[index]


@pytest.mark.parametrize("task", SETTINGS)
def test_the_defaults_make_sense(task: str) -> None:
    assert problems(SETTINGS[task]()) == []  # type: ignore[index]


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("seg", ["--data.size", "100"], "data.size: expected a multiple of 32 from 32 to 1024, received 100"),
        ("seg", ["--optim.lr", "0"], "optim.lr: expected a number above 0, received 0.0"),
        ("seg", ["--optim.lr", ".inf"], "optim.lr: expected a number above 0, received inf"),
        ("seg", ["--split.train", "1.2"], "split.train: expected a number above 0 and below 1, received 1.2"),
        ("seg", ["--augment.crop", "0.95"], "augment.crop: expected a number from 0 to 0.9, received 0.95"),
        (
            "seg",
            ["--split.train", "0.8", "--split.val", "0.2"],
            "split.train, split.val: expected a sum below 1, so that a test part is left, received 0.8 + 0.2 = 1",
        ),
        (
            "seg",
            ["--data.low_percentile", "60", "--data.high_percentile", "40"],
            "data.low_percentile, data.high_percentile: expected low < high, received 60 and 40",
        ),
        (
            "seg",
            ["--split.kind", "cvind", "--split.fold", "6"],
            "split.fold: expected 1 to 5 with split.kind cvind, received 6",
        ),
        (
            "seg",
            ["--split.kind", "folds", "--split.folds", "3"],
            "split.fold: expected 1 to 3 with split.kind folds, received 5",
        ),
        (
            "seg",
            ["--split.kind", "file"],
            "split.file: expected a CSV file with the columns `path, patient, label, part` with split.kind file, received null",
        ),
        (
            "seg",
            ["--split.file", "a.csv"],
            "split.file: used with split.kind file only, received split.kind ratios: add `--split.kind file`",
        ),
        (
            "seg",
            ["--loss.dice_weight", "0", "--loss.bce_weight", "0"],
            "loss.dice_weight, loss.bce_weight: expected one above 0, received 0 and 0",
        ),
        (
            "seg",
            ["--model.channels", "[256, 128]"],
            "model.channels: expected a list of length 3 to 5, each item a whole number from 1 to 1024, received (256, 128)",
        ),
        (
            "seg",
            ["--model.channels", "[256, 128, 64, 32, 0]"],
            "model.channels[4]: expected a whole number from 1 to 1024, received 0",
        ),
        ("seg", ["--model.encoder", " "], "model.encoder: expected a name of letters, digits, _ . and -, received ' '"),
        (
            "cls",
            ["--trainer.monitor", "dice"],
            "trainer.monitor: expected one of auto, loss, balanced_accuracy, accuracy, f1 for this task, received 'dice'",
        ),
        ("seg", ["--trainer.devices", "0"], "trainer.devices: expected a whole number of 1 or more, or -1 for all, received 0"),
        (
            "cls",
            ["--freeze.trainable", "heads"],
            "freeze.trainable: expected all, head, last_block or last:N, such as last:10, received 'heads' "
            "(did you mean 'head'?)",
        ),
        (
            "cls",
            ["--optim.trainable", "last:0"],
            "optim.trainable: expected all, head, last_block or last:N, such as last:10, received 'last:0' "
            "(did you mean 'last:N'?)",
        ),
        ("cls", ["--model.hidden", "[0]"], "model.hidden[0]: expected a whole number from 1 to 8192, received 0"),
        (
            "cls",
            ["--model.head_norm", "true", "--data.batch_size", "1"],
            "data.batch_size, model.head_norm: expected batches of 2 or more with batch norm, received 1",
        ),
        (
            "seg",
            ["--model.normalisation", "unit", "--model.input_mean", "0.4"],
            "model.input_mean, model.input_std: used only with normalisation weights, received normalisation unit: "
            "leave one out",
        ),
        (
            "seg",
            ["--data.clahe_tiles", "20", "--data.size", "64"],
            "data.clahe_tiles: expected 16 or fewer at size 64, received 20",
        ),
        ("seg", ["--data.sharpen_amount", "-1"], "data.sharpen_amount: expected a number from 0 to 10, received -1.0"),
    ],
)
def test_a_value_out_of_range_is_refused(task: str, arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(task, *arguments)
    assert str(caught.value) == message


def test_several_wrong_values_are_reported_at_once() -> None:
    with pytest.raises(RequestError, match=r"3 settings are wrong: data.size: .*; data.batch_size: .*; optim.epochs: "):
        read("seg", "--data.size", "33", "--data.batch_size", "0", "--optim.epochs", "0")


def test_the_scores_to_monitor_are_those_that_training_computes() -> None:
    metrics = pytest.importorskip("bts.models.metrics")
    masks = set(metrics.MaskScores().compute())
    classes = set(metrics.ClassScores(num_classes=3).compute())
    assert set(SETTINGS["seg"].monitors) <= masks
    assert set(SETTINGS["cls"].monitors) <= classes
    assert set(SETTINGS["joint"].monitors) == {"joint", *SETTINGS["seg"].monitors, *SETTINGS["cls"].monitors}


@pytest.mark.parametrize(("task", "best"), [("seg", "dice"), ("cls", "balanced_accuracy"), ("joint", "joint")])
def test_auto_monitors_the_first_score_of_the_task(task: str, best: str) -> None:
    pytest.importorskip("torch")
    from bts.training.job import Job

    settings = SETTINGS[task]()  # type: ignore[index]
    settings.trainer.accelerator = "cpu"
    assert Job.plan(settings).monitor == best
    settings.trainer.monitor = "loss"
    assert Job.plan(settings).monitor == "loss"


@pytest.mark.parametrize(
    ("group", "name", "value", "message"),
    [
        ("augment", "crop", 0.95, "augment.crop: expected a number from 0 to 0.9, received 0.95"),
        ("model", "channels", (256, 128), "model.channels: expected a list of length 3 to 5, .*, received \\(256, 128\\)"),
        ("optim", "lr", "fast", "optim.lr: expected a number above 0, received 'fast'"),
        ("data", "source", "mannifest", r"data.source: unknown data source 'mannifest' \(did you mean 'manifest'\?\): .*"),
        ("model", "encoder", "resnet5", r"model.encoder: unknown encoder 'resnet5' \(did you mean 'resnet50'\?\): use any .*"),
    ],
)
def test_settings_made_in_python_are_checked_before_any_data_are_read(
    group: str, name: str, value: object, message: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from bts.training.fit import fit

    settings = SETTINGS["joint"](runs=str(tmp_path / "runs"))
    settings.data.root = str(tmp_path / "nothing here")  # reading it would be another error
    setattr(getattr(settings, group), name, value)
    with pytest.raises(RequestError, match=f"^{message}$"):
        fit(settings)
    assert not (tmp_path / "runs").exists()


def test_the_channels_and_hidden_widths_of_a_recipe_can_be_typed() -> None:
    settings = read("cls", "--model.in_channels", "3", "--model.hidden", "[512, 128]", "--freeze.trainable", "last:10")
    assert (settings.model.in_channels, tuple(settings.model.hidden)) == (3, (512, 128))
    assert settings.freeze.trainable == "last:10"
