"""The waiting room: the rules of queueing.py, by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_router.queueing import Limits, Refusal, Ticket, WaitingRoom


def ticket(number: int, seconds: float = 1.0, client: str = "", arrived: float | None = None, size: int = 10) -> Ticket:
    when = float(number) if arrived is None else arrived
    return Ticket(number=number, client=client, arrived=when, seconds=seconds, size=size)


def room(*tickets: Ticket, limits: Limits | None = None) -> WaitingRoom:
    waiting = WaitingRoom(limits or Limits())
    for each in tickets:
        waiting.enter(each)
    return waiting


def drained(waiting: WaitingRoom) -> list[int]:
    """Take everybody and return their numbers."""
    numbers: list[int] = []
    while (first := waiting.next()) is not None:
        waiting.take(first)
        numbers.append(first.number)
    return numbers


def test_requests_of_one_client_that_cost_the_same_go_in_order_of_arrival() -> None:
    assert drained(room(ticket(2), ticket(1), ticket(3))) == [1, 2, 3]


def test_a_cheap_request_overtakes_a_dear_one_that_came_shortly_before() -> None:
    assert drained(room(ticket(1, seconds=60, arrived=0), ticket(2, seconds=1, arrived=10))) == [2, 1]


def test_a_dear_request_is_not_overtaken_by_what_comes_after_three_times_its_cost() -> None:
    assert drained(room(ticket(1, seconds=60, arrived=0), ticket(2, seconds=1, arrived=177.5))) == [1, 2]


def test_clients_take_turns_by_what_their_work_costs() -> None:
    greedy = [ticket(number, seconds=2, client="greedy", arrived=0) for number in range(1, 7)]
    small = [ticket(number, seconds=1, client="small", arrived=1) for number in range(11, 15)]
    order = drained(room(*greedy, *small))
    assert order == [1, 11, 12, 2, 13, 14, 3, 4, 5, 6]


def test_a_client_that_was_away_is_owed_nothing() -> None:
    waiting = room(*(ticket(number, client="old") for number in range(1, 6)))
    for _ in range(3):
        first = waiting.next()
        assert first
        waiting.take(first)
    for number in range(11, 14):
        waiting.enter(ticket(number, client="new"))
    assert drained(waiting) == [11, 12, 4, 13, 5]


def test_a_client_cannot_win_by_leaving_and_coming_again() -> None:
    """Its account stays until its turn would have come."""
    waiting = room(ticket(1, seconds=10, client="a"), ticket(2, client="b"), ticket(3, client="b"))
    first = waiting.next()
    assert first
    waiting.take(first)
    waiting.enter(ticket(4, client="a"))
    assert drained(waiting) == [2, 3, 4]


def test_who_comes_back_goes_before_everybody_else() -> None:
    waiting = room(ticket(5), ticket(6))
    waiting.come_back(ticket(4))
    waiting.come_back(ticket(3, client="other"))
    assert drained(waiting) == [3, 4, 5, 6]


def test_an_empty_room_takes_any_request() -> None:
    small = Limits(requests=1, bytes=1, seconds=1)
    assert WaitingRoom(small).refusal(ticket(1, seconds=100, size=100), pods=1) is None


@pytest.mark.parametrize(
    ("limits", "bound"),
    [(Limits(requests=2), "requests"), (Limits(bytes=25), "bytes"), (Limits(seconds=2.5), "seconds")],
)
def test_the_room_is_bounded(limits: Limits, bound: str) -> None:
    refusal = room(ticket(1), ticket(2), limits=limits).refusal(ticket(3), pods=1)
    assert refusal is not None
    assert (refusal.bound, refusal.share) == (bound, False)


def test_seconds_are_allowed_for_each_pod() -> None:
    waiting = room(ticket(1), ticket(2), limits=Limits(seconds=2.5))
    assert waiting.refusal(ticket(3), pods=2) is None
    assert waiting.refusal(ticket(3), pods=0) is not None


def test_a_refusal_says_how_much_must_be_done_first() -> None:
    waiting = room(ticket(1, seconds=8), limits=Limits(seconds=10))
    assert waiting.refusal(ticket(2, seconds=4), pods=1) == Refusal(bound="seconds", share=False, excess=0.25)


def test_a_greedy_client_leaves_places_while_others_are_there() -> None:
    limits = Limits(requests=10, share=0.5)
    waiting = room(*(ticket(number, client="greedy") for number in range(1, 9)), limits=limits)
    assert waiting.refusal(ticket(20, client="greedy"), pods=1) is None, "alone it may have all"
    waiting.enter(ticket(21, client="small"))
    refusal = waiting.refusal(ticket(22, client="greedy"), pods=1)
    assert refusal
    assert (refusal.bound, refusal.share) == ("requests", True)
    assert waiting.refusal(ticket(23, client="small"), pods=1) is None


def test_who_leaves_is_forgotten() -> None:
    waiting = room(ticket(1), ticket(2))
    waiting.come_back(ticket(3))
    for each in (ticket(1), ticket(3), ticket(9)):
        waiting.leave(each)
    assert (len(waiting), waiting.seconds, waiting.bytes) == (1, 1.0, 10)
    assert drained(waiting) == [2]
    assert (len(waiting), waiting.seconds, waiting.bytes, waiting.next()) == (0, 0.0, 0, None)


TICKETS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0.01, 50), st.floats(0, 20)), min_size=1, max_size=25
).map(lambda drawn: [ticket(n, s, c, a) for n, (c, s, a) in enumerate(drawn)])


@given(TICKETS)
def test_the_order_that_is_told_is_the_order_that_comes(tickets: list[Ticket]) -> None:
    waiting = room(*tickets)
    told = [each.number for each in waiting]
    assert drained(waiting) == told
    assert sorted(told) == sorted(each.number for each in tickets)


@given(TICKETS)
def test_no_client_is_ahead_of_another_by_more_than_one_request(tickets: list[Ticket]) -> None:
    """The bound of start-time fair queueing: while both wait, their service differs by one request of each at most."""
    waiting = room(*tickets)
    served = dict.fromkeys("abc", 0.0)
    dearest = {client: max((t.seconds for t in tickets if t.client == client), default=0.0) for client in served}
    left = {client: sum(t.client == client for t in tickets) for client in served}
    for each in list(waiting):
        served[each.client] += each.seconds
        left[each.client] -= 1
        for one in served:
            for two in served:
                if left[one] and left[two]:
                    assert abs(served[one] - served[two]) <= dearest[one] + dearest[two] + 1e-6


@given(TICKETS, st.data())
def test_the_sums_are_those_of_who_is_here(tickets: list[Ticket], data: st.DataObject) -> None:
    waiting = room(*tickets)
    here = {each.number: each for each in tickets}
    for each in data.draw(st.lists(st.sampled_from(tickets), max_size=20)):
        waiting.leave(each)
        here.pop(each.number, None)
    assert len(waiting) == len(here)
    assert waiting.seconds == pytest.approx(sum(each.seconds for each in here.values()))
    assert waiting.bytes == sum(each.size for each in here.values())
