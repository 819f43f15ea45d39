"""The router's benchmarks run, their checks of correctness hold, and the table shows their figures."""

import pytest

import mixed_load
import router_hop
from conftest import Show


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.acceptance
@pytest.mark.skipif(router_hop.nginx() is None, reason="nginx is missing; on Debian or Ubuntu: apt install nginx-light")
def test_the_hop_costs_about_what_nginx_costs(show: Show) -> None:
    """Times are shown and never enforced; memory does not depend on who else uses the machine."""
    results = router_hop.measure(quick=True, rounds=3)
    for row in results.rows:
        verdict = "met" if row.met else "missed"
        show(f"6.2 {row.what}", f"{row.ratio:.2f} of {row.against} (target {row.target:.2f}: {verdict})")
    growth = results.memory_growth_mib
    assert growth <= router_hop.MEMORY_TARGET_MIB
    show("6.2 memory, 16 x 2 MB read slowly", f"+{growth:.1f} MiB (target {router_hop.MEMORY_TARGET_MIB:.0f})")


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.acceptance
def test_the_slowest_of_a_mixed_load_wait_less_than_by_least_in_flight(show: Show) -> None:
    """In virtual time: the figures are the same on every machine."""
    for line in mixed_load.simulated(20_000):
        if line.bias is None or line.error_p90 is None:
            continue
        assert line.slowdown_p99_of_least_in_flight <= 0.7
        assert line.p99_of_least_in_flight < 0.9
        assert line.error_p90 <= 0.3
        assert abs(line.bias) <= 0.12
        show(
            f"6.3 mixed load at {line.load:.2f}, against least in flight",
            f"slowdown p99 {line.slowdown_p99_of_least_in_flight:.2f}, latency p99 {line.p99_of_least_in_flight:.2f} "
            f"(target 0.70 each); prediction: bias {line.bias:+.0%}, p90 of error {line.error_p90:.0%}",
        )
