"""Stages of a training, and the learning rate of each step."""

from __future__ import annotations

import math

import pytest

from bts.settings import FreezeSettings, OptimSettings
from bts.training.schedule import Plateau, Schedule, Stage, deviations, plan_stages

OPTIM = OptimSettings(epochs=20, lr=1e-4)


def test_the_warm_up_rises_linearly_from_a_tenth() -> None:
    schedule = Schedule("constant", 1, 100, warmup_epochs=9)
    assert [schedule.factor(step) for step in range(10)] == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_cosine_falls_from_one_over_a_half_to_zero() -> None:
    schedule = Schedule("cosine", 10, 3, warmup_epochs=1)
    assert schedule.factor(10) == 1
    assert schedule.factor(15) == pytest.approx(0.5 + math.sqrt(2) / 4)
    assert schedule.factor(20) == pytest.approx(0.5)
    assert schedule.factor(30) == pytest.approx(0)
    assert schedule.factor(40) == pytest.approx(0)


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_the_other_kinds_stay_at_one_after_the_warm_up(kind: str) -> None:
    schedule = Schedule(kind, 1, 5, warmup_epochs=2)  # type: ignore[arg-type]
    assert {schedule.factor(step) for step in range(2, 9)} == {1.0}


@pytest.mark.parametrize("warmup", [0, 5, 7])
def test_a_warm_up_of_any_length_gives_a_rate_at_every_step(warmup: int) -> None:
    schedule = Schedule("cosine", 1, 5, warmup_epochs=warmup)
    assert all(0 <= schedule.factor(step) <= 1 for step in range(10))


def test_the_plateau_falls_after_more_epochs_than_its_patience() -> None:
    plateau = Plateau(0.5, 1, higher_is_better=True)
    scales = []
    for score in (0.3, 0.4, 0.4, 0.39, 0.4, 0.4, 0.5):
        plateau.update(score)
        scales.append(plateau.scale)
    # waited:      0    0    1    2->fall  1    2->fall  0
    assert scales == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_the_plateau_of_a_loss_takes_lower_for_better() -> None:
    plateau = Plateau(0.1, 0, higher_is_better=False)
    for loss in (3.0, 2.0, 1.0):
        plateau.update(loss)
    assert plateau.scale == 1
    plateau.update(1.5)
    assert plateau.scale == 0.1


def test_the_plateau_goes_on_from_its_state() -> None:
    first, second = (Plateau(0.5, 2, higher_is_better=True) for _ in range(2))
    for score in (0.3, 0.2, 0.1):
        first.update(score)
    second.restore(first.state())
    for score in (0.1, 0.1):
        first.update(score)
        second.update(score)
    assert first.state() == second.state()
    assert first.scale == 0.5


def test_a_step_schedule_falls_every_so_many_steps_after_the_warm_up() -> None:
    schedule = Schedule("step", 5, 20, warmup_epochs=0.4, step_epochs=1, step_factor=0.1)
    assert [round(schedule.factor(step), 4) for step in (0, 2, 4, 5, 9, 10)] == [0.1, 1, 1, 0.1, 0.1, 0.01]


def test_one_stage_trains_all_layers() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=0), OPTIM, pretrained=True)
    assert stages == [Stage(number=2, trainable="all", epochs=20, lr=1e-4, is_only=True)]
    assert "all layers" in line


def test_two_stages_have_rates_and_lengths_of_their_own() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=5, trainable="head", lr=1e-3), OPTIM, pretrained=True)
    assert stages == [Stage(1, "head", 5, 1e-3), Stage(2, "all", 20, 1e-4)]
    assert [stage.name for stage in stages] == ["stage1", "stage2"]
    assert [stage.title for stage in stages] == ["stage 1", "stage 2"]
    assert "head for 5 epochs at 0.001" in line


def test_random_weights_skip_the_first_stage_and_the_line_says_why() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=5), OPTIM, pretrained=False)
    assert [stage.number for stage in stages] == [2]
    assert "skipped: the weights are random" in line


def test_the_second_stage_may_train_a_part_too() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=0), OptimSettings(trainable="last:10", lr=5e-6), pretrained=True)
    assert stages == [Stage(2, "last:10", 30, 5e-6, is_only=True)]
    assert line == "one stage: last:10 is trained from the start"


def test_random_weights_take_their_own_rate_and_every_departure_is_named() -> None:
    optim = OptimSettings(trainable="last:10", lr=5e-6, lr_random=1e-3)
    stages, line = plan_stages(FreezeSettings(epochs=3), optim, pretrained=False)
    assert stages == [Stage(2, "all", 30, 1e-3, is_only=True)]
    for told in (
        "stage 1 is skipped",
        "all layers are trained in place of last:10",
        "the learning rate is 0.001 in place of 5e-06",
    ):
        assert told in line
    assert len(deviations(FreezeSettings(epochs=3), optim, pretrained=False)) == 3


def test_pretrained_weights_depart_from_nothing() -> None:
    optim = OptimSettings(lr_random=1e-3)
    assert deviations(FreezeSettings(epochs=3), optim, pretrained=True) == []
    assert plan_stages(FreezeSettings(), optim, pretrained=True)[0][0].lr == optim.lr
