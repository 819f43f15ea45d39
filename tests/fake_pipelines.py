"""Pipelines that work without a model: a row is a counter, a picture says which seed and how many steps made it.

The engine drives them exactly as it drives the real ones. A gate makes the device stop where a test wants to look.
"""

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imagegen_contract.image_size import ImageSize
from imagegen_server.generation import Generation

GATE_SECONDS = 20.0
"""Far more than anything here takes: only a test that hangs gets there."""


class Gate:
    """A door in front of device work: closed, the device waits in it until somebody lets it through."""

    def __init__(self) -> None:
        self._arrived = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)
        self._open = False

    def pass_through(self) -> None:
        """Announce the arrival and wait for leave; called on the device thread."""
        self._arrived.release()
        if not self._open and not self._permits.acquire(timeout=GATE_SECONDS):
            raise AssertionError("nobody opened the gate")

    def wait_for_arrival(self) -> None:
        """Return when the device stands in the gate, once for each time it does."""
        assert self._arrived.acquire(timeout=GATE_SECONDS), "the device never came to the gate"

    def let_through(self) -> None:
        """Let the device through once."""
        self._permits.release()

    def open(self) -> None:
        """Let the device through from now on."""
        self._open = True
        self._permits.release()


class CountingRow:
    """An image that is done after a number of evaluations."""

    def __init__(self, seed: int, evaluations: int, size: ImageSize) -> None:
        self.seed = seed
        self.key = size
        self.evaluations_left = evaluations
        self.evaluated = 0

    def step(self) -> None:
        """Take one evaluation."""
        assert self.evaluations_left > 0, "a finished row was evaluated"
        self.evaluations_left -= 1
        self.evaluated += 1


class CountingPipeline:
    """Paints pictures of one pixel: (seed, evaluations taken, 0).

    ``calls`` has the seeds of every evaluation, ``prompts`` those that were admitted, ``decoded`` the seeds of the
    pictures made, all in order. ``evaluation_gate`` stands before every evaluation, ``picture_gate`` before every
    picture.
    """

    def __init__(self, evaluation_gate: Gate | None = None, picture_gate: Gate | None = None) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.prompts: list[str] = []
        self.decoded: list[int] = []
        self.rows: weakref.WeakSet[CountingRow] = weakref.WeakSet()
        self._evaluation_gate = evaluation_gate
        self._picture_gate = picture_gate

    def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(text.split())

    def admit(self, generation: Generation) -> Sequence[CountingRow]:
        """Return one counter for each seed."""
        self.prompts.append(generation.prompt)
        rows = [CountingRow(seed, generation.steps, generation.size) for seed in generation.seeds]
        self.rows.update(rows)
        return rows

    def advance(self, rows: Sequence[CountingRow]) -> None:
        """Count one evaluation of every row."""
        if self._evaluation_gate is not None:
            self._evaluation_gate.pass_through()
        assert len({row.key for row in rows}) == 1, "rows of different shapes in one call"
        self.calls.append(tuple(row.seed for row in rows))
        for row in rows:
            row.step()

    def picture(self, row: CountingRow) -> NDArray[np.uint8]:
        """Return the one pixel."""
        if self._picture_gate is not None:
            self._picture_gate.pass_through()
        assert row.evaluations_left == 0, "a picture of a row that is not done"
        self.decoded.append(row.seed)
        return painted(row.seed, row.evaluated)


def painted(seed: int, evaluations: int) -> NDArray[np.uint8]:
    """Return the picture that a CountingPipeline makes."""
    return np.array([[[seed, evaluations, 0]]], np.uint8)


def generation(prompt: str = "a", *, seeds: Sequence[int] = (1,), steps: int = 3, side: int = 128) -> Generation:
    """Return work for a CountingPipeline: ``steps`` evaluations for each of ``seeds`` (0..255)."""
    return Generation(
        model_id="fake/counting",
        prompt=prompt,
        negative_prompt=None,
        size=ImageSize(side, side),
        steps=steps,
        guidance_scale=1.0,
        scheduler="euler",
        seeds=tuple(seeds),
    )


class FakeFolder:
    """A source of weights that are not there: any reference is the folder of that name."""

    def fetch(self, reference: str) -> Path:
        """Return the folder."""
        return Path("/weights") / reference
