"""Settings from files and command lines: what is taken, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts.apps.settings_line import Given, from_arguments, from_yaml, known_settings, make_parser, read_settings
from bts.errors import RequestError
from bts.settings import SETTINGS, ClsSettings, SegSettings
from bts.settings_check import MONITORS, RULES, check, leaves


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
        (["--model.channels", "[64, 32]"], "model.channels", (64, 32)),
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
        (["--optim.lr", "fast"], "optim.lr: expected a number, received 'fast'"),
        (["--optim.epochs", "2.5"], "optim.epochs: expected a whole number, received '2.5'"),
        (["--data.workers", "x"], "data.workers: expected a whole number or null, received 'x'"),
        (["--augment.flip", "perhaps"], "augment.flip: expected true or false, received 'perhaps'"),
        (
            ["--split.kind", "random"],
            "split.kind: expected 'ratios' or 'folds' or 'cvind' or 'published' or 'file', received",
        ),
        (["--model.channels", "64"], r"model.channels: expected a list of whole numbers such as \[64, 32\], received '64'"),
        (["--optim.lr", "null"], "optim.lr: expected a number, received 'null'"),
        (["--optim.lr"], "--optim.lr has no value: write `--optim.lr VALUE`"),
        (["--optim.lr", "--seed", "1"], "--optim.lr has no value"),
        (["seg"], "'seg' stands where a setting is expected"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read("seg", *arguments)


def test_all_mistakes_are_told_at_once_with_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("optim: {lr: fast}\nmodle: {encoder: x}\nseed: null\n")
    with pytest.raises(RequestError) as caught:
        read_settings("seg", [*from_yaml(path), Given("data.sise", "1", "command line")])
    told = str(caught.value)
    assert told.startswith("4 settings are wrong: ")
    assert f"optim.lr: expected a number, received 'fast' ({path})" in told
    assert f"unknown setting 'modle.encoder' (did you mean 'model.encoder'?) ({path})" in told
    assert "seed: expected a whole number, received None" in told
    assert "unknown setting 'data.sise' (did you mean 'data.size'?) (command line)" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lr: 1", "no valid YAML"),
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
    assert [key for key in known_settings(task) if not helps.get(key)] == []  # type: ignore[arg-type]


@pytest.mark.parametrize("task", SETTINGS)
def test_the_defaults_make_sense(task: str) -> None:
    assert check(SETTINGS[task]()) == []  # type: ignore[index]


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("seg", ["--data.size", "100"], "data.size: expected a multiple of 32 from 32 to 2048, such as 224, received 100"),
        ("seg", ["--optim.lr", "0"], "optim.lr: expected a number above 0, received 0.0"),
        ("seg", ["--optim.lr", ".inf"], "optim.lr: expected a number above 0, received inf"),
        ("seg", ["--split.train", "1.2"], "split.train: expected a share between 0 and 1, such as 0.15, received 1.2"),
        (
            "seg",
            ["--split.train", "0.8", "--split.val", "0.2"],
            r"sum below 1, so that a test part is left, received 0.8 \+ 0.2 = 1",
        ),
        (
            "seg",
            ["--data.low_percentile", "60", "--data.high_percentile", "40"],
            "expected 0 <= low < high <= 100, received 60 and 40",
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
        ("seg", ["--split.kind", "file"], "split.file: expected a CSV"),
        ("seg", ["--split.file", "a.csv"], "split.file: is read only with split.kind file, received split.kind ratios"),
        ("seg", ["--loss.dice", "0", "--loss.bce", "0"], "loss.dice, loss.bce: expected one above 0"),
        ("seg", ["--model.channels", "[]"], r"model.channels: expected whole numbers above 0 .*, received \[\]"),
        ("seg", ["--model.encoder", " "], "model.encoder: expected a name, received nothing"),
        (
            "cls",
            ["--trainer.monitor", "dice"],
            "trainer.monitor: unknown score 'dice': choose one of auto, loss, balanced_accuracy",
        ),
        ("seg", ["--trainer.monitor", "dise"], r"unknown score 'dise' \(did you mean 'dice'\?\)"),
        ("seg", ["--trainer.devices", "0"], "trainer.devices: expected 1 or more, or -1 for all, received 0"),
        ("cls", ["--freeze.trainable", "heads"], r"freeze.trainable: unknown part 'heads' \(did you mean 'head'\?\)"),
        ("cls", ["--optim.trainable", "last:0"], "optim.trainable: unknown part 'last:0'.*: choose one of .* such as last:10"),
        ("cls", ["--model.hidden", "[0]"], r"model.hidden: expected whole numbers above 0 .*, received \[0\]"),
        (
            "cls",
            ["--model.head_norm", "true", "--data.batch_size", "1"],
            "data.batch_size: expected 2 or more with model.head_norm",
        ),
        (
            "seg",
            ["--model.normalisation", "unit", "--model.input_mean", "0.4"],
            "model.input_mean, model.input_std: are for model.normalisation weights, received model.normalisation unit",
        ),
        ("seg", ["--data.clahe_tiles", "20", "--data.size", "64"], "data.clahe_tiles: expected 16 or fewer at data.size 64"),
        ("seg", ["--data.sharpen_amount", "-1"], "data.sharpen_amount: expected 0 to 10, such as 0.5, received -1"),
        ("cls", ["--loss.label_smoothing", "1"], "loss.label_smoothing: expected a share from 0 to below 1, received 1.0"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(task: str, arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read(task, *arguments)


def test_several_senseless_values_are_told_at_once() -> None:
    with pytest.raises(RequestError, match=r"3 settings are wrong: data.size: .*; data.batch_size: .*; optim.epochs: "):
        read("seg", "--data.size", "33", "--data.batch_size", "0", "--optim.epochs", "0")


def test_every_rule_is_about_a_setting_that_there_is() -> None:
    known = {key for task in SETTINGS for key in known_settings(task)}
    assert set(RULES) <= known


def test_the_scores_to_monitor_are_those_that_training_computes() -> None:
    tasks = pytest.importorskip("bts.training.tasks")
    for task, kit in tasks.KITS.items():
        assert set(MONITORS[SETTINGS[task].__name__]) == {"auto", "loss", *kit.scores}


def test_the_channels_and_hidden_widths_of_a_recipe_can_be_typed() -> None:
    settings = read("cls", "--model.in_channels", "3", "--model.hidden", "[512, 128]", "--freeze.trainable", "last:10")
    assert (settings.model.in_channels, tuple(settings.model.hidden)) == (3, (512, 128))
    assert settings.freeze.trainable == "last:10"
