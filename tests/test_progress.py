"""Progress of long work: no long silence without a terminal, a bar on one, and no line when there is nothing to say."""

from __future__ import annotations

import io
import itertools
import os
import struct
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts import progress
from bts.progress import EVERY_S, Reporter, counted, has_room


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def watched(*, terminal: bool = False) -> tuple[Reporter, Clock, list[tuple[float, str]]]:
    """Return a reporter without a thread, its clock, and the lines with their times."""
    clock, lines = Clock(), []  # type: ignore[var-annotated]
    reporter = Reporter(
        emit=lambda line: lines.append((clock.now, line)), is_terminal=lambda: terminal, clock=clock, tick_s=None
    )
    return reporter, clock, lines


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5)), min_size=1, max_size=20))
def test_no_silence_is_longer_than_half_a_minute_however_phases_follow_each_other(work: list[tuple[int, int]]) -> None:
    reporter, clock, lines = watched()
    began = clock.now
    for seconds, steps in work:
        phase = reporter.open("reading", steps or None, "slices")
        for second in range(seconds):
            clock.now += 1
            if second < steps:
                phase.advance()
            reporter.tick()
        reporter.close(phase)
    spoken = [began, *(time for time, _ in lines), clock.now]
    assert max(after - before for before, after in itertools.pairwise(spoken)) <= EVERY_S
    assert len(lines) <= (clock.now - began) / EVERY_S


def test_a_line_says_how_many_how_fast_and_how_long_still() -> None:
    reporter, clock, lines = watched()
    phase = reporter.open("reading train", 3064, "slices")
    clock.now += 40
    phase.advance(800, note="loss 0.5")
    reporter.tick()
    assert [line for _, line in lines] == ["reading train: 800 of 3,064 slices, 20 slices/s, 113 s left, loss 0.5"]


def test_what_was_done_before_does_not_make_the_rest_seem_faster() -> None:
    reporter, clock, lines = watched()
    phase = reporter.open("brain.zip", 900, "MB", done=800)
    clock.now += 50
    phase.reach(850)
    reporter.tick()
    assert lines[0][1] == "brain.zip: 850 of 900 MB, 1 MB/s, 50 s left"


def test_work_that_cannot_be_counted_says_since_when_and_the_innermost_phase_speaks() -> None:
    reporter, clock, lines = watched()
    outer = reporter.open("fold 1", None, "slices")
    inner = reporter.open("comparing", None, "slices")
    clock.now += 31
    reporter.tick()
    reporter.close(inner)
    clock.now += 31
    reporter.tick()
    reporter.close(outer)
    clock.now += 100
    reporter.tick()
    assert [line for _, line in lines] == ["comparing: running for 31 s", "fold 1: running for 62 s"]


def test_a_line_of_the_log_counts_as_a_sign_of_life() -> None:
    reporter, clock, lines = watched()
    reporter.open("training", None, "batches")
    clock.now += 29
    with reporter.aside():
        pass
    clock.now += 29
    reporter.tick()
    assert lines == []


class Terminal:
    """Standard error that says it is a terminal and keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True

    def last(self) -> str:
        """What was written over a line last; tqdm moves the cursor up after a lower bar."""
        return self.text.split("\r")[-1].replace("\x1b[A", "").strip()


def test_a_terminal_gets_a_bar_that_is_cleared_for_other_lines_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    reporter, clock, lines = watched(terminal=True)
    outer = reporter.open("auditing", None, "slices")
    phase = reporter.open("reading", 4, "slices")
    phase.advance(3, note="loss 0.5")
    clock.now += 100
    terminal.text = ""
    reporter.tick()
    assert lines == []
    assert "auditing: 00:0" in terminal.text
    assert "reading:" in terminal.text
    assert "3/4 [" in terminal.last()
    assert "loss 0.5" in terminal.last()
    with reporter.aside():
        assert terminal.last() == ""
    reporter.close(phase)
    reporter.close(outer)
    assert terminal.last() == ""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_of_unknown_width_gets_lines(columns: int) -> None:
    import fcntl
    import termios

    main, other = os.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(other, "w") as stream:
        assert has_room(stream) is bool(columns)
    os.close(main)
    assert not has_room(io.StringIO())
    assert not has_room(None)


def test_every_item_is_yielded_and_counted_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, _, _ = watched()
    monkeypatch.setattr(progress, "REPORTER", reporter)
    seen = []
    for item in counted("abc", "reading"):
        (phase,) = reporter.phases
        seen.append((item, phase.done, phase.total))
    assert seen == [("a", 0, 3), ("b", 1, 3), ("c", 2, 3)]
    assert reporter.phases == []


def test_a_step_that_takes_long_does_not_keep_the_thread_from_speaking() -> None:
    lines: list[str] = []
    clock = Clock()
    reporter = Reporter(emit=lines.append, is_terminal=lambda: False, clock=clock, tick_s=0.001)
    phase = reporter.open("comparing", None, "slices")
    clock.now += EVERY_S
    for _ in range(2000):
        if lines:
            break
        time.sleep(0.005)
    reporter.close(phase)
    assert lines == ["comparing: running for 30 s"]
