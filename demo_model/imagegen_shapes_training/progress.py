"""Says how a stage goes, and fails it when it did not learn."""

import time

INTERVAL_SECONDS = 20.0
"""Between two lines."""

_SMOOTHING = 0.05


class StageFailedError(Exception):
    """A stage ended with weights that are not worth going on with."""


class Progress:
    """Smoothed loss and remaining time of one stage of ``steps`` steps."""

    def __init__(self, stage: str, steps: int, done: int = 0) -> None:
        self.loss = 0.0
        self._stage = stage
        self._steps = steps
        self._noted = 0
        self._first = done
        self._started = self._printed = time.monotonic()

    def note(self, loss: float) -> None:
        """Take the loss of the next step; print a line now and then, and at the end."""
        self._noted += 1
        self.loss += (loss - self.loss) * max(_SMOOTHING, 1 / self._noted)
        done = self._first + self._noted
        if time.monotonic() - self._printed > INTERVAL_SECONDS or done == self._steps:
            self._printed = time.monotonic()
            pace = (self._printed - self._started) / self._noted
            left = pace * (self._steps - done) / 60
            print(
                f"{self._stage}: {done}/{self._steps}, loss {self.loss:.4f}, {pace:.2f} s a step, {left:.0f} min left",
                flush=True,
            )

    def require_below(self, bound: float) -> None:
        """Raise :class:`StageFailedError` unless the smoothed loss has come below ``bound``."""
        # NaN is below nothing.
        if self._noted and not self.loss < bound:
            raise StageFailedError(
                f"{self._stage}: the loss is {self.loss:.4f} after {self._steps} steps and should be below {bound}; "
                "something in the data or the training was broken"
            )
