"""A bar for long work. On a terminal one line is redrawn. In a pipe or a log a plain line is printed from time to time."""

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

DRAW_SECONDS = 0.1  # between two drawings of the bar
LINE_SECONDS = 10  # between two plain lines, at least
LINE_SHARE = 0.05  # of the time so far, at least, between two plain lines. So a day of work has about 150 lines


def spell_duration(seconds: float) -> str:
    """12 s, 3.2 min, 2.1 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@dataclass
class Clock:
    """Counts things and the seconds that they took."""

    count: int = 0
    seconds: float = 0.0

    def add(self, count: int, seconds: float) -> None:
        """Adds `count` things, which took `seconds`."""
        self.count += count
        self.seconds += seconds

    def seconds_for(self, count: int) -> float:
        """The seconds that `count` things will take. 0 before the first one."""
        return count * self.seconds / self.count if self.count else 0.0


class ProgressBar(AbstractContextManager):
    """The progress of some work: units done, units per second, notes such as the newest loss, and the time left.

    The work has `total` units. Evaluations happen between units, and their time is counted separately. The bar is written
    to standard error, so that standard output has the result alone. Nothing is written before `start`. The name is above
    the bar, or before each plain line.
    """

    def __init__(self, total: int, unit: str, name: str = "", evaluations: int = 0) -> None:
        self.total, self.unit, self.name, self.evaluations_left = total, unit, name, evaluations
        self.done, self.notes, self.evaluating, self.started = 0, dict[str, str](), False, False
        self.unit_clock, self.evaluation_clock = Clock(), Clock()
        self.bar = None  # of tqdm, on a terminal

    def __exit__(self, *_: object) -> None:
        if self.started and self.last_shown != self.last_call:
            self._show()
        if self.bar is not None:
            self.bar.close()

    def start(self, done: int = 0) -> None:
        """Starts the clock. Work that continues has `done` units already."""
        self.started, self.done = True, done
        self.began = self.last_call = self.last_shown = time.perf_counter()
        if sys.stderr.isatty() or "ipykernel" in sys.modules:  # a notebook redraws a line too
            from tqdm import tqdm

            if self.name:
                print(self.name, file=sys.stderr)
            shape = "{percentage:3.0f} %|{bar}| {desc}"
            self.bar = tqdm(total=self.total, initial=done, bar_format=shape, dynamic_ncols=True, desc=self.text())
            self.began = self.last_call = self.last_shown = time.perf_counter()  # the import has taken a moment

    def advance(self, done: int, notes: Mapping[str, str], evaluates: bool = False) -> None:
        """Now `done` units are done. The new ones took the time since the last call. `evaluates`: an evaluation begins."""
        now = time.perf_counter()
        self.unit_clock.add(done - self.done, now - self.last_call)
        self.done, self.evaluating = done, evaluates
        self._take(now, notes)

    def evaluated(self, notes: Mapping[str, str]) -> None:
        """An evaluation has ended. It took the time since the last call."""
        now = time.perf_counter()
        self.evaluation_clock.add(1, now - self.last_call)
        self.evaluations_left, self.evaluating = self.evaluations_left - 1, False
        self._take(now, notes)

    def text(self) -> str:
        """500/2,000, 41 updates/s, loss 0.123, score 33.1, 2.1 min left"""
        parts = [f"{self.done:,}/{self.total:,}"]
        if self.evaluating:
            parts.append("evaluating")
        elif self.unit_clock.seconds:
            rate = self.unit_clock.count / self.unit_clock.seconds
            parts.append(f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2g} {self.unit}/s")
        parts += [f"{name} {value}" for name, value in self.notes.items()]
        if self.done == self.total and not self.evaluations_left:
            parts.append(f"in {spell_duration(self.last_call - self.began)}")
        elif self.unit_clock.count:
            left = self.unit_clock.seconds_for(self.total - self.done)
            left += self.evaluation_clock.seconds_for(self.evaluations_left)
            unknown = self.evaluations_left and not self.evaluation_clock.count
            parts.append(f"{'> ' if unknown else ''}{spell_duration(left)} left")
        return ", ".join(parts)

    def _take(self, now: float, notes: Mapping[str, str]) -> None:
        """Takes the newest notes, and shows them if enough time has passed."""
        self.last_call = now
        self.notes |= notes
        due = max(LINE_SECONDS, LINE_SHARE * (now - self.began)) if self.bar is None else DRAW_SECONDS
        if now - self.last_shown >= due or (self.evaluating and self.bar is not None):
            self._show()

    def _show(self) -> None:
        """Redraws the bar, or prints a line."""
        self.last_shown = self.last_call
        if self.bar is None:
            name = f"{self.name}: " if self.name else ""
            print(f"{name}{self.done / self.total:.0%}, {self.text()}", file=sys.stderr, flush=True)
        else:
            self.bar.n = min(self.done, self.total)
            self.bar.set_description_str(self.text())
