"""How far a download is, over all its files: told a few times a second, and shown as a bar where a person looks."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from imagegen_contract.server_status import DownloadProgress
from imagegen_server.sources import Report

TELL_SECONDS = 0.25
_WINDOW_SECONDS = 10.0
"""The rate is over the last so many seconds: long enough not to jump, short enough to follow the line."""

NOTHING_KNOWN = DownloadProgress(bytes_done=0, bytes_total=0, percent=0.0, bytes_per_second=0.0, eta_seconds=None)
"""What is told before the Hub has said how much there is."""


class Part(Protocol):
    """One file: how large it is, how much of it is there."""

    done: int

    @property
    def size(self) -> int:
        """Bytes."""
        ...


class Rate:
    """Bytes per second over a moving window; the clock is an argument."""

    def __init__(self, window_seconds: float = _WINDOW_SECONDS) -> None:
        self._window = window_seconds
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> float:
        """Note that ``done`` bytes are there at ``now`` (seconds); return the rate, 0 before it can be told."""
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] >= self._window:
            self._points.popleft()
        (first_time, first_done), elapsed = self._points[0], now - self._points[0][0]
        return max(0.0, (done - first_done) / elapsed) if elapsed > 0 and first_time < now else 0.0


class Meter:
    """Adds up the parts of a download. ``bar`` names it on a bar on standard error, "" shows none."""

    def __init__(self, parts: Sequence[Part], report: Report, bar: str) -> None:
        self._parts = parts
        self._report = report
        self._total = sum(part.size for part in parts)
        self._began = self._done
        self._rate = Rate()
        self._rate.add(time.monotonic(), self._began)
        self._bar = _bar(bar, self._total, self._began) if bar and self._began < self._total else None

    @property
    def _done(self) -> int:
        return sum(part.done for part in self._parts)

    def tell(self) -> None:
        """Report how far it is; what ``report`` raises passes."""
        done = self._done
        rate = self._rate.add(time.monotonic(), done)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        self._report(progress(done, self._total, rate))

    def finish(self) -> None:
        """Report the end of it, unless all was there already."""
        if self._began < self._total:
            self.tell()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def progress(done: int, total: int, rate: float) -> DownloadProgress:
    """Return the message for ``done`` of ``total`` bytes at ``rate`` bytes a second."""
    return DownloadProgress(
        bytes_done=done,
        bytes_total=total,
        percent=round(100 * done / total, 2) if total else 100.0,
        bytes_per_second=round(rate, 1),
        eta_seconds=round((total - done) / rate, 1) if rate else None,
    )


def _bar(name: str, total: int, done: int) -> Any:
    from tqdm import tqdm  # noqa: PLC0415 - comes with huggingface_hub, and is seldom needed

    return tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, leave=False)
