"""Chooses the pod where a request finishes first. Pure: loads come in as a snapshot.

The score of a pod is its predicted finish: the device seconds that it still has to do, and those of the request there.
Only a pod with room is chosen, so that a slow one never hoards: requests wait in the router and go to whoever is free.

A pod has room when its batch has rows free, or when its work is nearly done: then one more request may wait in it, so
that its device does not idle while the next one is on its way.
"""

import random
from collections.abc import Sequence

import msgspec

AHEAD_SECONDS = 0.25
"""A pod whose work ends so soon is given the next request: longer than a request takes to reach it."""

_ALL = 16
"""So many pods are compared with each other; of more, two that are picked at random, which comes as near to the best as
is worth it (Mitzenmacher, 2001: "The power of two choices in randomized load balancing")."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one pod now."""

    free_rows: int
    """Rows that would start at once."""
    free_requests: int
    """Requests that would start at once; below 0 when some wait in it."""
    remaining_seconds: float
    """Predicted device seconds of all that it has."""
    cost_seconds: float
    """Predicted device seconds of the request on that pod."""

    @property
    def finish(self) -> float:
        """Predicted seconds until the request would be done there."""
        return self.remaining_seconds + self.cost_seconds

    def has_room(self, rows: int) -> bool:
        """Return whether a request of so many pictures may be sent."""
        starts = self.free_requests > 0 and self.free_rows >= rows
        return starts or (self.free_requests >= 0 and self.remaining_seconds <= AHEAD_SECONDS)


def choose(loads: Sequence[Load], rows: int, chance: random.Random) -> int | None:
    """Return the index of the pod where the request finishes first, None when none has room."""
    able = [index for index, load in enumerate(loads) if load.has_room(rows)]
    if len(able) > _ALL:
        able = chance.sample(able, 2)
    # Of equals any: several routers, each alone with the same idle pods, would otherwise all take the first one.
    chance.shuffle(able)
    return min(able, key=lambda index: loads[index].finish, default=None)
