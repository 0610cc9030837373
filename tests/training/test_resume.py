"""A resumed run gives the same result as an uninterrupted one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_settings import Make

from bts.errors import RequestError
from bts.models.folder import load_network, read_card
from bts.runs import Run
from bts.settings import Settings
from bts.training.checkpoints import load_checkpoint
from bts.training.fit import fit
from bts.training.module import TaskModule
from bts.training.progress import Curves
from bts.training.run_data import check_same_settings, write_settings


class Killed(Exception):
    """Stands for SIGKILL: nothing of ours gets to run after it."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings, int], Run]:
    """Return what trains until so many steps are done, then dies in the middle of an epoch, and gives the run it left."""

    def train(settings: Settings, steps: int) -> Run:
        step = TaskModule.training_step

        def dying(module: TaskModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
            if module.trainer.global_step >= steps:
                raise Killed
            return step(module, batch, index)

        with monkeypatch.context() as patch:
            patch.setattr(TaskModule, "training_step", dying)
            with pytest.raises(Killed):
                fit(settings)
        return Run(max(Path(settings.runs).glob("*/*")))

    return train


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two checkpoints hold the same weights and the same optimiser, to float precision."""
    first, second = load_checkpoint(one), load_checkpoint(other)
    for key, value in first["state_dict"].items():
        torch.testing.assert_close(value, second["state_dict"][key])
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (first, second)]
    for number, state in moments[0].items():
        torch.testing.assert_close(state["exp_avg"], moments[1][number]["exp_avg"])
    return True


@pytest.mark.parametrize(
    ("schedule", "ema_decay"),
    [("cosine", 0.0), ("plateau", 0.0), ("cosine", 0.8)],
)
def test_a_resumed_run_ends_as_an_unbroken_one(
    cls: Make, schedule: str, ema_decay: float, killed_after: Callable[[Settings, int], Run]
) -> None:
    settings = cls()
    settings.optim.ema_decay = ema_decay
    settings.optim.epochs, settings.optim.schedule, settings.optim.plateau_patience = 4, schedule, 0  # type: ignore[assignment]
    settings.model.dropout = 0.5  # type: ignore[attr-defined]
    settings.data.batch_size = 2  # three steps an epoch: three patients with two slices each
    unbroken = fit(settings)
    broken = killed_after(settings, 2 * 3 + 1)
    assert load_checkpoint(broken.checkpoints / "stage2" / "last.ckpt")["epoch"] == 1
    assert fit(settings, resume=broken.path).path == broken.path
    for name in ("last", "best"):
        assert same_weights(unbroken.checkpoints / "stage2" / f"{name}.ckpt", broken.checkpoints / "stage2" / f"{name}.ckpt")
    numbers = [[(row["epoch"], row["train_loss"], row["lr"]) for row in Curves(run.curves).rows] for run in (unbroken, broken)]
    assert numbers[0] == numbers[1]
    assert read_card(unbroken.model).trained_on == read_card(broken.model).trained_on


def test_a_run_killed_in_stage_two_does_not_train_stage_one_again(
    cls: Make, tmp_path: Path, killed_after: Callable[[Settings, int], Run]
) -> None:
    settings = cls()
    settings.optim.epochs = 1
    donor = torch.load(fit(settings).checkpoints / "stage2" / "best.ckpt", weights_only=True)["state_dict"]
    encoder = {key.removeprefix("network.encoder."): value for key, value in donor.items() if ".encoder." in key}
    torch.save(encoder, tmp_path / "weights.pt")
    settings.model.weights, settings.freeze.epochs = str(tmp_path / "weights.pt"), 1  # type: ignore[attr-defined]
    settings.optim.epochs = 3
    unbroken = fit(settings)
    broken = killed_after(settings, 2)
    stage1 = (broken.checkpoints / "stage1" / "last.ckpt").stat().st_mtime_ns
    (tmp_path / "weights.pt").unlink()  # they are in the checkpoint, with their normalisation
    fit(settings, resume=broken.path)
    assert (broken.checkpoints / "stage1" / "last.ckpt").stat().st_mtime_ns == stage1
    assert same_weights(unbroken.checkpoints / "stage2" / "last.ckpt", broken.checkpoints / "stage2" / "last.ckpt")
    assert read_card(broken.model).architecture == read_card(unbroken.model).architecture
    assert [row["stage"] for row in Curves(broken.curves).rows] == ["1", "2", "2", "2"]


def test_a_resumed_run_counts_on_the_epochs_without_a_better_score(
    seg: Make, killed_after: Callable[[Settings, int], Run]
) -> None:
    settings = seg()
    settings.optim.epochs, settings.optim.lr, settings.trainer.patience = 9, 1e-30, 3
    unbroken = fit(settings)
    broken = killed_after(settings, len(Curves(unbroken.curves).rows) - 1)
    fit(settings, resume=broken.path)
    assert len(Curves(broken.curves).rows) == len(Curves(unbroken.curves).rows) < 9


def test_resuming_after_the_last_epoch_writes_the_model_and_trains_no_further(cls: Make) -> None:
    run = fit(cls())
    before = load_network(run.model)[0].state_dict()
    shutil.rmtree(run.model)
    fit(cls(), resume=run.path)
    after = load_network(run.model)[0].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert len(Curves(run.curves).rows) == 2


def test_resuming_after_an_early_stop_trains_no_further(cls: Make) -> None:
    settings = cls()
    settings.optim.epochs, settings.optim.lr, settings.trainer.patience = 9, 1e-30, 1
    run = fit(settings)
    epochs, said = len(Curves(run.curves).rows), read_card(run.model).trained_on
    assert epochs < 9
    shutil.rmtree(run.model)
    fit(settings, resume=run.path)
    assert len(Curves(run.curves).rows) == epochs
    assert read_card(run.model).trained_on == said


def test_a_moved_run_can_be_resumed_for_more_epochs(cls: Make, tmp_path: Path) -> None:
    run = fit(cls())
    moved = run.path.rename(tmp_path / "elsewhere")
    longer = cls()
    longer.optim.epochs = 3
    resumed = fit(longer, resume=moved)
    assert len(Curves(resumed.curves).rows) == 3
    assert "resumed with optim.epochs 3 in place of 2" in resumed.log.read_text()


def test_a_resumed_run_keeps_its_settings(cls: Make) -> None:
    run, other = fit(cls()), cls()
    other.optim.lr, other.data.batch_size, other.trainer.images = 0.5, 2, 0
    with pytest.raises(RequestError) as error:
        fit(other, resume=run.path)
    assert "data.batch_size 4 became 2, optim.lr 0.0003 became 0.5" in str(error.value)
    assert "images" not in str(error.value)
    assert run.model.is_dir()


def test_a_finished_run_is_not_resumed(cls: Make) -> None:
    run = fit(cls())
    run.finish(task="cls", synthetic=True)
    with pytest.raises(RequestError, match="this run is finished"):
        fit(cls(), resume=run.path)


def test_a_run_of_another_task_is_not_resumed(cls: Make, seg: Make) -> None:
    run = fit(cls())
    with pytest.raises(RequestError, match=r"its setting model.dropout is unknown to this task"):
        fit(seg(), resume=run.path)


@pytest.mark.parametrize("text", ["optim: [", "nothing"])
def test_settings_that_cannot_be_read_are_one_line(cls: Make, text: str) -> None:
    run = fit(cls())
    run.settings_file.write_text(text)
    with pytest.raises(RequestError, match=r"settings.*: start a new run"):
        fit(cls(), resume=run.path)


def test_a_folder_that_is_no_run_is_not_resumed(cls: Make, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no run \(settings.yaml is missing\)"):
        fit(cls(), resume=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_checkpoint_is_one_line(cls: Make, damage: str) -> None:
    run = fit(cls())
    path = run.checkpoints / "stage2" / "last.ckpt"
    if damage == "foreign":
        torch.save({"weights": torch.zeros(1)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 500])
    with pytest.raises(RequestError, match="start a new run"):
        fit(cls(), resume=run.path)


def test_a_run_of_an_earlier_version_is_not_resumed(cls: Make, tmp_path: Path) -> None:
    run, settings = Run(tmp_path), cls()
    write_settings(run, settings)
    lines = run.settings_file.read_text().splitlines()
    run.settings_file.write_text("\n".join(line for line in lines if "head_norm" not in line))
    with pytest.raises(
        RequestError, match=r"it has no setting model\.head_norm: resume a run with the program that started it"
    ):
        check_same_settings(run, settings)
