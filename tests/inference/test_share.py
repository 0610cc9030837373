"""Does every process take its own inputs, all of them together each once?"""

from __future__ import annotations

import pytest

from bts.errors import RequestError
from bts.inference.lanes import Share, read_share


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_each_input_is_taken_by_one_process(world: int) -> None:
    items = list(range(20))
    taken = [item for rank in range(world) for item in Share(rank, world).of(items)]
    assert sorted(taken) == items


def test_without_variables_everything_is_ours() -> None:
    assert read_share({}) == Share(0, 1, 0)


def test_torchrun_tells_its_processes() -> None:
    assert read_share({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Share(5, 8, 1)


def test_srun_tells_its_tasks() -> None:
    assert read_share({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}) == Share(2, 4, 0)


def test_a_batch_script_of_slurm_without_srun_does_everything() -> None:
    assert read_share({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == Share()


@pytest.mark.parametrize("told", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "first", "WORLD_SIZE": "2"}])
def test_a_rank_that_can_t_be_is_refused(told: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="expected numbers, RANK from 0 to below WORLD_SIZE"):
        read_share(told)
