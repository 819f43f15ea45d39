"""What a request is predicted to take, against what it takes: the first request of a server included.

    PYTHONPATH=tests python benchmarks/first_request.py [--quick]

A real server for each model: the embedded one, its SDXL twin, and a random one of 150 million parameters. Before each
request its device seconds are derived from the costs in `/status`, as the server and a router do it; after it the reply
says what they were. The first request of a server has nothing to go by but what was measured while its model was
loaded. ``guess`` is what a server thinks of a model of which nothing was measured. Fails when a picture does not come
back, or when a server tells no costs before its first request.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from harness import Machine, this_machine, write_json
from imagegen_contract.device_costs import ModelCosts
from imagegen_contract.names import DEVICE_SECONDS_HEADER
from imagegen_contract.server_status import ServerStatus
from imagegen_shapes import WEIGHTS
from memory import MAKE_LARGE_MODEL
from server_process import ServerProcess, start_server

MODEL = "bench/model"
TWIN = Path(__file__).parents[1] / "tests" / "data" / "shapes-xl"
PROMPT = "a red circle on a blue background"
GUIDANCE = 3.0
GUESS_SECONDS_PER_PIXEL = 2e-6
"""Of one evaluation, where nothing was measured."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request: a square of ``side``, so many steps and pictures, with guidance or without."""

    side: int
    steps: int
    pictures: int = 1
    guided: bool = True

    @property
    def words(self) -> str:
        """What people call it."""
        more = ([f"n={self.pictures}"] if self.pictures > 1 else []) + ([] if self.guided else ["no guidance"])
        return ", ".join([f"{self.side}x{self.side}", f"{self.steps} steps", *more])


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request: device seconds as predicted, as they were, and as a guess."""

    model: str
    request: Request
    first: bool
    """Whether it is the first of its server."""
    predicted: float
    measured: float
    guess: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All requests, and where they were measured."""

    machine: Machine
    rows: tuple[Row, ...]


SMALL = (
    Request(side=256, steps=20),
    Request(side=256, steps=20),
    Request(side=256, steps=20, guided=False),
    Request(side=512, steps=10),
    Request(side=128, steps=30),
    Request(side=384, steps=10, pictures=2),
    Request(side=256, steps=8, pictures=4),
)
"""Sizes, steps, guidance and numbers of pictures that the server has not seen, and one that it has."""
LARGE = (Request(side=256, steps=10), Request(side=256, steps=10), Request(side=128, steps=20))


def measure(*, quick: bool) -> Results:
    """Ask all requests (quick: three of each model, and no random one)."""
    rows = [*_asked("embedded", WEIGHTS, SMALL[:3] if quick else SMALL)]
    rows += _asked("SDXL twin", TWIN, SMALL[:3] if quick else SMALL)
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", MAKE_LARGE_MODEL, str(WEIGHTS), folder]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            rows += _asked("150 M, random", Path(folder), LARGE)
    return Results(machine=this_machine("torch", "diffusers", "transformers"), rows=tuple(rows))


def _asked(name: str, weights: Path, requests: Sequence[Request]) -> Iterator[Row]:
    identity = {"publisher": "bench", "family": "sd", "version": "1", "id": MODEL, "source": f"file://{weights}"}
    entry = identity | {"inference": {"guidanceScale": GUIDANCE, "scheduler": "ddim", "maxPixels": 512 * 512}}
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder, "models_info.json")
        catalog.write_text(json.dumps([entry]), encoding="utf-8")
        with start_server("--catalog", str(catalog), "--load", MODEL, "--default-model", MODEL) as server:
            server.wait_ready(300)
            for number, request in enumerate(requests):
                predicted = _predicted(_costs(server), request)
                guess = GUESS_SECONDS_PER_PIXEL * request.side**2 * request.pictures * (request.steps + 1)
                yield Row(
                    model=name,
                    request=request,
                    first=number == 0,
                    predicted=predicted,
                    measured=_seconds(server, request),
                    guess=guess,
                )


def _costs(server: ServerProcess) -> ModelCosts:
    status = msgspec.json.decode(server.get("/status").content, type=ServerStatus)
    return next(costs for costs in status.costs if costs.model == MODEL)


def _predicted(costs: ModelCosts, request: Request) -> float:
    of_one = costs.picture(request.side**2, request.steps, request.pictures, guided=request.guided)
    assert of_one is not None, "the server has measured nothing while it loaded the model"
    return request.pictures * of_one


def _seconds(server: ServerProcess, request: Request) -> float:
    body = {"prompt": PROMPT, "size": f"{request.side}x{request.side}", "num_inference_steps": request.steps}
    body |= {"n": request.pictures, "guidance_scale": GUIDANCE if request.guided else 1.0}
    reply = server.post(body, timeout=600).raise_for_status()
    assert len(reply.json()["data"]) == request.pictures, "a picture did not come back"
    return float(reply.headers[DEVICE_SECONDS_HEADER])


def print_rows(rows: Sequence[Row]) -> None:
    """Print a line for each request, and how far off predictions and guesses were."""
    print(f"{'model':<16}{'request':<34}{'predicted':>10}{'measured':>10}{'ratio':>7}{'guess':>9}{'ratio':>7}")
    for row in rows:
        words = row.request.words + (" (first)" if row.first else "")
        print(
            f"{row.model:<16}{words:<34}{row.predicted:>8.2f} s{row.measured:>8.2f} s"
            f"{row.predicted / row.measured:>7.2f}{row.guess:>7.2f} s{row.guess / row.measured:>7.2f}"
        )
    for what, figures in (("predicted", [row.predicted for row in rows]), ("guess", [row.guess for row in rows])):
        off = [max(a / row.measured, row.measured / a) for a, row in zip(figures, rows, strict=True)]
        print(f"{what}: off by a factor of {statistics.median(off):.2f} in the median, {max(off):.2f} at most")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="three requests to two models")
    results = measure(quick=parser.parse_args().quick)
    print_rows(results.rows)
    print(f"written to {write_json('first_request', results)}")


if __name__ == "__main__":
    main()
