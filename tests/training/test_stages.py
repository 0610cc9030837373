"""Is a part of the network frozen first, and only where that makes sense?"""

from __future__ import annotations

from bts.settings import FreezeSettings, OptimSettings
from bts.training.stages import Stage, plan_stages

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
