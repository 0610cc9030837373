"""Work divided among the processes of a Ray cluster: actors that keep what is costly to load, and tasks, with stated resources.

A process of the cluster works in the folder of the program that asks, on a disk that all machines share, so that a relative
path means the same file everywhere. Ray repeats what a machine that fails had begun, so the work must be repeatable: results
are written atomically, each into a folder of its own. Ray itself is imported when a function is called.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar

from bts.errors import RequestError

T = TypeVar("T")
R = TypeVar("R")
Engine = Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]
"""Ordered application of a function to items: `map`, or `Cluster.map_tasks`."""
ANSWER_S = 3.0
"""Time within which an address must answer; Ray itself waits for 40 s, then ends the program."""
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HTTP2_SETTINGS = b"\4"
"""Fourth byte of the answer to the greeting, RFC 9113: what distinguishes Ray (gRPC) from other servers."""
MAX_ITEMS = 16
"""Largest number of items that an actor takes at once, which are done again if its machine fails."""
SHARES = 4
"""Smallest number of turns of each actor where the items suffice, so that a slow one does not hold up the end."""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to, and what each actor or task takes of it.

    Attributes:
        cpus: cores of each; the threads of its libraries.
        gpus: GPUs of each.
        count: number of actors or tasks that run at once.
    """

    cpus: int
    gpus: int
    count: int

    @classmethod
    def connect(cls, address: str | None = None, *, cpus: int = 1, gpus: int | None = None) -> Cluster:
        """Connect to a cluster, or start one on this machine that ends with this process.

        Args:
            address: `HOST:PORT` of a cluster, or `auto` for one that runs on this machine; None starts one, unless
                `RAY_ADDRESS` names one.
            cpus: cores of each actor or task.
            gpus: GPUs of each; None for one where the cluster has any.

        Raises:
            RequestError: Ray is not installed, nothing answers at the address, or no machine has what is asked for.
        """
        if find_spec("ray") is None:
            raise RequestError("Ray is not installed: pip install 'bts[ray]'")
        where = address or os.environ.get("RAY_ADDRESS") or "local"
        if where not in ("auto", "local"):
            refuse_silent(where)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # retries that succeed are no errors
        import ray

        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            dashboard = False if where == "local" else None  # that of another cluster is not ours
            ray.init(where, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's exits at once
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RequestError(f"no Ray cluster at {where}: {str(error).splitlines()[0]}") from error
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if gpus is None:
            gpus = int(any(machine.get("GPU", 0) >= 1 for machine in machines))
        count = sum(how_many(machine, cpus, gpus) for machine in machines)
        if count == 0:
            found = "; ".join(f"{machine.get('CPU', 0):g} cores and {machine.get('GPU', 0):g} GPUs" for machine in machines)
            raise RequestError(
                f"no machine of the cluster has {cpus} cores and {gpus} GPUs: it has {found}; lower --cpus or --gpus"
            )
        return cls(cpus, gpus, count)

    def map_actors(self, make: Callable[[], Callable[[list[T]], Sequence[R]]], items: Sequence[T]) -> Iterator[R]:
        """Yield the answers on all items, as they come, each once.

        Args:
            make: called once in each actor; what it returns is called with some items after another and answers on each.
            items: what to work on. At most a few per actor are under way.

        Raises:
            Exception: the first error in an actor.
        """
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        size = min(max(len(items) // (SHARES * self.count), 1), MAX_ITEMS)
        rows = [{"item": pickle.dumps(items[start : start + size])} for start in range(0, len(items), size)]
        work = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=(make, os.getcwd()),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.count),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
        )
        table: Any
        for table in work.iter_batches(batch_size=None, batch_format="pyarrow"):
            for text in table["answer"].to_pylist():
                yield from opened(text)

    def map_tasks(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `function(item)` of each item in order, each computed by a process of its own.

        Raises:
            Exception: what the function raises, in place of its result; Ctrl-C and Ray's own errors too.
        """
        import ray

        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus)(answer)
        waiting = [task.remote(os.getcwd(), partial(_single, function), [item]) for item in items]
        for each in waiting:
            yield from opened(ray.get(each))


class Actor:
    """Actor of Ray Data: makes its worker on the first items, and answers with errors instead of raising them."""

    def __init__(self, make: Callable[[], Callable[[list[Any]], Sequence[Any]]], folder: str) -> None:
        self._make, self._folder = make, folder
        self._work: Callable[[list[Any]], Sequence[Any]] | None = None

    def __call__(self, table: Any) -> dict[str, list[bytes]]:
        """Return the pickled answers on the pickled items of a table."""
        return {"answer": [answer(self._folder, self._worker, pickle.loads(text)) for text in table["item"].to_pylist()]}

    def _worker(self, items: list[Any]) -> Sequence[Any]:
        if self._work is None:
            self._work = self._make()
        return self._work(items)


def answer(folder: str, work: Callable[[list[Any]], Sequence[Any]], items: list[Any]) -> bytes:
    """Return the pickled answers on items, made in a folder, or the pickled error: Ray would wrap it in its own."""
    try:
        os.chdir(folder)
        found: Sequence[Any] | Exception = work(items)
    except Exception as error:
        found = error
    return pickle.dumps(found)


def _single(function: Callable[[T], R], items: list[T]) -> list[R]:
    return [function(item) for item in items]


def opened(text: bytes) -> Sequence[Any]:
    """Return the answers in the bytes of `answer`, or raise the error in them."""
    found = pickle.loads(text)
    if isinstance(found, Exception):
        raise found
    return found


def how_many(machine: dict[str, float], cpus: int, gpus: int) -> int:
    """Return the number of actors or tasks that fit on a machine at once.

    >>> how_many({"CPU": 16.0, "GPU": 2.0}, cpus=4, gpus=1)
    2
    """
    by_kind = [machine.get(kind, 0) // need for kind, need in (("CPU", cpus), ("GPU", gpus)) if need]
    return int(min(by_kind))


def refuse_silent(address: str) -> None:
    """Raise `RequestError` where no gRPC server answers at `HOST:PORT` within seconds."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) >= 2**16 or "/" in host:
        raise RequestError(f"--address {address}: expected HOST:PORT of the head, such as 10.0.0.1:6379, or auto")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
            connection.sendall(HTTP2_GREETING)
            if connection.recv(4)[3:] == HTTP2_SETTINGS:
                return
            reason = "another kind of server"
    except OSError as error:
        reason = error.strerror or str(error)
    raise RequestError(f"--address {address}: no Ray cluster answers there ({reason}): see `ray status` on its head")
