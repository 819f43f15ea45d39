"""A thousand ImageModels: the program of benchmarks/operator_scale.py, with fewer edits."""

import pytest

import operator_scale
from conftest import Show

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.acceptance, pytest.mark.timeout(600)]


def test_a_thousand_image_models(control_plane: object, show: Show) -> None:
    """Times are shown and not enforced on a shared machine; what is written and what is kept in memory is."""
    del control_plane  # it brings the binary, or skips in words; the scene has a control plane of its own
    seen = operator_scale.measure(1000, edits=50, idle=10.0)
    show(
        "5.7 1,000 ImageModels",
        f"from cold {seen.cold_seconds:.0f} s, {seen.requests} requests, {seen.cpu_seconds:.0f} s of CPU, "
        f"{seen.rss_mib:.0f} MiB; edit to Deployment p50 {seen.event_p50_seconds * 1000:.0f} ms, "
        f"p99 {seen.event_p99_seconds * 1000:.0f} ms",
    )
    show("5.1 no writes when idle", f"{seen.idle_writes:.0f} in {seen.idle_seconds:.0f} s with 1,000 ImageModels")
    show("5.1 a new operator over 1,000", f"{seen.restart_seconds:.1f} s, {seen.restart_writes:.0f} writes")
    assert seen.rss_mib < operator_scale.TARGETS["rss_mib"]
    assert (seen.idle_writes, seen.restart_writes) == (0, 0)
    assert seen.cold_seconds < 5 * operator_scale.TARGETS["cold_seconds"]
    assert seen.event_p99_seconds < 5 * operator_scale.TARGETS["event_p99_seconds"]
