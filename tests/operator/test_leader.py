"""The Lease: one leads, a release hands over at once, what the leader cannot renew is lost before another has it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import virtual_time
from cluster.api import Api
from cluster.api_proxy import ApiProxy
from cluster.api_requests import ApiRequest
from imagegen_operator.cluster import connect
from imagegen_operator.leader import Leader
from imagegen_operator.metrics import Metrics
from imagegen_operator.settings import OperatorSettings
from leases import OneLease, State, Way
from server_process import wait_until
from virtual_time import now

LEASE = 15.0
GIVES_UP = LEASE * 2 / 3
LOOKS = 1.25
"""Seconds within which a standby looks, with its jitter and the way to the API server."""


def candidate(way: Way, name: str, lease_seconds: float = LEASE) -> Leader:
    return Leader(way, OperatorSettings(namespace="there", identity=name, lease_seconds=lease_seconds))


class Pair:
    """A leader, and a standby that waits."""

    def __init__(self, lease_seconds: float = LEASE) -> None:
        self.lease = OneLease()
        self.ways = Way(self.lease), Way(self.lease)
        self.first = candidate(self.ways[0], "first", lease_seconds)
        self.second = candidate(self.ways[1], "second", lease_seconds)
        self.waiting: asyncio.Task[None]

    async def begin(self) -> None:
        """Let the first one win, and the second one see that."""
        await self.first.acquire()
        self.waiting = asyncio.create_task(self.second.acquire())
        await asyncio.sleep(5)
        assert self.lease.holder == "first"
        assert not self.waiting.done()


def test_a_standby_writes_nothing() -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        await asyncio.sleep(600)
        assert (pair.ways[1].writes, pair.lease.holder) == (0, "first")
        assert pair.ways[0].writes == pytest.approx(600, rel=0.1), "renewed every second"
        assert not pair.first.lost.is_set()

    virtual_time.run(scene())


def test_a_release_hands_over_at_once() -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        released = now()
        await pair.first.release()
        assert pair.lease.holder == ""
        await pair.waiting
        assert now() - released < LOOKS
        assert (pair.first.lost.is_set(), pair.lease.holder) == (True, "second")
        assert pair.lease.lease
        assert pair.lease.lease["spec"]["leaseTransitions"] == 1
        await pair.first.release()
        assert pair.lease.holder == "second", "what is somebody else's is not released"

    virtual_time.run(scene())


def test_a_leader_that_vanished_is_replaced_when_its_lease_is_over() -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        pair.ways[0].state = "down"
        vanished = now()
        await pair.waiting
        # The last renewal was up to a second before; the standby sees it one look later, and its end another one.
        assert LEASE - 1.1 < now() - vanished < LEASE + 2 * LOOKS

    virtual_time.run(scene())


@pytest.mark.parametrize(
    ("state", "seconds"),
    [("down", 1.0), ("down", 8.0), ("forbidden", 8.0), ("hangs", 4.0), ("late answer", 4.0), ("late request", 4.0)],
)
def test_a_short_outage_keeps_the_leader(state: State, seconds: float) -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        for way in pair.ways:
            way.state = state
        await asyncio.sleep(seconds)
        for way in pair.ways:
            way.state = "up"
        await asyncio.sleep(60)
        assert (pair.first.lost.is_set(), pair.lease.holder) == (False, "first")

    virtual_time.run(scene())


@pytest.mark.parametrize("state", ["down", "hangs", "forbidden", "late answer", "late request"])
def test_a_leader_that_is_cut_off_knows_it_before_another_one_leads(state: State) -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        pair.ways[0].state = state
        cut_off = now()
        await pair.first.lost.wait()
        assert now() - cut_off <= GIVES_UP
        assert not pair.waiting.done()
        assert pair.lease.holder == "first"
        await pair.waiting

    virtual_time.run(scene())


def test_a_lease_that_was_taken_by_force_is_lost_at_once() -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        assert pair.lease.lease
        pair.lease.lease["spec"]["holderIdentity"] = "a person"
        taken = now()
        await pair.first.lost.wait()
        assert now() - taken < LOOKS

    virtual_time.run(scene())


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"])
@pytest.mark.parametrize("lasts", [5, 40])
def test_clocks_of_other_machines_are_not_believed(renewed: str, lasts: int) -> None:
    """A holder is alive while its Lease changes, and gone when it did not for as long as the Lease itself says."""
    lease = OneLease(holderIdentity="other", leaseDurationSeconds=lasts, renewTime=renewed)

    async def scene() -> None:
        await candidate(Way(lease), "first").acquire()
        assert lasts < now() < lasts + LOOKS

    virtual_time.run(scene())


def test_a_holder_whose_clock_is_wrong_keeps_the_lease_while_it_renews() -> None:
    lease = OneLease(holderIdentity="other", leaseDurationSeconds=5, renewTime="1999-01-01T00:00:00.000000Z")

    async def scene() -> None:
        waiting = asyncio.create_task(candidate(Way(lease), "first").acquire())
        for _ in range(20):
            await asyncio.sleep(4)
            assert lease.lease
            lease.write(lease.lease)
        assert not waiting.done()
        waiting.cancel()

    virtual_time.run(scene())


def test_a_container_that_was_started_again_takes_its_own_lease_at_once() -> None:
    lease = OneLease(holderIdentity="first", leaseDurationSeconds=15)

    async def scene() -> None:
        await candidate(Way(lease), "first").acquire()
        assert now() < 1

    virtual_time.run(scene())


def test_a_mistake_of_ours_ends_the_leadership_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        lease = OneLease()
        leader = candidate(Way(lease), "first")  # alone: a standby would stumble over it too
        await leader.acquire()
        assert lease.lease
        del lease.lease["metadata"]["resourceVersion"]
        await leader.lost.wait()

    virtual_time.run(scene())
    assert [record.message for record in caplog.records] == ["the lease cannot be renewed"]


@pytest.mark.parametrize("lease_seconds", [2.0, 4.0, 15.0, 60.0])
def test_a_lease_of_any_length_is_kept(lease_seconds: float) -> None:
    async def scene() -> None:
        pair = Pair(lease_seconds)
        await pair.begin()
        await asyncio.sleep(20 * lease_seconds)
        assert not pair.first.lost.is_set()
        assert not pair.waiting.done()

    virtual_time.run(scene())


def test_a_short_lease_is_renewed_more_often() -> None:
    async def scene() -> None:
        pair = Pair(2.0)
        await pair.begin()
        pair.ways[0].state = "down"
        await asyncio.sleep(0.8)
        pair.ways[0].state = "up"
        await asyncio.sleep(60)
        assert not pair.first.lost.is_set()

    virtual_time.run(scene())


def test_a_lease_whose_confirmation_came_too_late_is_not_won_yet() -> None:
    """By then another one may have waited for its end."""

    async def scene() -> None:
        way = Way(OneLease())
        way.state = "late answer"
        waiting = asyncio.create_task(candidate(way, "first").acquire())
        await asyncio.sleep(60)
        assert not waiting.done()
        way.state = "up"
        await waiting

    virtual_time.run(scene())


def test_what_is_in_the_way_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        pair = Pair()
        await pair.begin()
        assert caplog.records == []
        states: list[State] = ["down", "forbidden", "up", "forbidden"]
        for state in states:
            pair.ways[1].state = state
            await asyncio.sleep(20)

    virtual_time.run(scene())
    causes = [record.__dict__["cause"] for record in caplog.records]
    forbidden = "leases is forbidden (HTTP 403)"
    assert causes == ["connection refused", forbidden, forbidden]


STATES = st.sampled_from(["up", "up", "down", "hangs", "late request", "late answer", "forbidden"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), STATES, st.floats(0.5, 20)), max_size=15))
def test_whatever_fails_there_are_never_two(faults: list[tuple[int, State, float]]) -> None:
    """Ways to the API server fail and come back; a candidate that lost is started again, as Kubernetes does it."""
    leading: set[int] = set()

    async def run_for_ever(number: int, way: Way) -> None:
        while True:
            leader = candidate(way, f"candidate {number} of {now()}")
            await leader.acquire()
            leading.add(number)
            assert len(leading) == 1, f"at {now()} s"
            await leader.lost.wait()
            leading.discard(number)

    async def scene() -> None:
        lease = OneLease()
        ways = [Way(lease) for _ in range(3)]
        running = [asyncio.create_task(run_for_ever(number, way)) for number, way in enumerate(ways)]
        for number, state, seconds in faults:
            ways[number].state = state
            await asyncio.sleep(seconds)
        for way in ways:
            way.state = "up"
        await asyncio.sleep(3 * LEASE)
        for task in running:
            assert not task.done(), task
        assert len(leading) == 1, "in the end one leads"

    virtual_time.run(scene())


@pytest.mark.slow
def test_on_a_real_api_server(api_proxy: ApiProxy, kubernetes: Api, tmp_path: Path) -> None:
    """Hand-over in under 3 s; a hiccup is survived; who is cut off loses the Lease, and the other one gets it."""
    kubeconfig = api_proxy.kubeconfig(tmp_path / "proxied", namespace=kubernetes.namespace)
    direct = tmp_path / "direct"
    direct.write_text(kubeconfig.read_text().replace(api_proxy.url, kubernetes.url))

    def holder() -> str:
        return kubernetes.get("Lease", "imagegen-operator")["spec"]["holderIdentity"]

    def renewed(request: ApiRequest) -> bool:
        return request.is_write and request.status == 200

    async def later(call: Callable[[], object]) -> None:
        await asyncio.to_thread(call)

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            clusters = [
                await stack.enter_async_context(connect({"KUBECONFIG": str(file)}, Metrics()))
                for file in (kubeconfig, direct)
            ]
            settings = [
                OperatorSettings(namespace=kubernetes.namespace, identity=name, lease_seconds=6)
                for name in ("proxied", "direct")
            ]
            first, second = (Leader(cluster, each) for cluster, each in zip(clusters, settings, strict=True))
            await second.acquire()
            waiting = asyncio.create_task(first.acquire())
            await later(lambda: api_proxy.wait_requested(lambda request: request.verb == "get", count=2))
            began = loop.time()
            await second.release()
            await asyncio.wait_for(waiting, 3)
            assert loop.time() - began < 3
            assert await asyncio.to_thread(holder) == "proxied"
            assert not [each for each in api_proxy.requests if each.is_write and each.status == 409]

            hiccup = api_proxy.answer(503, times=2)
            await later(lambda: wait_until(lambda: hiccup.met == 2, 6, "two renewals to fail"))
            await later(lambda: api_proxy.wait_requested(renewed, count=len(api_proxy.requested(renewed)) + 2))
            assert not first.lost.is_set()

            successor = Leader(clusters[1], settings[1])
            waiting = asyncio.create_task(successor.acquire())
            await later(api_proxy.refuse)
            began = loop.time()
            await asyncio.wait_for(first.lost.wait(), 6)
            assert not waiting.done()
            await asyncio.wait_for(waiting, 6)
            assert loop.time() - began < 6 + 3
            assert await asyncio.to_thread(holder) == "direct"
            await successor.release()

    asyncio.run(asyncio.wait_for(scene(), 40))
