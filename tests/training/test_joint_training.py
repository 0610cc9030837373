"""Training of the joint network, from settings to a prediction with mask and class."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from small_settings import Make
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bts.data.arrays import Arrays
from bts.data.phantom import write_phantom
from bts.errors import RequestError
from bts.inference.predictor import Predictor
from bts.models.folder import read_card
from bts.runs import Run
from bts.training.checkpoints import load_checkpoint
from bts.training.fit import fit
from bts.training.prepare import prepare


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_from_settings_to_mask_class_and_map_of_one_network(joint: Make) -> None:
    from bts.experiments.finish import finish_run

    settings = joint()
    settings.data.size = 64
    # after one step from random weights no place may speak for the class, and the scale of the maps stays open
    settings.optim.epochs, settings.optim.lr, settings.optim.warmup_epochs = 6, 3e-3, 0
    run = fit(settings)
    found = finish_run(run, device="cpu")
    assert {"segmentation", "classification", "together", "explanation"} <= set(found["scores"])
    assert "Dice, mean over slices" in found["table"]
    assert "accuracy per slice" in found["table"]

    card = read_card(run.model, expect="joint")
    assert {"segmentation.slice.dice", "classification.slice.overall.accuracy"} <= set(card.scores)
    assert card.cam_scale is not None
    assert card.refer_below is not None

    predictor = Predictor.load(joint=run.path, device="cpu", runtime="torch")
    assert len(predictor.runtimes) == 1
    prediction = predictor.predict(next(iter(sorted(Path(settings.data.root).glob("[0-9]*.mat")))))
    assert prediction.mask is not None
    assert prediction.cam is not None
    assert prediction.mask.shape == prediction.cam.shape == prediction.slice.image.shape
    assert prediction.label in card.classes


def test_each_epoch_has_both_losses_both_scores_and_their_mean(joint: Make) -> None:
    run = fit(joint())
    for row in rows(run.curves):
        parts = ("train_loss_dice", "train_loss_bce", "train_loss_cross_entropy", "val_loss", "iou", "accuracy", "f1")
        assert all(float(row[name]) >= 0 for name in parts)
        assert float(row["train_loss"]) == pytest.approx(sum(float(row[name]) for name in parts[:3]), rel=1e-4)
        assert float(row["joint"]) == pytest.approx((float(row["dice"]) + float(row["balanced_accuracy"])) / 2, abs=1e-5)
    shown = EventAccumulator(str(run.path), size_guidance={"images": 0})
    shown.Reload()
    assert {"validation", "confusion"} <= {tag.split("/")[0] for tag in shown.Tags()["images"]}
    assert "score/joint" in shown.Tags()["scalars"]


def test_the_best_epoch_is_the_one_with_the_highest_mean_of_dice_and_balanced_accuracy(joint: Make) -> None:
    settings = joint()
    settings.optim.epochs = 3
    run = fit(settings)
    scores = [float(row["joint"]) for row in rows(run.curves)]
    assert load_checkpoint(run.checkpoints / "stage2" / "best.ckpt")["epoch"] == int(np.argmax(scores))


def test_a_run_of_one_task_is_not_resumed_for_both(seg: Make, cls: Make, joint: Make) -> None:
    for make, told in (
        (seg, "it has no setting loss.class_loss"),
        (cls, "its setting model.hidden is unknown to this task"),
    ):
        settings = make()
        settings.optim.epochs = 1
        with pytest.raises(RequestError, match=rf"{told}.*: resume a run with the program that started it"):
            fit(joint(), resume=fit(settings).path)


def without(
    monkeypatch: pytest.MonkeyPatch, *, masks: frozenset[int] = frozenset(), labels: frozenset[int] = frozenset()
) -> None:
    """Let training find the slices at these positions of each part without mask or label."""
    from bts.training import prepare as module

    whole = module.load_arrays

    def partly(*given: object, **named: object) -> Arrays:
        arrays = whole(*given, **named)  # type: ignore[arg-type]
        for i in range(len(arrays)):
            if i in masks:
                arrays.has_mask[i], arrays.masks[i] = False, 0
            if i in labels:
                arrays.labels[i] = -1
        return arrays

    monkeypatch.setattr(module, "load_arrays", partly)


def test_slices_with_either_truth_are_kept_and_trained_on(joint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, masks=frozenset({0, 2}), labels=frozenset({1, 2}))
    settings = joint()
    settings.loss.class_weights = "balanced"  # type: ignore[attr-defined]
    training_data = prepare(settings, "joint", Run(tmp_path))
    assert len(training_data.split.part("train")) - len(training_data.train) == 1  # number 2 has neither
    assert (int((~training_data.train.has_mask).sum()), int((training_data.train.labels < 0).sum())) == (1, 1)
    run = fit(settings)
    assert all(0 <= float(row["joint"]) <= 1 for row in rows(run.curves))
    weights = load_checkpoint(run.checkpoints / "stage2" / "best.ckpt")["state_dict"]["loss.class_loss.class_weights"]
    counts = np.bincount(training_data.train.labels[training_data.train.labels >= 0], minlength=3)
    assert weights.tolist() == pytest.approx((counts.sum() / (3 * counts)).tolist())


@pytest.mark.parametrize("missing", ["mask", "label"])
def test_a_part_without_one_of_the_two_truths_is_one_line(
    missing: str, joint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, **{f"{missing}s": frozenset(range(99))})
    with pytest.raises(
        RequestError, match=rf"none of the \d+ slices in part 'train' has a {missing}: the joint task needs them"
    ):
        prepare(joint(), "joint", Run(tmp_path))


def test_counterfactuals_and_appearance_take_part_in_a_training_that_is_the_same_again(joint: Make, tmp_path: Path) -> None:
    write_phantom(tmp_path / "both", patients=9, slices_per_patient=(2, 2), healthy=6, seed=3, side=128)
    runs, losses = [], []
    for remove, preset in ((0.0, "none"), (0.5, "domain"), (0.5, "domain")):
        settings = joint()
        settings.data.root, settings.split.leaks = str(tmp_path / "both"), "allow"
        settings.augment.share, settings.augment.preset = 1.0, preset  # type: ignore[assignment]
        settings.augment.remove_tumour = settings.augment.paste_tumour = remove
        runs.append(fit(settings))
        losses.append([float(row["train_loss"]) for row in rows(runs[-1].curves)])
    assert losses[0] != losses[1] == losses[2]
    assert "counterfactuals: " not in runs[0].log.read_text()
    assert "counterfactuals: remove_tumour 50%, control_tumour " in runs[1].log.read_text()


def test_counterfactuals_without_healthy_slices_are_refused_in_one_line(joint: Make) -> None:
    settings = joint()
    settings.augment.remove_tumour = 0.3
    with pytest.raises(RequestError, match=r"augment\.remove_tumour, augment\.paste_tumour: expected a class 'no_tumour'"):
        fit(settings)
