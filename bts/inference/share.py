"""Which of the inputs are this process's? Every N-th of them, where torchrun or srun started N processes side by side.

Inputs are independent of each other, so the processes need not talk: each counts the same list and takes its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bts.errors import RequestError

T = TypeVar("T")
NAMES = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
"""Variables of torchrun and of srun: which process, of how many, which one on its machine. SLURM's number of tasks is that of
the step, which srun sets; that of the job also stands where a batch script runs a single process."""


@dataclass(frozen=True)
class Share:
    """This process among those that were started together.

    Attributes:
        rank: from 0.
        world: how many processes there are.
        local: this process among those of its machine, from 0.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    def of(self, items: Sequence[T]) -> list[T]:
        """Return this process's items; those of all processes together are each item once."""
        return list(items[self.rank :: self.world])


def read_share(environment: Mapping[str, str] | None = None) -> Share:
    """Return this process's share as the environment says; everything, where nothing is said.

    Raises:
        RequestError: the variables are no numbers, or the rank is not below the number of processes.
    """
    known = os.environ if environment is None else environment
    for rank, world, local in NAMES:
        if rank in known and world in known:
            told = {name: known.get(name, "0") for name in (rank, world, local)}
            if not all(value.isdigit() for value in told.values()) or not int(told[rank]) < int(told[world]):
                said = ", ".join(f"{name}={value}" for name, value in told.items())
                raise RequestError(f"{said}: expected numbers, {rank} from 0 to below {world}: start with torchrun or srun")
            return Share(int(told[rank]), int(told[world]), int(told[local]))
    return Share()


def under_torchrun() -> bool:
    """Return whether torchrun watches this process: it ends all others as soon as one ends with another status than 0."""
    return "TORCHELASTIC_RUN_ID" in os.environ
