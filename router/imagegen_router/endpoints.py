"""Who is up, and what each one holds: one `Endpoint` for each pod, known by its UID.

A pod tells what it has to do in `/status` and in headers of its replies; between two reports its work shrinks by a
second each second and grows by what is sent to it.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator

import msgspec

from imagegen_contract import names
from imagegen_contract.device_costs import ModelCosts
from imagegen_contract.server_status import ServerStatus
from imagegen_router.balancer import Load
from imagegen_router.costs import Shape
from imagegen_router.pod_states import PodReport, read_status
from imagegen_router.upstream import Connection, Headers, Pool

_LOG = logging.getLogger("imagegen.endpoints")

_FREE_ROWS = names.FREE_ROWS_HEADER.encode()
_WORK_SECONDS = names.WORK_SECONDS_HEADER.encode()

_ON_THE_WAY_SECONDS = 0.05
"""A reply does not know of what was sent so shortly before it came."""

_REFUSED_SECONDS = 0.25
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0

_LEAST_SHARE = 0.1
"""Of a request that takes longer than predicted, so much is thought to be left: a device that works is not free."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pod is, as discovery knows it."""

    uid: str
    """The pod's UID; in a static list its URL."""
    model: str
    """Object name of its ImageModel; in a static list the model's id."""
    host: str
    port: int
    management_port: int
    ready: bool = True
    """Whether it takes new requests. One that goes away does not, and finishes what it has."""
    pod: str = ""
    """Its name, for people."""


class Running(msgspec.Struct, kw_only=True):
    """A request that was sent to a pod."""

    rows: int
    seconds: float
    """Predicted device seconds."""
    sent_at: float


class Endpoint:
    """One pod. Times are of the event loop's clock."""

    def __init__(self, address: Address, pool: Pool) -> None:
        self.address = address
        self.pool = pool
        self.device = ""
        """Kind of its device, as its costs are learned for."""
        self.requests_at_once = 1
        """Requests that its device works on together."""
        self.heard_at: float | None = None
        """When its last report came."""
        self.told = PodReport()
        """What it said of itself last."""
        self.running: dict[int, Running] = {}
        """By the ticket's number."""
        self.connections: set[Connection] = set()
        """On which a reply is awaited or read; a slow reader's reply outlives its request here."""
        self._costs: ModelCosts | None = None
        self._rows: dict[tuple[Shape, int], float | None] = {}
        """What pictures cost here, until the next report."""
        self._free_rows = 0
        self._work_ends = 0.0
        self._sent_rows = 0
        """Rows sent since the last report."""
        self._told_as_of = -math.inf
        """The last report knows of nothing that was sent later."""
        self._others_rows = 0.0
        """Rows on it that this router did not send, as of its last status."""
        self._failures = 0
        self._reachable = True
        self._aside_until = 0.0

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.address.pod or self.address.uid

    def url(self, path: str) -> str:
        """Return the address of ``path`` on the public port."""
        return f"http://{self._host}:{self.address.port}{path}"

    def management_url(self, path: str) -> str:
        """Return the address of ``path`` on the management port."""
        return f"http://{self._host}:{self.address.management_port}{path}"

    @property
    def _host(self) -> str:
        return f"[{self.address.host}]" if ":" in self.address.host else self.address.host

    def takes_work(self, now: float) -> bool:
        """Return whether new requests may be sent: it is ready, says so itself, and is not set aside."""
        return self.address.ready and self.told.state == "serving" and now >= self._aside_until

    def load(self, cost_seconds: float, now: float) -> Load:
        """Return what is known of it now, for a request that would cost so much there."""
        return Load(
            free_rows=self._free_rows - self._sent_rows,
            free_requests=self.requests_at_once - len(self.running),
            remaining_seconds=self.remaining_seconds(now),
            cost_seconds=cost_seconds,
        )

    def remaining_seconds(self, now: float) -> float:
        """Return the predicted device seconds of all that it has, whoever sent it."""
        least = _LEAST_SHARE * max((each.seconds for each in self.running.values()), default=0.0)
        return max(least, self._work_ends - now)

    def own_seconds(self, now: float) -> float:
        """Return the part of the remaining seconds that this router's own requests take.

        Other routers, and other models of the same server, have their requests there too, and each says its own part:
        added up they are the pod's work. Of what the pod reported, the part is the own rows' share, since progress
        changes seconds but not rows; what was sent since then counts in full.
        """
        if not self.running:
            return 0.0
        remaining = self.remaining_seconds(now)
        sent_since = sum(each.seconds for each in self._unreported())
        return min(remaining, sent_since) + max(0.0, remaining - sent_since) * self._own_share()

    def _own_share(self) -> float:
        """Return which part of the reported work is this router's own."""
        rows = sum(each.rows for each in self.running.values() if each.sent_at <= self._told_as_of)
        return rows / (rows + self._others_rows) if rows else 0.0

    def _unreported(self) -> list[Running]:
        return [each for each in self.running.values() if each.sent_at > self._told_as_of]

    def row_seconds(self, shape: Shape, rows: int) -> float | None:
        """Return the device seconds of one of so many pictures by what it has measured, None when it told nothing."""
        if self._costs is None:
            return None
        if (shape, rows) not in self._rows:
            self._rows[shape, rows] = self._costs.picture(shape.pixels, shape.steps, rows, guided=shape.guided)
        return self._rows[shape, rows]

    def begin(self, number: int, running: Running) -> None:
        """Note a request that is being sent."""
        self.running[number] = running
        self._sent_rows += running.rows
        self._work_ends = max(self._work_ends, running.sent_at) + running.seconds

    def end(self, number: int, now: float) -> None:
        """Note that a request is over, however it ended. What others have there stays."""
        if number not in self.running:
            return
        others = self.remaining_seconds(now) - self.own_seconds(now)
        gone = self.running.pop(number)
        self._sent_rows = max(0, self._sent_rows - gone.rows)
        if not self.running:
            self._work_ends = now + others

    def report(self, free_rows: int, work_seconds: float, as_of: float, now: float) -> None:
        """Take what the pod says of itself, which knows of nothing that was sent after ``as_of``."""
        self.heard_at, self._told_as_of = now, as_of
        later = self._unreported()
        self._free_rows = free_rows
        self._sent_rows = sum(each.rows for each in later)
        self._work_ends = now + work_seconds + sum(each.seconds for each in later)

    def heed(self, headers: Headers, now: float) -> None:
        """Take what a reply says of the pod's load."""
        told = dict(headers)
        free, work = told.get(_FREE_ROWS), told.get(_WORK_SECONDS)
        try:
            if free is not None and work is not None:
                self.report(int(free), float(work), now - _ON_THE_WAY_SECONDS, now)
        except ValueError:
            _LOG.warning("a reply tells of its pod's load in no numbers", extra={"pod": self.name})

    def refuse(self, now: float) -> None:
        """Note that it did not take a request: for a moment it gets none."""
        self._aside_until = max(self._aside_until, now + _REFUSED_SECONDS)

    def fail(self, now: float, cause: str, *, reachable: bool = True) -> None:
        """Set it aside: no connection, or it failed. The pauses grow until it answers again."""
        self._failures += 1
        self._reachable = reachable
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10))
        self._aside_until = now + pause
        _LOG.warning("pod set aside", extra={"pod": self.name, "seconds": pause, "cause": cause})

    def succeed(self) -> None:
        """Note that it answered as it should."""
        self._failures = 0
        self._aside_until = 0.0
        self._reachable = True

    def hear(self, status: ServerStatus, model: str, as_of: float, now: float) -> None:
        """Take its answer to a question of ``as_of``; ``model`` is the id of the one that it is here for."""
        self.told = read_status(status, model)
        self.device = status.device
        self.requests_at_once = status.capacity.requests_at_once
        self._costs = next((costs for costs in status.costs if costs.model == model), None)
        self._rows = {}
        if not self._reachable:
            self.succeed()
        self.report(status.capacity.free_rows, status.work.predicted_seconds, as_of, now)
        self._others_rows = self._rows_of_others(status)

    def _rows_of_others(self, status: ServerStatus) -> float:
        """Return how many rows the pod has beside those that were sent from here before it was asked."""
        known = [each for each in self.running.values() if each.sent_at <= self._told_as_of]
        rows, seconds = sum(each.rows for each in known), sum(each.seconds for each in known)
        has = status.capacity.running_rows + status.capacity.queued_rows
        if has or not seconds:
            return max(0, has - rows)
        # It has work but counts no rows: what it predicts beyond our own requests is somebody else's.
        return rows * max(0.0, status.work.predicted_seconds - seconds) / seconds

    def cut_off(self) -> None:
        """Note that nothing answers there: what is on it ends, and it gets nothing until it is heard again."""
        self.told = PodReport()
        for connection in tuple(self.connections):
            connection.close()


