"""Is a part of the network frozen first, and only where that makes sense?"""

from __future__ import annotations

from bts.settings import FreezeSettings, OptimSettings
from bts.training.stages import Stage, departures, plan_stages

OPTIM = OptimSettings(epochs=20, lr=1e-4)


def test_one_stage_trains_all_layers() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=0), OPTIM, pretrained=True)
    assert stages == [Stage(number=2, trainable="all", epochs=20, lr=1e-4)]
    assert "all layers" in line


def test_two_stages_have_rates_and_lengths_of_their_own() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=5, trainable="head", lr=1e-3), OPTIM, pretrained=True)
    assert stages == [Stage(1, "head", 5, 1e-3), Stage(2, "all", 20, 1e-4)]
    assert [stage.name for stage in stages] == ["stage1", "stage2"]
    assert "head for 5 epochs at 0.001" in line


def test_random_weights_skip_the_first_stage_and_the_line_says_why() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=5), OPTIM, pretrained=False)
    assert [stage.number for stage in stages] == [2]
    assert "skipped: the weights are random" in line


def test_the_second_stage_may_train_a_part_too() -> None:
    stages, line = plan_stages(FreezeSettings(epochs=0), OptimSettings(trainable="last:10", lr=5e-6), pretrained=True)
    assert stages == [Stage(2, "last:10", 30, 5e-6)]
    assert line == "one stage: last:10 is trained from the start"


def test_random_weights_take_their_own_rate_and_every_departure_is_named() -> None:
    optim = OptimSettings(trainable="last:10", lr=5e-6, lr_random=1e-3)
    stages, line = plan_stages(FreezeSettings(epochs=3), optim, pretrained=False)
    assert stages == [Stage(2, "all", 30, 1e-3)]
    for told in (
        "stage 1 is skipped",
        "all layers are trained in place of last:10",
        "the learning rate is 0.001 in place of 5e-06",
    ):
        assert told in line
    assert len(departures(FreezeSettings(epochs=3), optim, pretrained=False)) == 3


def test_pretrained_weights_depart_from_nothing() -> None:
    optim = OptimSettings(lr_random=1e-3)
    assert departures(FreezeSettings(epochs=3), optim, pretrained=True) == []
    assert plan_stages(FreezeSettings(), optim, pretrained=True)[0][0].lr == optim.lr
