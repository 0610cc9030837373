"""The thread that removes what nobody wants any more, whether somebody asks for something or not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

LOG = logging.getLogger(__name__)


class Sweeper:
    """Does its work again and again until it is stopped.

    Attributes:
        work: what is done each time; an error in it is logged by its kind, and does not end the thread.
        seconds: between two times.
    """

    def __init__(self, work: Callable[[], None], *, seconds: float) -> None:
        self.work, self.seconds = work, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bts-sweeper", daemon=True)

    def __enter__(self) -> Sweeper:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, after the work under way."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            try:
                self.work()
            except Exception as error:  # its text may name a file
                LOG.warning("removing what has expired failed: %s", type(error).__name__)
