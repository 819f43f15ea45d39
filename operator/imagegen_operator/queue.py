"""The work queue: names of ImageModels that somebody should look at.

It guarantees:
1. A name that waits is in the queue once, however often it is added.
2. A name is worked on by one worker at a time.
3. A name that is added while it is worked on comes again afterwards.
4. A name that fails comes back after a pause that doubles with each failure, with jitter, up to a limit.
5. A name that changes does not wait for the end of its pause.
"""

import asyncio
import random

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0


class WorkQueue:
    """Belongs to one event loop."""

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self._waiting: dict[str, None] = {}
        """A set that keeps the order."""
        self._active: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        """Return how many names wait to be taken."""
        return len(self._waiting) + len(self._again)

    def add(self, name: str) -> None:
        """Have ``name`` looked at soon."""
        if timer := self._timers.pop(name, None):
            timer.cancel()
        if name in self._active:
            self._again.add(name)
        else:
            self._waiting.setdefault(name)
            self._arrived.set()

    def add_after(self, name: str, seconds: float) -> None:
        """Have ``name`` looked at after a pause, unless it is added before; the earlier of two pauses counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(name)
        if name in self._waiting or name in self._again or (timer and timer.when() <= loop.time() + seconds):
            return
        if timer:
            timer.cancel()
        self._timers[name] = loop.call_later(seconds, self.add, name)

    async def take(self) -> str:
        """Return the name that waits longest; it is the caller's until ``done`` or ``failed``."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        name = next(iter(self._waiting))
        del self._waiting[name]
        self._active.add(name)
        return name

    def done(self, name: str) -> None:
        """Give back a name that was worked on successfully."""
        self._failures.pop(name, None)
        self._release(name)

    def failed(self, name: str, at_least: float = 0.0) -> float:
        """Give back a name that could not be worked on; return the seconds after which it comes again."""
        times = self._failures[name] = self._failures.get(name, 0) + 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(times - 1, 16))
        pause = max(at_least, pause * self._jitter.uniform(0.5, 1.0))
        self._release(name)
        self.add_after(name, pause)
        return pause

    def _release(self, name: str) -> None:
        self._active.discard(name)
        if name in self._again:
            self._again.remove(name)
            self.add(name)
