"""Seeds, loss sums, parameter groups and optimisers of the training module."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from bts.models.architecture import Architecture
from bts.models.losses import SegmentationLoss
from bts.models.networks import build_network
from bts.settings import OptimSettings, SegSettings, Settings
from bts.training.module import mix, score_name
from bts.training.progress import quiet_lightning
from bts.training.tasks import Segmentation, task_of

OPTIM = OptimSettings(lr=1e-3, weight_decay=0.1, warmup_epochs=0, epochs=1)


@pytest.fixture
def module() -> Segmentation:
    network = build_network(Architecture(task="seg", encoder="test_resnet", size=32, channels=(8, 8, 8, 8, 8)))
    return Segmentation(network, loss=SegmentationLoss(), optim=OPTIM, monitor="dice", seed=0)


def test_near_seeds_give_far_random_states() -> None:
    seeds = {mix([seed, epoch, rank]) for seed in range(10) for epoch in range(10) for rank in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert mix([1, 2, 3]) != mix([3, 2, 1])


def test_the_mean_loss_is_over_slices_not_batches(module: Segmentation) -> None:
    assert module.mean_loss("train") is None
    for loss, count in ((1.0, 3), (2.0, 1)):
        module._add("train", torch.tensor(loss), {}, count)
    assert module.mean_loss("train") == pytest.approx(1.25)


def test_norms_and_biases_are_not_decayed_and_frozen_weights_not_moved(module: Segmentation) -> None:
    for parameter in module.network.encoder.parameters():
        parameter.requires_grad_(False)
    decayed, others = module.configure_optimizers().param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim <= 1 for parameter in others["params"])
    given = {id(parameter) for parameter in (*decayed["params"], *others["params"])}
    assert given == {id(parameter) for parameter in module.network.parameters() if parameter.requires_grad}


def test_only_the_named_warnings_of_lightning_are_kept_back() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet_lightning():
            warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["something else"]


def test_the_monitored_loss_is_that_of_the_validation() -> None:
    assert (score_name("loss"), score_name("dice")) == ("val_loss", "dice")


def test_the_task_is_told_by_the_settings() -> None:
    assert task_of(SegSettings()) == "seg"
    with pytest.raises(TypeError, match="expected one of"):
        task_of(Settings())


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_optimiser_is_the_one_that_was_asked_for(module: Segmentation, name: str, kind: type) -> None:
    module.optim = replace(OPTIM, optimizer=name)  # type: ignore[arg-type]
    made = module.configure_optimizers()
    assert type(made) is kind
    assert made.param_groups[0]["lr"] == 1e-3
