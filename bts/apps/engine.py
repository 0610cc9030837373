"""Options of the commands whose work may be divided among the machines of a Ray cluster."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from bts.cluster import Cluster, Engine
from bts.errors import RequestError

ENGINES = ("local", "ray")


def add_engine_options(parser: ArgumentParser, *, each: str) -> None:
    """Add --engine, --address, --cpus and --gpus to a parser.

    Args:
        parser: parser of the command.
        each: what takes the cores and GPUs, such as `training`.
    """
    parser.add_argument(
        "--engine", choices=ENGINES, default="local", help="this process, or a Ray cluster of many machines [local]"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="Ray cluster, or auto for one on this machine [a new one]")
    parser.add_argument("--cpus", type=int, metavar="N", help=f"cores of the cluster for each {each} [1]")
    parser.add_argument("--gpus", type=int, metavar="N", help=f"GPUs of the cluster for each {each} [1 where there are any]")


def open_engine(options: Namespace) -> Cluster | None:
    """Return the cluster that the options ask for, connected; None for this process.

    Raises:
        RequestError: options of a cluster without one, or as `Cluster.connect`.
    """
    given = [f"--{name}" for name in ("address", "cpus", "gpus") if getattr(options, name) is not None]
    if options.engine == "local":
        if given:
            raise RequestError(f"{given[0]} is of a cluster: add --engine ray")
        return None
    cpus, gpus = 1 if options.cpus is None else options.cpus, options.gpus
    if cpus < 1 or (gpus is not None and gpus < 0):
        raise RequestError(f"--cpus {cpus}, --gpus {gpus}: expected at least one core, and no negative number of GPUs")
    return Cluster.connect(options.address, cpus=cpus, gpus=gpus)


def map_engine(options: Namespace) -> Engine[Any, Any]:
    """Return what applies a training to settings: Python's `map`, or the tasks of the cluster that the options ask for."""
    cluster = open_engine(options)
    return map if cluster is None else cluster.map_tasks
