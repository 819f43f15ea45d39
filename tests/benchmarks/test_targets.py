"""Points 1 and 7: the benchmarks run, their checks of correctness hold, and the table shows their figures.

Times are shown and never enforced: the machines that run tests are shared and noisy.
"""

from collections.abc import Sequence

import pytest

import memory
import reply_path
import startup
from conftest import Show
from harness import Comparison


def tell(show: Show, point: str, rows: Sequence[Comparison]) -> None:
    """Show one line a row."""
    for row in rows:
        verdict = "met" if row.met else "missed"
        show(f"{point}: {row.what}", f"{row.ratio:.3f} of {row.against} (target {row.target:.3f}: {verdict})")


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.acceptance
def test_start_up_costs_little_more_than_the_imports(show: Show) -> None:
    tell(show, "1 start-up", startup.measure(quick=True).comparisons)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.acceptance
def test_replies_cost_a_fraction_of_pillow_and_json(show: Show) -> None:
    results = reply_path.measure(quick=True)
    assert results.lossless
    tell(show, "7 reply", results.comparisons)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.acceptance
def test_peak_memory_is_the_weights_and_the_imports(show: Show) -> None:
    rows = memory.measure().comparisons
    tell(show, "7 peak memory", rows)
    # Memory is no time: it does not depend on who else uses the machine.
    assert all(row.ratio < 1.35 for row in rows)
