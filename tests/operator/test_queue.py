"""The work queue keeps the five promises of its docstring."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_operator.queue import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, WorkQueue

DEADLINE = 5.0


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, DEADLINE))


def new_queue() -> WorkQueue:
    return WorkQueue(random.Random(1))


def test_a_name_that_waits_is_there_once_and_the_first_comes_first() -> None:
    async def scene() -> None:
        queue = new_queue()
        for name in ("b", "a", "b", "b", "a"):
            queue.add(name)
        assert len(queue) == 2
        assert [await queue.take(), await queue.take()] == ["b", "a"]
        assert len(queue) == 0

    run(scene())


def test_a_name_in_work_is_not_given_to_a_second_worker_but_comes_again() -> None:
    async def scene() -> None:
        queue = new_queue()
        queue.add("a")
        assert await queue.take() == "a"
        queue.add("a")
        second = asyncio.ensure_future(queue.take())
        queue.add("b")
        assert await second == "b"
        queue.done("a")
        assert await queue.take() == "a"

    run(scene())


def test_done_without_a_change_leaves_nothing() -> None:
    async def scene() -> None:
        queue = new_queue()
        queue.add("a")
        queue.done(await queue.take())
        assert len(queue) == 0

    run(scene())


def test_failures_double_the_pause_up_to_a_limit_and_success_forgets_them() -> None:
    async def scene() -> None:
        queue = new_queue()
        pauses: list[float] = []
        for _ in range(12):
            queue.add("a")
            pauses.append(queue.failed(await queue.take()))
        for times, pause in enumerate(pauses):
            full = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**times)
            assert full / 2 <= pause <= full
        assert len(set(pauses)) == len(pauses), "without jitter many models would come back together"
        queue.add("a")
        queue.done(await queue.take())
        queue.add("a")
        assert queue.failed(await queue.take()) <= FIRST_PAUSE_SECONDS

    run(scene())


def test_a_failed_name_comes_back_by_itself_after_its_pause() -> None:
    async def scene() -> None:
        queue = new_queue()
        queue.add("a")
        pause = queue.failed(await queue.take())
        began = asyncio.get_running_loop().time()
        assert await queue.take() == "a"
        assert asyncio.get_running_loop().time() - began >= pause * 0.9

    run(scene())


def test_the_api_server_may_ask_for_a_longer_pause() -> None:
    async def scene() -> None:
        queue = new_queue()
        queue.add("a")
        assert queue.failed(await queue.take(), at_least=7.0) == 7.0

    run(scene())


def test_a_change_ends_the_pause() -> None:
    async def scene() -> None:
        queue = new_queue()
        queue.add("a")
        queue.failed(await queue.take(), at_least=3600.0)
        queue.add("a")
        assert await queue.take() == "a"
        queue.done("a")
        assert len(queue) == 0

    run(scene())


@pytest.mark.parametrize(("first", "second"), [(3600.0, 0.01), (0.01, 3600.0)])
def test_of_two_pauses_the_earlier_counts(first: float, second: float) -> None:
    async def scene() -> None:
        queue = new_queue()
        queue.add_after("a", first)
        queue.add_after("a", second)
        assert await queue.take() == "a"

    run(scene())


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "done", "failed"]), st.sampled_from("abc"))))
def test_no_name_is_lost_and_none_is_worked_on_twice(steps: list[tuple[str, str]]) -> None:
    async def scene() -> None:
        queue = new_queue()
        active: set[str] = set()
        owed: set[str] = set()
        for action, name in steps:
            if action == "add":
                queue.add(name)
                owed.add(name)
            elif action == "take" and owed - active:
                got = await queue.take()
                assert got in owed
                assert got not in active
                active.add(got)
                owed.discard(got)
            elif action == "done" and name in active:
                queue.done(name)
                active.discard(name)
            elif action == "failed" and name in active:
                queue.failed(name, at_least=3600.0)
                active.discard(name)
        for name in tuple(active):
            queue.done(name)
        rest = {await queue.take() for _ in range(len(queue))}
        assert rest == owed

    run(scene())
