"""How does a training end cleanly at Ctrl-C or SIGTERM?

Lightning finishes the step and leaves its loop at SIGTERM, on every device; Ctrl-C is turned into that same signal, for
Lightning's own answer to it would be `sys.exit(1)` in the middle of a step. Outside the loop both simply interrupt.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lightning.pytorch.utilities.exceptions import SIGTERMException

log = logging.getLogger("bts.training")


class StopSignals:
    """Signals while a run is open; `name` is that of the first one received, or None."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._in_loop = False

    def _received(self, number: int, frame: FrameType | None) -> None:
        first, self.name = self.name is None, self.name or signal.Signals(number).name
        if not self._in_loop or (not first and number == signal.SIGINT):
            raise KeyboardInterrupt
        if first:
            log.info(f"{self.name} received: ending after this step (once more to stop at once)")
        if number == signal.SIGINT:
            signal.raise_signal(signal.SIGTERM)

    @contextlib.contextmanager
    def watched(self) -> Iterator[StopSignals]:
        """Catch both signals inside the block; in another thread than the main one, leave them to whoever owns it."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._received) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def in_loop(self) -> Iterator[None]:
        """Mark the block in which Lightning's loop runs; leaves it with KeyboardInterrupt, whatever way Lightning took."""
        self._in_loop = True
        try:
            yield
        except (SIGTERMException, SystemExit) as end:
            if self.name is None and not isinstance(end, SIGTERMException):
                raise
            self.name = self.name or "SIGTERM"
            raise KeyboardInterrupt from end
        finally:
            self._in_loop = False
