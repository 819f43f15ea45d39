"""Who goes where, and when: in virtual time, with pods that are only numbers."""

import asyncio

import pytest

import virtual_time
from dispatch_scene import MODEL, SECONDS, Scene
from imagegen_contract.errors import ErrorCode
from imagegen_router.queueing import Limits
from imagegen_web.errors import ApiError, DeadlineExceeded, QueueFull
from virtual_time import now


def test_an_idle_pod_is_given_a_request_at_once() -> None:
    async def scene() -> None:
        here = Scene(1)
        began = now()
        await here.dispatcher.place(here.request())
        assert now() == began

    virtual_time.run(scene())


def test_requests_spread_over_idle_pods() -> None:
    async def scene() -> None:
        here = Scene(3)
        placed = [await here.dispatcher.place(here.request()) for _ in range(3)]
        assert len({endpoint.address.uid for endpoint in placed}) == 3

    virtual_time.run(scene())


def test_what_no_pod_has_room_for_waits_in_the_router() -> None:
    """A pod gets its next request shortly before it is done, so that its device does not idle, and not before."""

    async def scene() -> None:
        here = Scene(1)
        first = await here.dispatcher.place(here.request())
        second = asyncio.create_task(here.dispatcher.place(here.request()))
        third = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(SECONDS - 0.3)
        assert not second.done()
        await asyncio.sleep(0.1)
        assert second.done()
        assert len(first.running) == 2
        await asyncio.sleep(1)
        assert not third.done()
        third.cancel()

    virtual_time.run(scene())


def test_a_queue_is_served_by_all_pods_without_a_gap() -> None:
    async def scene() -> None:
        here = Scene(4)
        began = now()
        await asyncio.gather(*(here.serve(here.request()) for _ in range(40)))
        assert now() - began == pytest.approx(10 * SECONDS, rel=0.02)

    virtual_time.run(scene())


def test_a_pod_that_comes_takes_what_waits() -> None:
    async def scene() -> None:
        here = Scene(0)
        waiting = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(10)
        assert not waiting.done()
        here.pods([1])
        assert (await waiting).address.pod == "pod-1"

    virtual_time.run(scene())


def test_a_request_is_held_for_a_while_and_then_told_why() -> None:
    async def scene() -> None:
        here = Scene(0)
        began = now()
        with pytest.raises(ApiError, match=r"no pod of acme/one is ready: loading weights 62 %") as caught:
            await here.dispatcher.place(here.request(hold=45))
        assert (caught.value.code, caught.value.retry_after) == (ErrorCode.MODEL_LOADING, 15)
        assert now() - began == pytest.approx(45, abs=0.3)
        assert here.dispatcher.waiting(MODEL) == (0, 0.0)

    virtual_time.run(scene())


def test_holding_begins_when_the_last_pod_went() -> None:
    async def scene() -> None:
        here = Scene(1)
        await here.dispatcher.place(here.request())
        waiting = asyncio.create_task(here.dispatcher.place(here.request(hold=10)))
        await asyncio.sleep(1.5)
        here.pods([0], ready=False)
        went = now()
        with pytest.raises(ApiError):
            await waiting
        assert now() - went == pytest.approx(10, abs=0.6)

    virtual_time.run(scene())


def test_nobody_is_held_in_vain() -> None:
    async def scene() -> None:
        here = Scene(0)
        waiting = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(1)
        here.absence.failure = ApiError(ErrorCode.MODEL_FAILED, "its weights are broken")
        with pytest.raises(ApiError, match="its weights are broken"):
            await here.dispatcher.place(here.request())
        with pytest.raises(ApiError, match="its weights are broken"):
            await waiting

    virtual_time.run(scene())


def test_time_is_over_in_the_waiting_room_too() -> None:
    async def scene() -> None:
        here = Scene(1)
        await here.dispatcher.place(here.request())
        began = now()
        with pytest.raises(DeadlineExceeded):
            await here.dispatcher.place(here.request(deadline=1.0))
        assert now() - began == pytest.approx(1.0, abs=0.3)

    virtual_time.run(scene())


def test_a_full_room_says_when_to_come_back() -> None:
    async def scene() -> None:
        here = Scene(2, Limits(requests=4))
        served = [asyncio.create_task(here.serve(here.request())) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert here.dispatcher.waiting(MODEL) == (4, 4 * SECONDS)
        with pytest.raises(QueueFull, match="every place in the queue of 4 requests is taken") as caught:
            await here.dispatcher.place(here.request())
        assert caught.value.retry_after == pytest.approx(SECONDS / 2)
        await asyncio.gather(*served)

    virtual_time.run(scene())


def test_who_leaves_gives_its_place() -> None:
    async def scene() -> None:
        here = Scene(1)
        first = here.request()
        endpoint = await here.dispatcher.place(first)
        leaving = [asyncio.create_task(here.dispatcher.place(here.request())) for _ in range(5)]
        last = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(0.1)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert here.dispatcher.waiting(MODEL) == (1, SECONDS)
        here.dispatcher.ended(first, endpoint)
        assert await last is endpoint

    virtual_time.run(scene())


def test_who_leaves_in_the_moment_of_its_turn_holds_no_pod() -> None:
    async def scene() -> None:
        here = Scene(1)
        first = here.request()
        endpoint = await here.dispatcher.place(first)
        leaving = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(0.1)
        here.dispatcher.ended(first, endpoint)  # its turn: its future has a result that nobody has read
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert endpoint.running == {}

    virtual_time.run(scene())


def test_who_left_a_moment_before_its_turn_is_passed_over() -> None:
    async def scene() -> None:
        here = Scene(1)
        first = here.request()
        endpoint = await here.dispatcher.place(first)
        leaving = [asyncio.create_task(here.dispatcher.place(here.request())) for _ in range(3)]
        last = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(0.1)
        for task in leaving:
            task.cancel()
        here.dispatcher.ended(first, endpoint)  # before any of them has noticed
        assert await last is endpoint
        await asyncio.gather(*leaving, return_exceptions=True)
        assert len(endpoint.running) == 1

    virtual_time.run(scene())


def test_what_a_pod_did_not_take_goes_elsewhere_before_everybody_else() -> None:
    async def scene() -> None:
        here = Scene(2)
        first, second = here.request(), here.request()
        one, other = await here.dispatcher.place(first), await here.dispatcher.place(second)
        waiting = asyncio.create_task(here.dispatcher.place(here.request()))
        await asyncio.sleep(0.1)
        first.returned = True
        first.avoid.add(one.address.uid)
        again = asyncio.create_task(here.dispatcher.place(first))
        here.dispatcher.ended(first, one)
        await asyncio.sleep(0)
        here.dispatcher.ended(second, other)
        assert (await again).address.uid == other.address.uid
        waiting.cancel()

    virtual_time.run(scene())


def test_who_waits_is_told_its_place_and_its_time() -> None:
    async def scene() -> None:
        here = Scene(2)
        for _ in range(2):
            await here.dispatcher.place(here.request())
        requests = [here.request() for _ in range(4)]
        waiting = [asyncio.create_task(here.dispatcher.place(each)) for each in requests]
        await asyncio.sleep(0)
        assert here.dispatcher.eta(requests[0]) == (0, pytest.approx(SECONDS))
        assert here.dispatcher.eta(requests[3]) == (3, pytest.approx(SECONDS + 3 * SECONDS / 2))
        for task in waiting:
            task.cancel()

    virtual_time.run(scene())
