"""An event loop whose clock jumps to the next timer: minutes of waiting in milliseconds, and always the same."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Jump(selectors.SelectSelector):
    """Instead of waiting, moves the clock on. Nothing outside of the loop can wake it: no threads, no sockets."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and for nothing that has a time")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(scene: Coroutine[Any, Any, _Result]) -> _Result:
    """Run ``scene`` in a loop with such a clock, which begins at 0; tasks that are left are cancelled."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(scene)


def now() -> float:
    """Return the time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()
