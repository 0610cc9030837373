"""A finished run: model folder, curves, settings and log."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_settings import Make

from bts.data.split import Split
from bts.errors import RequestError
from bts.models.folder import load_network, read_card
from bts.models.losses import ClassificationLoss
from bts.training import stage_runner
from bts.training.checkpoints import load_checkpoint
from bts.training.fit import fit


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_segmenter_is_trained_from_settings_to_a_model_folder(seg: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bts")
    settings = seg()
    run = fit(settings)
    network, card = load_network(run.model, expect="seg")
    best = load_checkpoint(run.checkpoints / "stage2" / "best.ckpt")["state_dict"]
    assert all(torch.equal(value, best["network." + key]) for key, value in network.state_dict().items())
    assert card.synthetic
    assert "phantom" in card.trained_on
    assert card.data_fingerprint == Split.read(run.split_file).fingerprint
    assert len(card.training_patients) == len({row.patient for row in Split.read(run.split_file).part("train")})
    assert (run.path / "patients.key").is_file()
    assert card.patients_key
    assert yaml.safe_load(run.settings_file.read_text())["data"]["size"] == 32
    assert run.marker() is None  # evaluation says when a run is finished
    assert not run.model_stage1.exists()
    lines = run.log.read_text().splitlines()
    assert [word in line for word, line in zip(("device: cpu", "precision: 32", "memory layout"), lines, strict=False)] == [
        True
    ] * 3
    assert any("of 3 patients" in line for line in lines)


def test_each_epoch_has_a_row_of_losses_and_scores(seg: Make) -> None:
    run = fit(seg())
    found = rows(run.curves)
    assert [row["epoch"] for row in found] == ["1", "2"]
    for name in ("train_loss", "train_loss_dice", "train_loss_bce", "val_loss", "dice", "iou", "lr", "slices_per_s"):
        assert all(float(row[name]) >= 0 for row in found)


def test_the_classifiers_loss_falls_on_slices_that_it_sees_again(cls: Make) -> None:
    settings = cls()
    settings.optim.epochs, settings.optim.lr, settings.augment.share = 12, 3e-3, 0.0
    found = rows(fit(settings).curves)
    assert float(found[-1]["train_loss"]) < 0.7 * float(found[0]["train_loss"])


def test_a_classifier_learns_in_two_stages_and_keeps_the_best_of_the_first(cls: Make, tmp_path: Path) -> None:
    settings = cls()
    first = fit(settings)
    encoder = {
        key.removeprefix("encoder."): value
        for key, value in load_file(first.model / "model.safetensors").items()
        if key.startswith("encoder.")
    }
    save_file(encoder, tmp_path / "weights.safetensors")
    settings.model.weights = str(tmp_path / "weights.safetensors")  # type: ignore[attr-defined]
    settings.freeze.epochs, settings.freeze.trainable, settings.loss.class_weights = 1, "head", "balanced"  # type: ignore[attr-defined]
    run = fit(settings)
    assert [row["stage"] for row in rows(run.curves)] == ["1", "2", "2"]
    frozen, _ = load_network(run.model_stage1, expect="cls")
    state = frozen.state_dict()
    assert all(torch.equal(state["encoder." + key], value) for key, value in encoder.items())  # only the head has learned
    assert read_card(run.model_stage1).name.endswith("/stage1")
    second = load_network(run.model)[0].state_dict()
    assert not all(torch.equal(second["encoder." + key], value) for key, value in encoder.items() if "weight" in key)


def test_stage_one_is_skipped_with_random_weights_and_the_log_says_why(cls: Make) -> None:
    settings = cls()
    settings.freeze.epochs, settings.optim.epochs = 3, 1
    run = fit(settings)
    assert [row["stage"] for row in rows(run.curves)] == ["2"]
    assert "stage 1 is skipped: the weights are random" in run.log.read_text()


def test_training_twice_gives_the_same_weights_on_a_cpu(cls: Make) -> None:
    first, second = (load_network(fit(cls()).model)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_training_stops_when_the_score_does_not_become_better(seg: Make) -> None:
    settings = seg()
    settings.optim.epochs, settings.optim.lr, settings.trainer.patience = 9, 1e-30, 2
    settings.trainer.monitor = "dice"
    run = fit(settings)
    assert len(rows(run.curves)) <= 4
    assert "no better dice for 2 epochs" in run.log.read_text()


def test_training_checkpoints_hold_nothing_but_plain_types_and_tensors(cls: Make) -> None:
    run = fit(cls())
    for name in ("best", "last"):
        path = run.checkpoints / "stage2" / f"{name}.ckpt"
        assert torch.load(path, weights_only=True)["epoch"] in (0, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("trainer.accelerator=gpu", "no such device"),
        ("trainer.monitor=dise", "did you mean 'dice'?"),
        ("data.root=nowhere", "nowhere"),
        ("data.source=figshore", "did you mean 'figshare'?"),
        ("model.encoder=resnet5", "resnet5"),
        ("data.size=33", "33"),
        ("trainer.precision=16-mixed", "float16"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_no_run(
    seg: Make, change: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings = seg()
    name, value = change.split("=")
    part, field = name.split(".")
    setattr(getattr(settings, part), field, int(value) if value.isdigit() else value)
    with pytest.raises(RequestError) as error:
        fit(settings)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(Path(settings.runs).glob("seg/*"))


def test_a_training_that_diverges_in_its_first_epoch_leaves_nothing_and_says_what_to_try(cls: Make) -> None:
    settings = cls()
    settings.optim.lr, settings.optim.gradient_clip_val, settings.optim.epochs = 1e30, 0.0, 5
    with pytest.raises(RequestError) as error:
        fit(settings)
    text = str(error.value)
    assert "training diverged: " in text
    assert text.endswith("lower the learning rate (--optim.lr 1e+29), clip the gradient (--optim.gradient_clip_val 1)")
    assert "\n" not in text
    assert not list(Path(settings.runs).glob("cls/*"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_training_that_diverges_later_stops_at_that_step_and_keeps_the_epoch_before(
    value: float, cls: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = cls()
    settings.data.batch_size, settings.optim.epochs = 2, 5  # three steps an epoch
    steps = []

    def spoilt(self: ClassificationLoss, logits: torch.Tensor, labels: torch.Tensor) -> Any:
        loss, parts = whole(self, logits, labels)
        steps.append(logits.requires_grad)
        return (loss * value if sum(steps) == 5 else loss), parts

    whole = ClassificationLoss.forward
    monkeypatch.setattr(ClassificationLoss, "forward", spoilt)
    with pytest.raises(
        RequestError, match=rf"the training loss is {value} in step 2 of epoch 2; the best epoch before is kept"
    ):
        fit(settings)
    assert sum(steps) == 5
    (run,) = Path(settings.runs).glob("cls/*")
    assert load_checkpoint(run / "checkpoints" / "stage2" / "last.ckpt")["epoch"] == 0
    network, _ = load_network(run / "model")
    assert all(torch.isfinite(weights).all() for weights in network.state_dict().values())
    assert not (run / "finished.json").exists()


def test_training_in_bf16_leaves_weights_in_32_bits(cls: Make) -> None:
    settings = cls()
    settings.trainer.precision = "bf16-mixed"  # emulated where the processor has none: slow, and right
    network, _ = load_network(fit(settings).model)
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(("precision", "changed"), [("bf16-mixed", True), ("32-true", False)])
def test_strided_depthwise_convolutions_are_changed_in_bf16_alone(
    precision: str, changed: bool, cls: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.nn.Module] = []
    monkeypatch.setattr(stage_runner, "to_float32", asked.append)
    settings = cls()
    settings.trainer.precision, settings.trainer.limit_batches, settings.optim.epochs = precision, 1, 1
    fit(settings)
    assert bool(asked) is changed


def test_a_run_cut_short_says_so_in_its_model(cls: Make) -> None:
    settings = cls()
    settings.trainer.limit_batches, settings.optim.epochs = 1, 1
    assert "cut short" in read_card(fit(settings).model).trained_on


def test_the_average_of_the_weights_is_what_is_kept(cls: Make) -> None:
    settings = cls()
    settings.data.batch_size = 2  # three steps an epoch
    settings.optim.epochs, settings.optim.schedule, settings.optim.warmup_epochs = 1, "constant", 0
    settings.trainer.images = 0
    after = {}
    for steps in (1, 2, 3):
        settings.trainer.limit_batches = steps
        after[steps] = dict(load_network(fit(settings).model)[0].named_parameters())
    settings.optim.ema_decay = 0.75
    averaged = dict(load_network(fit(settings).model)[0].named_parameters())
    assert all(
        torch.allclose(
            averaged[name], 0.75 * (0.75 * after[1][name] + 0.25 * after[2][name]) + 0.25 * after[3][name], atol=1e-6
        )
        for name in averaged
    )
    assert not all(torch.allclose(averaged[name], after[3][name], atol=1e-6) for name in averaged)


def test_a_class_name_that_no_model_folder_can_hold_is_refused_before_training(
    seg: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bts.training import fit as module

    monkeypatch.setattr(module, "build_network", lambda *_, **__: pytest.fail("the training went on"))
    prepare = module.prepare

    def spoilt(*args: Any, **kwargs: Any) -> Any:
        training_data = prepare(*args, **kwargs)
        training_data.source.classes = ("$__import__('os')",)
        return training_data

    monkeypatch.setattr(module, "prepare", spoilt)
    with pytest.raises(RequestError, match=r"class .* expected a name of 1 to 64 letters"):
        fit(seg())
