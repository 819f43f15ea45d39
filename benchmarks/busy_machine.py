"""The CPU server on a busy machine: the same picture alone, and with another process spinning on every core.

    python benchmarks/busy_machine.py [--quick]

Two servers of the embedded model with default threads, taking turns: one as it is, whose threads sleep while they wait
for each other, and one whose threads spin for 3 ms first, as GNU's OpenMP library does by itself. Seconds are of the
wall clock, since waiting is what this is about; CPU is what the server's threads used. The weights are in float32
files: others are converted by a second team of threads, and then the library itself spins less. Fails when the two
servers' pictures differ.
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from harness import Comparison, Machine, compare, print_table, this_machine, write_json
from imagegen_shapes import WEIGHTS

ALONE_TARGET = 1.35
"""Nothing should be lost on an idle machine, but for noise: a thread that sleeps has to be woken."""
BUSY_TARGET = 0.5
CPU_TARGET = 1.0
TIMEOUT_SECONDS = 600

_GNU_DEFAULT = {"GOMP_SPINCOUNT": "300000"}
_CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What whoever runs this has chosen is left out."""


_MODEL = "bench/shapes"
_ENTRY = {"publisher": "bench", "family": "sd", "version": "1", "id": _MODEL}

_WIDEN = """
import sys, torch, transformers, diffusers
transformers.logging.disable_progress_bar()
diffusers.StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32).save_pretrained(sys.argv[2])
"""


_SPIN = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Ends with whoever started it, even one that is killed."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, and where they were taken."""

    machine: Machine
    comparisons: tuple[Comparison, ...]


class Served:
    """A running server."""

    def __init__(self, pid: int, url: str) -> None:
        self._pid, self._url = pid, url

    def picture(self, *, quick: bool) -> np.ndarray[Any, Any]:
        """Return the picture that all sides make."""
        work = {"size": "128x128", "num_inference_steps": 2} if quick else {"size": "256x256", "num_inference_steps": 8}
        body = {"model": _MODEL, "prompt": "a red circle above a blue square", "seed": 11, **work}
        request = urllib.request.Request(  # noqa: S310 - our own server on loopback
            f"{self._url}/v1/images/generations", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310 - likewise
            made = base64.b64decode(json.load(reply)["data"][0]["b64_json"])
        return np.asarray(Image.open(io.BytesIO(made))).astype(int)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that its threads have used."""
        tasks = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def measure(*, quick: bool) -> Results:
    """Compare in 5 (quick) or 7 rounds, alone and beside a process on every core."""
    rounds = 5 if quick else 7
    with catalog() as file, served(file, {}) as asleep, served(file, _GNU_DEFAULT) as spinning:
        ours, theirs = (lambda: asleep.picture(quick=quick)), (lambda: spinning.picture(quick=quick))
        assert np.abs(ours() - theirs()).max() <= 1, "the pictures differ"

        def row(what: str, target: float, **options: Any) -> list[Comparison]:
            return compare(what, ours, {"threads that spin": (theirs, target)}, rounds, **options)

        rows = row("a picture alone, CPU", CPU_TARGET, clock=lambda: asleep.cpu_seconds() + spinning.cpu_seconds())
        rows += row("a picture alone", ALONE_TARGET, clock=time.perf_counter)
        with neighbours():
            rows += row("with every core in use", BUSY_TARGET, clock=time.perf_counter)
    return Results(machine=this_machine("torch", "diffusers"), comparisons=tuple(rows))


@contextmanager
def catalog() -> Generator[Path]:
    """Return a catalog of the embedded model with its weights in float32."""
    with tempfile.TemporaryDirectory() as folder:
        weights, file = Path(folder, "weights"), Path(folder, "models_info.json")
        command = [sys.executable, "-c", _WIDEN, str(WEIGHTS), str(weights)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
        file.write_text(json.dumps([_ENTRY | {"source": f"file://{weights}"}]), encoding="utf-8")
        yield file


@contextmanager
def served(catalog: Path, environment: Mapping[str, str]) -> Generator[Served]:
    """Run a server with these variables, ready."""
    command = [sys.executable, "-m", "imagegen_server.main", "--port", "0", "--log-format", "json"]
    command += ["--catalog", str(catalog), "--load", _MODEL]
    inherited = {name: value for name, value in os.environ.items() if name not in _CHOICES}  # noqa: TID251 - a child's
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**inherited, **environment}) as process:
        try:
            yield Served(process.pid, _url_when_ready(process))
        finally:
            process.terminate()
            process.communicate(timeout=TIMEOUT_SECONDS)


def _url_when_ready(process: "subprocess.Popen[str]") -> str:
    url = ""
    for line in process.stderr or ():
        event = json.loads(line) if line.startswith("{") else {"message": line}
        url = event.get("url", url)
        if event["message"] == "model ready":
            return url
    raise RuntimeError(f"the server ended with {process.wait()} before its model was ready")


@contextmanager
def neighbours() -> Generator[None]:
    """Keep every core that we may use busy."""
    with ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            spinning = stack.enter_context(subprocess.Popen([sys.executable, "-c", _SPIN]))
            stack.callback(spinning.kill)
        yield


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller picture, 5 rounds instead of 7")
    results = measure(quick=parser.parse_args().quick)
    print_table(results.comparisons)
    print(f"written to {write_json('busy_machine', results)}")


if __name__ == "__main__":
    main()
