"""How long the server takes for pictures of several sizes and steps, one at a time: what mixed_load.py replays.

    python benchmarks/service_times.py

Writes benchmarks/service_times.json. The server is a real one with the embedded model; the device seconds are those
that it says itself in each reply.
"""

import itertools
import random
import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from imagegen_contract.names import DEVICE_SECONDS_HEADER
from server_process import start_server

FILE = Path(__file__).parent / "service_times.json"
SIZES = (128, 256, 384, 512)
STEPS = (4, 8, 20, 30)
SAMPLES = 5


class Measured(msgspec.Struct, frozen=True):
    """The device seconds of some pictures of one kind."""

    side: int
    steps: int
    seconds: tuple[float, ...]


def read() -> tuple[Measured, ...]:
    """Return what was recorded."""
    return msgspec.json.decode(FILE.read_bytes(), type=tuple[Measured, ...])


def main() -> None:
    """Record."""
    kinds = list(itertools.product(SIZES, STEPS)) * SAMPLES
    random.Random(1).shuffle(kinds)  # noqa: S311 - no secret; a machine that is slow for a minute is so for all kinds
    seconds: dict[tuple[int, int], list[float]] = {}
    with start_server() as server:
        server.wait_ready()
        for side, steps in [(128, 4), *kinds]:
            body = {"prompt": "a red circle", "size": f"{side}x{side}", "num_inference_steps": steps}
            reply = server.post(body).raise_for_status()
            seconds.setdefault((side, steps), []).append(float(reply.headers[DEVICE_SECONDS_HEADER]))
    measured = [Measured(side, steps, tuple(taken[-SAMPLES:])) for (side, steps), taken in sorted(seconds.items())]
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n")


if __name__ == "__main__":
    main()
