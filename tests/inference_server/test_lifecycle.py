"""The states of the process: the table itself, and what it must allow."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.server_status import ProcessState
from imagegen_server.lifecycle import TRANSITIONS, Event, Lifecycle, after

STATES: tuple[ProcessState, ...] = get_args(ProcessState)

STORIES: dict[str, tuple[list[Event], ProcessState]] = {
    "a server starts": ([], "starting"),
    "it is loading until its models are there": ([Event.LOAD], "loading"),
    "then it is ready": ([Event.LOAD, Event.LOADED], "ready"),
    "a model that cannot be loaded makes it failed": ([Event.LOAD, Event.LOAD_FAILED], "failed"),
    "a signal drains it": ([Event.LOAD, Event.LOADED, Event.DRAIN], "draining"),
    "a signal drains it while it loads": ([Event.LOAD, Event.DRAIN], "draining"),
    "what loads on does not end a drain": ([Event.LOAD, Event.DRAIN, Event.LOADED], "draining"),
    "what fails to load does not end a drain": ([Event.LOAD, Event.DRAIN, Event.LOAD_FAILED], "draining"),
    "a second signal changes nothing": ([Event.LOAD, Event.DRAIN, Event.DRAIN], "draining"),
    "a failed server drains too": ([Event.LOAD, Event.LOAD_FAILED, Event.DRAIN], "draining"),
    "a lost device is a failure": ([Event.LOAD, Event.LOADED, Event.DEVICE_LOST], "failed"),
    "also while it loads": ([Event.LOAD, Event.DEVICE_LOST], "failed"),
    "also while it drains": ([Event.LOAD, Event.LOADED, Event.DRAIN, Event.DEVICE_LOST], "failed"),
    "also where another model had failed before": ([Event.LOAD, Event.LOAD_FAILED, Event.DEVICE_LOST], "failed"),
}


@pytest.mark.parametrize(("events", "state"), STORIES.values(), ids=STORIES)
def test_stories(events: list[Event], state: ProcessState) -> None:
    lifecycle = Lifecycle()
    for event in events:
        lifecycle.fire(event)
    assert lifecycle.state == state


@given(st.sampled_from(STATES), st.sampled_from(Event))
def test_an_event_that_cannot_happen_is_an_error_and_changes_nothing(state: ProcessState, event: Event) -> None:
    lifecycle = Lifecycle()
    lifecycle.state = state
    if (state, event) in TRANSITIONS:
        lifecycle.fire(event)
        assert lifecycle.state == TRANSITIONS[state, event] == after(state, event)
    else:
        with pytest.raises(ValueError, match=f"{event} cannot happen to a server that is {state}"):
            lifecycle.fire(event)
        assert lifecycle.state == state


@pytest.mark.parametrize("event", [Event.DRAIN, Event.DEVICE_LOST])
def test_what_comes_from_outside_is_possible_in_every_state_after_the_start(event: Event) -> None:
    assert all((state, event) in TRANSITIONS for state in STATES if state != "starting")


def test_no_state_is_out_of_reach_and_ready_comes_only_from_loaded_models() -> None:
    reached = {"starting"}
    for _ in STATES:
        reached |= {target for (state, _), target in TRANSITIONS.items() if state in reached}
    assert reached == set(STATES)
    into_ready = [(state, event) for (state, event), target in TRANSITIONS.items() if target == "ready"]
    assert into_ready == [("loading", Event.LOADED), ("failed", Event.LOADED)]
