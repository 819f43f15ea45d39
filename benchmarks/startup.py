"""Start-up: how soon the server listens and how soon it is ready, against the imports that it cannot do without.

    python benchmarks/startup.py [--quick]

CPU seconds of whole processes, both sides taking turns: until the server listens against `import litestar, uvicorn`,
and until its model is ready against importing the same pipeline's libraries and one bare `from_pretrained`. The
server tells its own CPU time in the two log lines, so that nobody needs to ask it while it starts.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from harness import Comparison, Machine, print_table, this_machine, write_json
from imagegen_shapes import WEIGHTS

LISTENING_TARGET = 1.3
READY_TARGET = 1.1
TIMEOUT_SECONDS = 120

BARE_FRAMEWORK = "import litestar, uvicorn"
BARE_PIPELINE = f"""
import torch, transformers, diffusers
transformers.logging.disable_progress_bar()
diffusers.StableDiffusionPipeline.from_pretrained({str(WEIGHTS)!r}, dtype=torch.float32)
"""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Both rows, and where they were taken."""

    machine: Machine
    comparisons: tuple[Comparison, ...]


def measure(*, quick: bool) -> Results:
    """Start everything 5 (quick) or 9 times in turn and compare the medians."""
    rounds = 5 if quick else 9
    server: list[tuple[float, float]] = []
    framework: list[float] = []
    pipeline: list[float] = []
    server_cpu()  # The first of each reads files that the others find in the page cache.
    for _ in range(rounds):
        framework.append(python_cpu(BARE_FRAMEWORK))
        server.append(server_cpu())
        pipeline.append(python_cpu(BARE_PIPELINE))
    listening, ready = zip(*server, strict=True)
    rows = (
        _row("listening", "import litestar, uvicorn", (listening, framework), LISTENING_TARGET),
        _row("model ready", "imports + from_pretrained", (ready, pipeline), READY_TARGET),
    )
    return Results(machine=this_machine("litestar", "uvicorn", "torch", "diffusers", "transformers"), comparisons=rows)


def python_cpu(code: str) -> float:
    """Return the CPU seconds of a Python process that runs ``code`` and ends."""
    before = _children_cpu()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
    return _children_cpu() - before


def server_cpu() -> tuple[float, float]:
    """Return the CPU seconds that a server used until it listened and until its model was ready."""
    command = [sys.executable, "-m", "imagegen_server.main", "--port", "0", "--log-format", "json"]
    seconds: dict[str, float] = {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            event = json.loads(line)
            seconds[event["message"]] = event.get("cpu_seconds", 0.0)
            if event["message"] == "model ready":
                break
        process.terminate()
        process.communicate(timeout=TIMEOUT_SECONDS)
    return seconds["listening"], seconds["model ready"]


def _row(what: str, against: str, sides: tuple[Sequence[float], Sequence[float]], target: float) -> Comparison:
    ours, theirs = sides
    ratios = tuple(a / b for a, b in zip(ours, theirs, strict=True))
    return Comparison(
        what=what,
        against=against,
        unit="s CPU",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        ratio=statistics.median(ratios),
        target=target,
        rounds=ratios,
    )


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 9")
    results = measure(quick=parser.parse_args().quick)
    print_table(results.comparisons)
    print(f"written to {write_json('startup', results)}")


if __name__ == "__main__":
    main()
