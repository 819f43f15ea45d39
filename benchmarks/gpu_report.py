"""What the GPU check tells: its lines, their table, and the place of that table in a page of the docs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness import Machine

Verdict = Literal["right", "WRONG", "met", "missed", "skipped", ""]
"""``right`` and ``WRONG`` judge correctness, and ``WRONG`` fails the run; ``met`` and ``missed`` a target of speed,
which never does. Nothing stands beside a figure that only informs."""

BEGIN, END = "<!-- gpu-check:begin -->", "<!-- gpu-check:end -->"


class PageError(RuntimeError):
    """The page cannot take the table; the message says why."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    section: str
    what: str
    figure: str
    """As people read it, with its unit."""
    wanted: str = ""
    verdict: Verdict = ""
    values: dict[str, float] = {}
    """The same figures as numbers, named with their units."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All lines, and where they were taken."""

    device: str
    machine: Machine
    lines: tuple[Line, ...]

    @property
    def wrong(self) -> tuple[Line, ...]:
        """What failed the run."""
        return tuple(line for line in self.lines if line.verdict == "WRONG")


def judged(*, correct: bool) -> Verdict:
    """Return the verdict of a check of correctness."""
    return "right" if correct else "WRONG"


def text(line: Line) -> str:
    """Return a line as the terminal shows it while the check runs."""
    wanted = f" (wanted: {line.wanted})" if line.wanted else ""
    verdict = f"  {line.verdict}" if line.verdict else ""
    return f"{line.section:12} {line.what}: {line.figure}{wanted}{verdict}"


def table(results: Results) -> str:
    """Return the results as Markdown: where they were taken, then one row a line."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    rows = [("", "what", "figure", "wanted", ""), ("---",) * 5]
    rows += [(line.section, line.what, line.figure, line.wanted, line.verdict) for line in results.lines]
    return "\n".join(
        [
            f"Taken {machine.date} on {results.device}, {machine.system}, Python {machine.python}, {versions}.",
            "",
            *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |".replace("|  |", "| |") for row in rows),
        ]
    )


def place(page: Path) -> tuple[str, str]:
    """Return the page's text before and after its table; raise PageError when there is no place for one."""
    try:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        raise PageError(f"{page}: cannot be read: {error.strerror}") from None
    _, end, after = rest.partition(END)
    if not end:
        raise PageError(f"{page}: has no place for the table; it goes between the lines {BEGIN} and {END}")
    return before, after


def write_into(page: Path, results: Results) -> None:
    """Put the table between the page's two markers; raise PageError when they are not there."""
    before, after = place(page)
    page.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


def span(values: Sequence[float], digits: int = 0) -> str:
    """Write the smallest and the largest of ``values``: ``3 to 7``, or ``3`` when they are all the same."""
    least, most = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"
