"""The waiting room of one model: who may come in, who is next, how much work is before whom. Pure.

The rules:
1. A request waits here and not in a pod. It is taken out when a pod has room for it.
2. The room is bounded by requests, bytes and predicted seconds; seconds that are only guessed do not count. Who does
   not fit is refused at the door. An empty room takes any request, however dear.
3. While others are in the room, a client may have its share of each bound and no more: a greedy one leaves places.
4. Clients take turns by what their work costs, not by how many requests they send (start-time fair queueing: Goyal, Vin
   and Cheng, 1996). A client that was away is owed nothing.
5. Among the requests of one client, each counts as if it had arrived later by three times what it costs. So a cheap one
   overtakes dear ones that came shortly before it, and a dear one only waits for those that come within that time.
6. Who comes back, because a pod did not take it, goes before everybody else, in the order of arrival.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

PATIENCE = 3.0
"""Waits are felt against what a request takes alone. In benchmarks/mixed_load.py the slowest hundredth by that measure
waits half to a sixth as long as with 1; beyond 3 dear requests begin to wait much longer, and nobody gains as much."""

Bound = Literal["requests", "bytes", "seconds"]


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """One request that waits."""

    number: int
    """Unique; a later request has a higher one."""
    client: str = ""
    """The API key's id, "" for everybody without one."""
    arrived: float
    """Seconds of the caller's clock."""
    seconds: float
    """Predicted device seconds."""
    measured: bool = True
    """Whether these are more than a guess."""
    rows: int = 1
    """Pictures: each is a row of a batch."""
    size: int = 0
    """Bytes that are held while it waits."""

    @property
    def place(self) -> tuple[float, int]:
        """Where it stands among the requests of its client, the smallest first."""
        return self.arrived + PATIENCE * self.seconds, self.number


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one room."""

    requests: int = 1000
    bytes: int = 64 * 2**20
    seconds: float = 600.0
    """Predicted device seconds for each pod that is there; for one, when none is."""
    share: float = 0.5
    """Of each bound, for one client while another one is in the room."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request may not come in."""

    bound: Bound
    share: bool
    """Whether it is the client's share that is used up: others are let in."""
    excess: float
    """Part of what stands in its way, 0 to 1, that must be gone before it fits."""


class _Use(msgspec.Struct):
    """What some requests take of each bound."""

    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    measured: float = 0.0
    """Of these seconds what is more than a guess."""

    def add(self, ticket: Ticket, sign: int = 1) -> None:
        self.requests += sign
        self.bytes += sign * ticket.size
        # Sums of floats drift; of nothing there is nothing.
        self.seconds = self.seconds + sign * ticket.seconds if self.requests else 0.0
        if ticket.measured or not self.requests:
            self.measured = self.measured + sign * ticket.seconds if self.requests else 0.0


class _Line(msgspec.Struct):
    """The requests of one client."""

    start: float
    """Virtual time at which the next one of them starts."""
    tickets: dict[int, Ticket] = {}
    places: list[tuple[float, int]] = []
    """A heap, also of some that have left."""
    use: _Use = msgspec.field(default_factory=_Use)

    def add(self, ticket: Ticket) -> None:
        self.tickets[ticket.number] = ticket
        heapq.heappush(self.places, ticket.place)
        self.use.add(ticket)

    def first(self) -> Ticket:
        while (number := self.places[0][1]) not in self.tickets:
            heapq.heappop(self.places)
        return self.tickets[number]


class WaitingRoom:
    """The room of one model. Belongs to one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._use = _Use()
        self._lines: dict[str, _Line] = {}
        self._returned: dict[int, Ticket] = {}
        self._virtual = 0.0
        self._finished: dict[str, float] = {}
        """Virtual time at which the work of a client ends that has nobody here now; only what is still to come."""

    def __len__(self) -> int:
        """Return how many wait."""
        return self._use.requests

    def __iter__(self) -> Iterator[Ticket]:
        """Yield all that wait, in the order in which they would be taken if nobody came or went."""
        yield from sorted(self._returned.values(), key=lambda ticket: ticket.number)
        lines = {
            client: deque(sorted(line.tickets.values(), key=lambda each: each.place))
            for client, line in self._lines.items()
        }
        starts = {client: line.start for client, line in self._lines.items()}
        while starts:
            client = _turn(starts)
            ticket = lines[client].popleft()
            yield ticket
            starts[client] += ticket.seconds
            if not lines[client]:
                del starts[client]

    @property
    def seconds(self) -> float:
        """Predicted device seconds of all that wait."""
        return self._use.seconds

    @property
    def bytes(self) -> int:
        """Bytes that are held for all that wait."""
        return self._use.bytes

    def refusal(self, ticket: Ticket, pods: int) -> Refusal | None:
        """Return why a request may not come in, None when it may. ``pods`` of the model are ready."""
        if not self._use.requests:
            return None
        line = self._lines.get(ticket.client)
        own = line.use if line else _Use()
        limits: dict[Bound, float] = {
            "requests": self._limits.requests,
            "bytes": self._limits.bytes,
            "seconds": self._limits.seconds * max(1, pods),
        }
        shares: dict[Bound, float] = {bound: limit * self._limits.share for bound, limit in limits.items()}
        alone = own.requests == self._use.requests
        return _over(self._use, ticket, limits, share=False) or (
            None if alone else _over(own, ticket, shares, share=True)
        )

    def enter(self, ticket: Ticket) -> None:
        """Let a request in; ``refusal`` was asked before."""
        line = self._lines.get(ticket.client)
        if line is None:
            line = _Line(start=max(self._virtual, self._finished.pop(ticket.client, 0.0)))
            self._lines[ticket.client] = line
        line.add(ticket)
        self._use.add(ticket)

    def come_back(self, ticket: Ticket) -> None:
        """Take back a request that a pod did not take; there is always room for it."""
        self._returned[ticket.number] = ticket
        self._use.add(ticket)

    def next(self) -> Ticket | None:
        """Return who is next, None when nobody waits."""
        if self._returned:
            return self._returned[min(self._returned)]
        if not self._lines:
            return None
        return self._lines[_turn({client: line.start for client, line in self._lines.items()})].first()

    def take(self, ticket: Ticket) -> None:
        """Let a request go to a pod."""
        line = self._lines.get(ticket.client)
        if line and ticket.number in line.tickets:
            self._virtual = max(self._virtual, line.start)
            line.start += ticket.seconds
        self.leave(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Forget a request, if it is here: its client went, or its time is over."""
        if self._returned.pop(ticket.number, None):
            self._use.add(ticket, -1)
            return
        line = self._lines.get(ticket.client)
        if line is None or line.tickets.pop(ticket.number, None) is None:
            return
        line.use.add(ticket, -1)
        self._use.add(ticket, -1)
        if not line.tickets:
            del self._lines[ticket.client]
            self._finished[ticket.client] = line.start
            self._finished = {client: end for client, end in self._finished.items() if end > self._virtual}


def _turn(starts: Mapping[str, float]) -> str:
    return min(starts, key=lambda client: (starts[client], client))


def _over(use: _Use, ticket: Ticket, limits: Mapping[Bound, float], *, share: bool) -> Refusal | None:
    wanted: Iterable[tuple[Bound, float, float]] = (
        ("requests", use.requests, 1),
        ("bytes", use.bytes, ticket.size),
        ("seconds", use.measured, ticket.seconds if ticket.measured else 0.0),
    )
    for bound, taken, more in wanted:
        if taken and taken + more > limits[bound]:
            return Refusal(bound=bound, share=share, excess=min(1.0, (taken + more - limits[bound]) / taken))
    return None
