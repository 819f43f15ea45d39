"""What the benchmarks share: fair turns, ratios, a table, a JSON file.

Machines are noisy and shared, so no absolute time is a result. Two sides are compared by CPU time, taking turns
within a round; the ratio is taken within each round and the median of the rounds is the figure.
"""

import datetime as dt
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

OUT = Path(__file__).parent / "out"

_MIN_TURN_SECONDS = 0.02
"""A turn repeats a short call until it has used this much: a single call of under 1 ms is mostly noise."""

Side = Callable[[], object]
Clock = Callable[[], float]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: our figure, the other side's, and ours / theirs (below 1: we need less)."""

    what: str
    against: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    target: float
    """The largest ratio that meets the target."""
    rounds: tuple[float, ...] = ()
    """The ratio of each round; empty for an exact figure such as a size."""

    @property
    def met(self) -> bool:
        """Whether the target is met, to be shown and never enforced on a time."""
        return self.ratio <= self.target


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and with what the figures were taken: they mean nothing without it."""

    date: str
    python: str
    system: str
    processor: str
    cpus: int
    versions: dict[str, str]


def compare(
    what: str,
    ours: Side,
    others: Mapping[str, tuple[Side, float]],
    rounds: int = 7,
    clock: Clock = time.process_time,
) -> list[Comparison]:
    """Compare the CPU of one call of ``ours`` with that of each of ``others``.

    Args:
        what: what a call does.
        ours: our side.
        others: name to (side, target), the target being the largest wanted ours / theirs.
        rounds: at least 5; in each round every side has one turn, and the order turns too.
        clock: CPU seconds used so far, of this process with all its threads unless given.

    Returns:
        One comparison for each of ``others``, in milliseconds of CPU a call: medians of the rounds.

    Raises:
        ValueError: fewer than 5 rounds.
    """
    if rounds < 5:
        raise ValueError(f"a median of {rounds} rounds says too little: take at least 5")
    sides = [ours, *(side for side, _ in others.values())]
    calls = [_calls_a_turn(side, clock) for side in sides]
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        for k in _turned(range(len(sides)), number):
            seconds[k].append(_turn(sides[k], calls[k], clock))
    return [
        _comparison(what, name, target, (seconds[0], theirs))
        for (name, (_, target)), theirs in zip(others.items(), seconds[1:], strict=True)
    ]


def exact(what: str, against: str, unit: str, figures: tuple[float, float], target: float) -> Comparison:
    """Return the row of a figure without noise, such as a size; ``figures`` are ours and theirs."""
    ours, theirs = figures
    return Comparison(
        what=what, against=against, unit=unit, ours=ours, theirs=theirs, ratio=ours / theirs, target=target
    )


def this_machine(*distributions: str) -> Machine:
    """Return the machine, with the installed versions of ``distributions``."""
    return Machine(
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cpus=os.cpu_count() or 1,
        versions={name: version(name) for name in distributions},
    )


def print_table(rows: Sequence[Comparison]) -> None:
    """Print one line a comparison: both sides, the ratio, the target and whether it is met."""
    cells = [("", "against", "ours", "theirs", "ours/theirs", "target", "")]
    cells += [
        (
            row.what,
            row.against,
            f"{row.ours:,.2f} {row.unit}",
            f"{row.theirs:,.2f} {row.unit}",
            _share(row.ratio),
            f"<= {_share(row.target)}",
            "met" if row.met else "MISSED",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_json(name: str, results: msgspec.Struct) -> Path:
    """Write ``results`` to benchmarks/out/NAME.json, replacing it, and return the path."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    return path


def _calls_a_turn(side: Side, clock: Clock) -> int:
    side()  # the first call pays for imports and caches
    return max(1, math.ceil(_MIN_TURN_SECONDS / max(_turn(side, 1, clock), 1e-6)))


def _turn(side: Side, calls: int, clock: Clock) -> float:
    """Return the CPU seconds of one call, as the mean of ``calls``."""
    start = clock()
    for _ in range(calls):
        side()
    return (clock() - start) / calls


def _turned(order: Sequence[int], by: int) -> list[int]:
    """Return ``order`` begun at another place, so that no side always runs after the same one's garbage."""
    start = by % len(order)
    return [*order[start:], *order[:start]]


def _comparison(what: str, against: str, target: float, seconds: tuple[list[float], list[float]]) -> Comparison:
    ours, theirs = seconds
    ratios = tuple(a / b for a, b in zip(ours, theirs, strict=True))
    return Comparison(
        what=what,
        against=against,
        unit="ms",
        ours=statistics.median(ours) * 1e3,
        theirs=statistics.median(theirs) * 1e3,
        ratio=statistics.median(ratios),
        target=target,
        rounds=ratios,
    )


def _share(ratio: float) -> str:
    """Write a ratio as it is said: 1/27 of it, 1.16 times it."""
    return f"1/{1 / ratio:.1f}" if 0 < ratio < 0.5 else f"{ratio:.2f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
