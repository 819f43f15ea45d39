"""A server whose device sleeps as long as a real one would work, so that many fit on one machine. All else is real.

SLEEPING_SECONDS is what one step of one picture of 64x64 takes; other sizes take as much more as they have more pixels.
With SLEEPING_TABLE, a file of benchmarks/service_times.py, a picture takes SLEEPING_SCALE times what one was recorded
to take. SLEEPING_LOAD is what loading the model takes; SLEEPING_PICTURE=noise paints what no encoder makes smaller.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fake_pipelines import CountingRow
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import ImageSize
from imagegen_contract.server_settings import ServerSettings
from imagegen_server import app, main
from imagegen_server.engine import Engine
from imagegen_server.generation import Generation, ModelFacts
from imagegen_server.load_progress import Teller
from imagegen_server.slots import LoadedModel
from imagegen_server.sources import Weights

_STEP_SECONDS = float(os.environ.get("SLEEPING_SECONDS", "0.02"))  # noqa: TID251 - a program of its own
_LOAD_SECONDS = float(os.environ.get("SLEEPING_LOAD", "0"))  # noqa: TID251 - as above
_NOISE = os.environ.get("SLEEPING_PICTURE") == "noise"  # noqa: TID251 - as above
_TABLE = os.environ.get("SLEEPING_TABLE")  # noqa: TID251 - as above
_SCALE = float(os.environ.get("SLEEPING_SCALE", "1"))  # noqa: TID251 - as above
_SQUARE = 64 * 64


def recorded(table: str) -> dict[tuple[int, int], list[float]]:
    """Return the seconds of pictures by side and steps."""
    measured = msgspec.json.decode(Path(table).read_bytes())
    return {(each["side"], each["steps"]): each["seconds"] for each in measured}


class SleepingRow(CountingRow):
    """An image whose steps take some time."""

    def __init__(self, seed: int, evaluations: int, size: ImageSize, step_seconds: float) -> None:
        super().__init__(seed, evaluations, size)
        self.step_seconds = step_seconds


class SleepingPipeline:
    """Paints one colour, which the seed says, after it has slept."""

    def __init__(self) -> None:
        self._recorded = recorded(_TABLE) if _TABLE else {}
        self._chance = random.Random()

    def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(text.split())

    def admit(self, generation: Generation) -> Sequence[CountingRow]:
        """Return one row for each seed."""
        step = _STEP_SECONDS * generation.size.pixels / _SQUARE
        if taken := self._recorded.get((generation.size.width, generation.steps)):
            step = _SCALE * self._chance.choice(taken) / generation.steps
        return [SleepingRow(seed, generation.steps, generation.size, step) for seed in generation.seeds]

    def advance(self, rows: Sequence["SleepingRow"]) -> None:
        """Sleep through one step of all rows."""
        time.sleep(sum(row.step_seconds for row in rows))
        for row in rows:
            row.step()

    def picture(self, row: CountingRow) -> NDArray[np.uint8]:
        """Return the picture."""
        shape = row.key.height, row.key.width, 3
        if _NOISE:
            return np.random.default_rng(row.seed).integers(0, 256, shape, np.uint8)
        return np.full(shape, row.seed % 256, np.uint8)


class SleepingLoader:
    """Takes the place of the loader that imports torch."""

    def __init__(self, settings: ServerSettings, engine: Engine, on_fatal: Callable[[BaseException], None]) -> None:
        self.device = "sleeping"
        self.memory_budget = 1 << 40
        self._engine = engine
        del settings, on_fatal

    async def weigh(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> int:
        """Weigh next to nothing."""
        del weights, spec, tell
        return 1

    async def load(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> LoadedModel:
        """Sleep, on the device."""
        del weights, spec
        tell.stage("placing weights")
        await self._engine.on_device(lambda: time.sleep(_LOAD_SECONDS))
        facts = ModelFacts(
            native_size=ImageSize(64, 64),
            own_scheduler="euler",
            device="sleeping",
            dtype="float32",
            prompt_tokens=300,
            memory_bytes=1,
        )
        return LoadedModel(facts=facts, pipeline=SleepingPipeline())

    async def give_back(self) -> None:
        """Free nothing."""


if __name__ == "__main__":
    replaced: Any = app
    replaced.BackgroundLoader = SleepingLoader
    main.run()
