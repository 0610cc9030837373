"""Progress of long work: a bar on a terminal, a line every half minute elsewhere.

The loop that takes long says what it does, `for record in counted(records, "reading")`, or `with phase("comparing slices")`
where there is nothing to count. Lines go to the logger `bts.progress`; a thread of its own keeps them coming where one step
takes long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TextIO, TypeVar

log = logging.getLogger(__name__)

EVERY_S = 30.0
"""Longest silence without a terminal."""
TICK_S = 1.0
"""Time between two looks at the clock, and between two drawings of a bar without a step."""
UNCOUNTED = "{desc}: {elapsed}"
T = TypeVar("T")


class Phase:
    """One piece of work, as `phase` opens it.

    Args:
        name: what is done, such as `reading train`.
        total: number of steps, or None where there is nothing to count.
        unit: what is counted, in the plural.
        done: number of steps done before.
        began: time at which it was opened.
        bar: bar on a terminal, or None.
    """

    def __init__(self, name: str, total: int | None, unit: str, *, done: int, began: float, bar: Any = None) -> None:
        self.name, self.total, self.unit, self.done, self.note = name, total, unit, done, ""
        self.initial, self.began, self.bar = done, began, bar

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """Count steps; `note` is shown behind the count."""
        self.reach(self.done + steps, note=note)

    def reach(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Set the number of steps done, and where it is known only now their total."""
        self.done, self.note, self.total = done, note, self.total if total is None else total
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.total = self.total
            self.bar.update(done - self.bar.n)

    def line(self, now: float) -> str:
        """Return the state in one line: count, rate and time left, or the time so far."""
        elapsed, steps = now - self.began, self.done - self.initial
        if self.total is None:
            return f"{self.name}: running for {format_duration(elapsed)}"
        count = f"{self.name}: {self.done:,} of {self.total:,} {self.unit}"
        note = f", {self.note}" if self.note else ""
        if steps <= 0 or elapsed <= 0:
            return f"{count}, running for {format_duration(elapsed)}{note}"
        rate, left = steps / elapsed, format_duration(max(self.total - self.done, 0) * elapsed / steps)
        return f"{count}, {rate:.3g} {self.unit}/s, {left} left{note}"


class Reporter:
    """The phases that are open, and the time of the last line.

    Args:
        emit: takes a line.
        is_terminal: whether to draw bars, on standard error.
        clock: time in seconds.
        tick_s: time between two looks at the clock, by a thread while a phase is open; None leaves `tick` to the caller.
    """

    def __init__(
        self,
        *,
        emit: Callable[[str], object] = log.info,
        is_terminal: Callable[[], bool] = lambda: has_room(sys.stderr),
        clock: Callable[[], float] = time.monotonic,
        tick_s: float | None = TICK_S,
    ) -> None:
        self.emit, self.is_terminal, self.clock, self.tick_s = emit, is_terminal, clock, tick_s
        self.phases: list[Phase] = []
        self.spoke: float | None = None
        self._lock = threading.RLock()
        self._stop: threading.Event | None = None

    def open(self, name: str, total: int | None, unit: str, *, done: int = 0) -> Phase:
        """Open a phase inside those that are open."""
        bar, now = None, self.clock()
        if self.is_terminal():
            from tqdm import tqdm

            form = {} if total is not None else {"bar_format": UNCOUNTED}
            bar = tqdm(total=total, initial=done, desc=name, unit=f" {unit}", leave=False, file=sys.stderr, **form)
        with self._lock:
            self.spoke = now if self.spoke is None else self.spoke
            self.phases.append(Phase(name, total, unit, done=done, began=now, bar=bar))
            if self.tick_s is not None and self._stop is None:
                self._stop = threading.Event()
                threading.Thread(target=self._watch, args=(self._stop,), name="bts-progress", daemon=True).start()
            return self.phases[-1]

    def close(self, phase: Phase) -> None:
        """Close a phase; its bar disappears."""
        with self._lock:
            self.phases = [each for each in self.phases if each is not phase]
            if phase.bar is not None:
                phase.bar.close()
            if not self.phases and self._stop is not None:
                self._stop.set()
                self._stop = None

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(self.tick_s):
            self.tick()

    def tick(self) -> None:
        """Draw the bars again; without a terminal write a line on the innermost phase if there was none for `EVERY_S`."""
        with self._lock:
            now, line = self.clock(), None
            bars = [phase.bar for phase in self.phases if phase.bar is not None]
            for bar in bars:
                bar.refresh()
            if self.phases and not bars and now - (self.spoke or 0.0) >= EVERY_S:
                line, self.spoke = self.phases[-1].line(now), now
        if line is not None:
            self.emit(line)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Clear the bars while another line is printed, which counts as one of progress."""
        self.spoke = self.clock()
        if any(phase.bar is not None for phase in self.phases):
            from tqdm import tqdm

            with tqdm.external_write_mode(file=sys.stderr):
                yield
        else:
            yield


def has_room(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal of known width: on another a bar would be empty, as in some containers."""
    try:
        return stream is not None and stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:
        return False


REPORTER = Reporter()
"""The one of this process."""


@contextlib.contextmanager
def phase(name: str, total: int | None = None, *, unit: str = "slices", done: int = 0) -> Iterator[Phase]:
    """Show the work of the block until it ends.

    Args:
        name: what is done.
        total: number of steps; None where they can't be counted.
        unit: what is counted, in the plural.
        done: number of steps done before.
    """
    opened = REPORTER.open(name, total, unit, done=done)
    try:
        yield opened
    finally:
        REPORTER.close(opened)


def counted(items: Iterable[T], name: str, *, total: int | None = None, unit: str = "slices") -> Iterator[T]:
    """Yield the items of a phase; each is done when the next is asked for. `total` is needed for what has no length."""
    total = len(items) if total is None and isinstance(items, Collection) else total
    with phase(name, total, unit=unit) as opened:
        for item in items:
            yield item
            opened.advance()


def format_duration(seconds: float) -> str:
    """Return a duration in words.

    >>> format_duration(5), format_duration(300), format_duration(9000)
    ('5 s', '5 min', '2 h 30 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
