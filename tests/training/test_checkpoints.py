"""Best and last checkpoint, and early stopping."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bts.errors import RequestError
from bts.training.checkpoints import Checkpoints, best_so_far, load_checkpoint
from bts.training.divergence import DivergenceError
from bts.training.module import TaskModule


class Scored(TaskModule):
    """A module that has nothing but scores."""

    def __init__(self, monitor: str = "dice") -> None:
        torch.nn.Module.__init__(self)
        self.scores, self.monitor, self.network = {}, monitor, torch.nn.Linear(2, 1)  # type: ignore[assignment]


class Trainer(SimpleNamespace):
    """Writes what Lightning would: the epoch and the callback's state."""

    def save_checkpoint(self, path: Path) -> None:
        state = {"epoch": self.current_epoch, "state_dict": {}, "callbacks": {"checkpoints": self.keeper.state_dict()}}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)


Scored.__abstractmethods__ = frozenset()


def train(keeper: Checkpoints, scores: list[float], name: str) -> int:
    """Let epochs with these scores go by; return how many it took until the keeper stopped."""
    strategy = SimpleNamespace(barrier=lambda name: None)
    trainer: Any = Trainer(keeper=keeper, current_epoch=0, should_stop=False, is_global_zero=True, strategy=strategy)
    module = Scored("loss" if name == "val_loss" else name)
    for epoch, score in enumerate(scores):
        trainer.current_epoch, module.scores = epoch, {name: score}
        keeper.on_train_epoch_end(trainer, module)
        if trainer.should_stop:
            return epoch + 1
    return len(scores)


def test_the_best_epoch_is_kept_and_the_last_one_too(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, monitor="dice", patience=0)
    train(keeper, [0.1, 0.5, 0.3, 0.5], "dice")
    assert load_checkpoint(keeper.best)["epoch"] == 1  # the first of two equal ones
    assert load_checkpoint(keeper.last)["epoch"] == 3
    best = best_so_far(tmp_path)
    assert best is not None
    assert (best.score, best.epoch, best.epochs) == (0.5, 2, 4)


def test_a_disk_without_hard_links_keeps_the_best_by_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    keeper = Checkpoints(tmp_path, monitor="dice", patience=0)
    train(keeper, [0.5, 0.1], "dice")
    assert [load_checkpoint(path)["epoch"] for path in (keeper.best, keeper.last)] == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_lower_loss_is_better(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, monitor="loss", patience=0)
    train(keeper, [3.0, 1.0, 2.0], "val_loss")
    assert load_checkpoint(keeper.best)["epoch"] == 1


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (3, 7), (0, 7)])
def test_patience_counts_epochs_without_a_better_score(tmp_path: Path, patience: int, epochs: int) -> None:
    keeper = Checkpoints(tmp_path, monitor="dice", patience=patience)
    assert train(keeper, [0.1, 0.4, 0.3, 0.2, 0.5, 0.5, 0.5], "dice") == epochs


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["dice", "val_loss"])
def test_an_epoch_whose_score_is_not_finite_is_not_saved(name: str, value: float, tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, monitor="loss" if name == "val_loss" else name, patience=5)
    with pytest.raises(DivergenceError, match=rf"^{name} is {value} in epoch 2$"):
        train(keeper, [0.2, value, 0.9], name)
    assert keeper.best_score == 0.2
    assert [load_checkpoint(path)["epoch"] for path in (keeper.best, keeper.last)] == [0, 0]


def test_an_epoch_that_ends_with_weights_that_are_not_finite_is_not_saved(tmp_path: Path) -> None:
    keeper, module = Checkpoints(tmp_path, monitor="dice", patience=5), Scored()
    module.scores = {"dice": 0.5, "train_loss": 1.0, "val_loss": 1.0}
    with torch.no_grad():
        module.network.bias[0] = float("inf")  # type: ignore[index]
    trainer: Any = Trainer(current_epoch=3)
    with pytest.raises(DivergenceError, match=r"^the weights bias are not finite after epoch 4$"):
        keeper.on_train_epoch_end(trainer, module)
    assert not list(tmp_path.iterdir())


def test_nothing_is_best_before_an_epoch_has_ended(tmp_path: Path) -> None:
    assert best_so_far(tmp_path) is None


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "callback": Path}, tmp_path / "last.ckpt")
    with pytest.raises(RequestError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_a_missing_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="can't be read"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_a_lead_below_min_delta_is_kept_but_not_waited_for(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, monitor="loss", patience=2, min_delta=0.1)
    assert train(keeper, [1.0, 0.95, 0.92, 0.5], "val_loss") == 3
    assert (keeper.best_score, keeper.best_epoch) == (0.92, 2)
    again = Checkpoints(tmp_path, monitor="loss", patience=2, min_delta=0.1)
    again.load_state_dict(keeper.state_dict())
    assert again.waited_for == 1.0


def test_a_checkpoint_of_before_min_delta_can_be_gone_on_from(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, monitor="dice", patience=2)
    keeper.load_state_dict({"best_score": 0.5, "best_epoch": 3, "waited": 1, "epochs": 5})
    assert train(keeper, [0.6], "dice") == 1
    assert keeper.best_score == 0.6
