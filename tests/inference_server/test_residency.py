"""Who leaves the device when a model needs room there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_server.residency import LONGEST_TURN_SECONDS, SHORTEST_TURN_SECONDS, Resident, Room, make_room

NOW = 1000.0


def idle(name: str, size: int = 4, used: float = 0.0) -> Resident:
    return Resident(id=name, memory_bytes=size, leases=0, last_used=used, loaded_at=0, load_seconds=1)


def busy(name: str, size: int = 4, loaded: float = 0.0, load_seconds: float = 1.0) -> Resident:
    return Resident(id=name, memory_bytes=size, leases=1, last_used=NOW, loaded_at=loaded, load_seconds=load_seconds)


CASES: dict[str, tuple[int, list[Resident], Room]] = {
    "what fits is loaded and nobody leaves": (2, [idle("a"), busy("b")], Room(fits=True)),
    "what fits exactly fits": (4, [idle("a", 3), busy("b", 3)], Room(fits=True)),
    "the idle one used longest ago leaves": (
        4,
        [idle("new", used=9), idle("old", used=1)],
        Room(fits=True, unload=("old",)),
    ),
    "as many leave as are needed": (
        8,
        [idle("c", 2, used=3), idle("a", 4, used=1), idle("b", 4, used=2)],
        Room(fits=True, unload=("a", "b")),
    ),
    "none leaves whose room is not needed": (
        5,
        [idle("small and old", 1, used=1), idle("large", 7, used=2)],
        Room(fits=True, unload=("large",)),
    ),
    "an idle one leaves rather than one in use": (4, [busy("a"), idle("b", used=NOW)], Room(fits=True, unload=("b",))),
    "one in use is closed when its turn is over, the longest loaded first": (
        4,
        [busy("b", loaded=20), busy("a", loaded=10)],
        Room(fits=False, close=("a",)),
    ),
    "one in use keeps its turn, four times what its load took": (
        4,
        [busy("a", loaded=NOW - 7, load_seconds=2), busy("b", loaded=NOW - 1, load_seconds=2)],
        Room(fits=False, look_again=1.0),
    ),
    "a quick load has the shortest turn": (
        8,
        [busy("a", 8, loaded=NOW - SHORTEST_TURN_SECONDS / 2, load_seconds=0)],
        Room(fits=False, look_again=SHORTEST_TURN_SECONDS / 2),
    ),
    "a slow load has no turn without end": (
        8,
        [busy("a", 8, loaded=NOW, load_seconds=500)],
        Room(fits=False, look_again=LONGEST_TURN_SECONDS),
    ),
    "the idle ones go at once and those in use are closed for the rest": (
        8,
        [idle("a"), busy("b")],
        Room(fits=False, unload=("a",), close=("b",)),
    ),
}


@pytest.mark.parametrize(("need", "residents", "room"), CASES.values(), ids=CASES)
def test_room_is_made(need: int, residents: list[Resident], room: Room) -> None:
    assert make_room(need, 10, residents, NOW) == room


RESIDENTS = st.lists(
    st.builds(
        Resident,
        id=st.uuids().map(str),
        memory_bytes=st.integers(1, 50),
        leases=st.integers(0, 2),
        last_used=st.floats(0, NOW),
        loaded_at=st.floats(0, NOW),
        load_seconds=st.floats(0, 100),
    ),
    max_size=6,
)


@given(need=st.integers(1, 200), budget=st.integers(200, 300), residents=RESIDENTS, later=st.floats(0, 100))
def test_it_always_comes_to_an_end_and_never_takes_what_is_in_use(
    need: int, budget: int, residents: list[Resident], later: float
) -> None:
    room = make_room(need, budget, residents, NOW + later)
    by_id = {resident.id: resident for resident in residents}
    assert not any(by_id[name].leases for name in room.unload)
    assert all(by_id[name].leases for name in room.close)
    used = sum(resident.memory_bytes for resident in residents)
    left = used - sum(by_id[name].memory_bytes for name in room.unload)
    assert room.fits == (left + need <= budget)
    # Whoever waits either waits for a closed model's last request, or knows when to look again.
    assert room.fits or room.close or room.look_again is not None
    # Nobody leaves for nothing.
    for name in room.unload if room.fits else ():
        assert left + by_id[name].memory_bytes + need > budget