class Endpoints:
    """All pods, by model. ``changed`` is called with a model of which a pod came, went, or may take more."""

    def __init__(self, connect_seconds: float, changed: Callable[[str], None]) -> None:
        self._connect_seconds = connect_seconds
        self._changed = changed
        self._all: dict[str, Endpoint] = {}
        self._by_model: dict[str, list[Endpoint]] = {}

    def __iter__(self) -> Iterator[Endpoint]:
        """Yield all pods."""
        return iter(tuple(self._all.values()))

    def of(self, model: str) -> list[Endpoint]:
        """Return the pods of a model."""
        return self._by_model.get(model, [])

    def reports(self, model: str) -> list[PodReport]:
        """Return what the pods of a model said of themselves."""
        return [each.told for each in self.of(model)]

    def replace(self, addresses: Iterable[Address]) -> None:
        """Take all addresses that discovery knows now.

        One that is gone gets nothing new; what it runs comes to its end, or is cut off when the pod is.
        """
        known = {address.uid: address for address in addresses}
        changed: set[str] = set()
        for uid in [uid for uid in self._all if uid not in known]:
            gone = self._all.pop(uid)
            gone.pool.close()
            _LOG.info("pod left", extra={"pod": gone.name, "model": gone.address.model})
            changed.add(gone.address.model)
        for uid, address in known.items():
            changed |= self._put(uid, address)
        self._by_model = {}
        for endpoint in self._all.values():
            self._by_model.setdefault(endpoint.address.model, []).append(endpoint)
        for model in changed:
            self._changed(model)

    def _put(self, uid: str, address: Address) -> set[str]:
        """Return the models of which a pod has come or changed."""
        endpoint = self._all.get(uid)
        if endpoint is None:
            pool = Pool(address.host, address.port, self._connect_seconds)
            self._all[uid] = Endpoint(address, pool)
            _LOG.info("pod came", extra={"pod": self._all[uid].name, "model": address.model, "ready": address.ready})
            return {address.model}
        before, endpoint.address = endpoint.address, address
        return set() if before == address else {before.model, address.model}
