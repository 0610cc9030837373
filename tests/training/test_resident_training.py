"""Is a training whose slices lie on the device the training it would be with a loader?"""

from __future__ import annotations

import pytest
import torch
from small_settings import Make
from test_prepare import arrays

from bts.errors import RequestError
from bts.training.checkpoints import load_checkpoint
from bts.training.curves import Curves
from bts.training.datamodule import choose_resident
from bts.training.fit import fit

TIMES = ("slices_per_s", "waiting_share", "epoch_s")


@pytest.mark.parametrize("task", ["seg", "joint"])
def test_without_variation_losses_scores_and_weights_are_those_of_a_loader(task: str, request: pytest.FixtureRequest) -> None:
    make: Make = request.getfixturevalue(task)
    rows, states = [], []
    for resident in ("on", "off"):
        settings = make()
        settings.data.resident, settings.augment.share = resident, 0.0  # type: ignore[assignment]
        run = fit(settings)
        rows.append([{key: value for key, value in row.items() if key not in TIMES} for row in Curves(run.curves).rows])
        states.append(load_checkpoint(run.checkpoints / "stage2" / "last.ckpt")["state_dict"])
        where = {"on": "on the device", "off": "from a loader"}[resident]
        assert f"slices: {where} (asked for)" in run.log.read_text()
    assert rows[0] == rows[1]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_variation_on_the_device_changes_the_course_and_is_the_same_again(cls: Make) -> None:
    losses = []
    for share in (0.0, 1.0, 1.0):
        settings = cls()
        settings.data.resident, settings.augment.share = "on", share
        losses.append([row["train_loss"] for row in Curves(fit(settings).curves).rows])
    assert losses[0] != losses[1] == losses[2]


def test_a_resumed_run_does_not_change_where_its_slices_are_varied(cls: Make) -> None:
    run, other = fit(cls()), cls()
    other.data.resident = "on"
    with pytest.raises(RequestError, match=r"data\.resident auto became on"):
        fit(other, resume=run.path)


@pytest.mark.parametrize(("free", "chosen"), [(1601, True), (1600, False)])
def test_auto_takes_the_gpu_where_the_slices_are_less_than_a_fifth_of_its_free_memory(
    free: int, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free, 10 * free))
    parts = (arrays(6), arrays(4))  # pictures and masks of 4 x 4: 320 bytes
    found, why = choose_resident("auto", device="gpu", parts=parts)
    assert found is chosen
    assert "20% at most" in why


def test_auto_leaves_a_cpu_its_loader_and_a_wish_is_obeyed() -> None:
    assert choose_resident("auto", device="cpu", parts=(arrays(4),))[0] is False
    assert choose_resident("auto", device="mps", parts=(arrays(4),)) == (False, "not tried there")
    assert choose_resident("on", device="cpu", parts=(arrays(4),)) == (True, "asked for")
    assert choose_resident("off", device="gpu", parts=(arrays(4),)) == (False, "asked for")
