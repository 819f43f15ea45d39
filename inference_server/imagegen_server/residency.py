"""Who stays on the device when a model needs room there. Pure.

- What fits is loaded and nobody leaves.
- Idle models leave first, the one used longest ago before the others, and no more of them than needed.
- A model in use is never taken away: it is closed to new requests, and leaves when its last one is done.
- It is closed only after its turn, the longest loaded first: otherwise two busy models would swap at every request.
"""

from collections.abc import Iterable, Sequence

import msgspec

SHORTEST_TURN_SECONDS = 1.0
LONGEST_TURN_SECONDS = 30.0
"""Half of what a request waits for its model by default, so that the turn of a slow loader does not cost answers."""
TURN_LOADS = 4
"""A model in use keeps its place for this many times what its load took: swapping costs a fifth of the time at most."""


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model: its bytes, the requests that use it, and its times (seconds on one clock)."""

    id: str
    memory_bytes: int
    leases: int
    last_used: float
    loaded_at: float
    load_seconds: float

    @property
    def turn_ends(self) -> float:
        """When it may be closed although it is in use."""
        turn = max(SHORTEST_TURN_SECONDS, min(TURN_LOADS * self.load_seconds, LONGEST_TURN_SECONDS))
        return self.loaded_at + turn


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: ``unload`` now, ``close`` to new requests; load when ``fits`` after that.

    Otherwise look again when something changes, and in ``look_again`` seconds at the latest (None: only then).
    """

    fits: bool
    unload: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    look_again: float | None = None


def make_room(need: int, budget: int, residents: Sequence[Resident], now: float) -> Room:
    """Decide how ``need`` bytes get their place within ``budget`` bytes."""
    missing = need - (budget - sum(resident.memory_bytes for resident in residents))
    if missing <= 0:
        return Room(fits=True)
    idle = sorted((resident for resident in residents if not resident.leases), key=lambda resident: resident.last_used)
    unload = _fewest(missing, idle)
    missing -= _bytes(unload)
    if missing <= 0:
        return Room(fits=True, unload=_ids(unload))
    busy = sorted((resident for resident in residents if resident.leases), key=lambda resident: resident.loaded_at)
    close = _fewest(missing, [resident for resident in busy if resident.turn_ends <= now])
    waits = [resident.turn_ends - now for resident in busy if resident.turn_ends > now]
    look_again = min(waits) if waits and _bytes(close) < missing else None
    return Room(fits=False, unload=_ids(unload), close=_ids(close), look_again=look_again)


def _fewest(missing: int, candidates: Iterable[Resident]) -> list[Resident]:
    """Return the first candidates that free ``missing`` bytes together (all when they do not), without the spare."""
    chosen: list[Resident] = []
    for candidate in candidates:
        if _bytes(chosen) >= missing:
            break
        chosen.append(candidate)
    spare = _bytes(chosen) - missing
    for candidate in reversed(chosen.copy()):
        if candidate.memory_bytes <= spare:
            chosen.remove(candidate)
            spare -= candidate.memory_bytes
    return chosen


def _bytes(residents: Iterable[Resident]) -> int:
    return sum(resident.memory_bytes for resident in residents)


def _ids(residents: Iterable[Resident]) -> tuple[str, ...]:
    return tuple(resident.id for resident in residents)
