"""What several routers say of one pod adds up to the pod's work: in virtual time, with a pod that is only numbers."""

import asyncio
import random
from collections.abc import Sequence

import msgspec
import pytest

import virtual_time
from conftest import Show
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_status import ServerStatus
from imagegen_router.costs import CostModel, Shape
from imagegen_router.directory import Directory, Model
from imagegen_router.dispatch import Dispatcher, Request
from imagegen_router.endpoints import Address, Endpoint, Endpoints
from imagegen_router.queueing import Limits
from imagegen_router.service import Service
from misbehaving.pods import healthy_status
from router_process import sleeping_servers
from server_process import wait_until
from virtual_time import now

from .conftest import Ask, Route

MODEL = "acme/one"
SHAPE = Shape(pixels=512 * 512, steps=8)
SECONDS = 9.5
"""What a picture costs."""


class Pod:
    """Works on requests one after another, as a server does: rows and seconds of each, the oldest first."""

    def __init__(self) -> None:
        self.work: list[tuple[int, float]] = []
        self._since = now()

    def take(self, rows: int, seconds: float) -> None:
        """Get a request."""
        self._go_on()
        self.work.append((rows, seconds))

    def seconds(self) -> float:
        """Return the seconds of all work that is left."""
        self._go_on()
        return sum(seconds for _, seconds in self.work)

    def status(self, model: str = MODEL) -> ServerStatus:
        """Return what it says of itself."""
        idle, seconds = healthy_status(model, free_rows=0 if self.work else 10), self.seconds()
        return msgspec.structs.replace(
            idle,
            capacity=msgspec.structs.replace(
                idle.capacity,
                running_rows=sum(rows for rows, _ in self.work[:1]),
                queued_rows=sum(rows for rows, _ in self.work[1:]),
            ),
            work=msgspec.structs.replace(idle.work, predicted_seconds=seconds),
        )

    def _go_on(self) -> None:
        passed, self._since = now() - self._since, now()
        while self.work and passed > 0:
            rows, seconds = self.work[0]
            done, passed = min(seconds, passed), passed - min(seconds, passed)
            self.work[0] = rows, seconds - done
            if self.work[0][1] <= 0:
                del self.work[0]


class Router:
    """The dispatcher of one router, and what it tells of its demand."""

    def __init__(self, pods: Sequence[Pod], model: str = MODEL) -> None:
        self._costs = CostModel()
        self._costs.learn(model, "stub", SHAPE, SECONDS)
        self._endpoints = Endpoints(2.0, lambda _: None)
        directory = Directory(model, lambda: True, self._endpoints.reports)
        spec = ImageModelSpec(publisher="acme", family="one", version="1", id=model)
        directory.replace([Model(key=model, spec=spec)])
        self.dispatcher = Dispatcher(self._endpoints, self._costs, directory, Limits(), random.Random(7))
        self.service = Service("1", self._endpoints, directory, self.dispatcher, None)
        self._model, self._numbers = model, 0
        self._pods = {f"uid-{number}": pod for number, pod in enumerate(pods)}
        self._endpoints.replace(
            Address(uid=uid, model=model, host="127.0.0.1", port=1, management_port=1) for uid in self._pods
        )
        self.ask()

    def ask(self) -> None:
        """Ask all pods for their status."""
        for endpoint in self._endpoints:
            endpoint.hear(self._pods[endpoint.address.uid].status(self._model), self._model, now(), now())

    async def send(self, rows: int = 1) -> tuple[Request, Endpoint]:
        """Place a request, which reaches the pod at once, a moment after the last report."""
        await asyncio.sleep(0.001)
        self._numbers += 1
        request = Request(
            number=self._numbers,
            model=self._model,
            rows=rows,
            shape=SHAPE,
            arrived=now(),
            timeout=600.0,
            hold_seconds=45.0,
        )
        endpoint = await self.dispatcher.place(request)
        self._pods[endpoint.address.uid].take(rows, rows * SECONDS)
        await asyncio.sleep(0.001)
        return request, endpoint

    @property
    def running_seconds(self) -> float:
        """What /internal/demand says."""
        return self.service.measure_demand(self._model).running_seconds


async def heard_by(*routers: Router, after: float = 0.0) -> None:
    """Let some seconds pass, and have each router ask its pods."""
    await asyncio.sleep(after)
    for router in routers:
        router.ask()


def test_a_router_counts_its_own_part_of_a_pods_work() -> None:
    """However far the pod has come: progress is neither router's alone."""

    async def scene() -> None:
        pod = Pod()
        one, other = Router([pod]), Router([pod])
        await one.send()
        await other.send()  # it has not heard of the first one's request
        for _ in range(6):
            await heard_by(one, other, after=1.5)
            assert one.running_seconds + other.running_seconds == pytest.approx(pod.seconds(), abs=0.002)
            assert one.running_seconds == pytest.approx(other.running_seconds, abs=0.002)
        assert pod.seconds() == pytest.approx(2 * SECONDS - 9, abs=0.01)

    virtual_time.run(scene())


def test_parts_add_up_between_two_reports_too() -> None:
    async def scene() -> None:
        pod = Pod()
        one, other = Router([pod]), Router([pod])
        await one.send(rows=3)
        await other.send()
        await heard_by(one, other)
        await asyncio.sleep(5)
        assert one.running_seconds + other.running_seconds == pytest.approx(pod.seconds(), abs=0.01)
        assert one.running_seconds == pytest.approx(3 * other.running_seconds, abs=0.01)

    virtual_time.run(scene())


def test_what_was_sent_since_the_last_report_counts_in_full() -> None:
    async def scene() -> None:
        pod = Pod()
        pod.take(1, 0.2)  # somebody else's, nearly done: one more may wait in the pod
        here = Router([pod])
        await here.send()
        assert here.running_seconds == pytest.approx(SECONDS, abs=0.01)

    virtual_time.run(scene())


def test_nothing_of_ours_on_a_busy_pod_is_no_work_of_ours() -> None:
    async def scene() -> None:
        pod = Pod()
        pod.take(2, 19.0)
        demand = Router([pod]).service.measure_demand(MODEL)
        assert (demand.running_requests, demand.running_seconds) == (0, 0.0)

    virtual_time.run(scene())


def test_several_pods_are_added_up() -> None:
    async def scene() -> None:
        pods = [Pod(), Pod()]
        one, other = Router(pods), Router(pods)
        for _ in pods:
            await one.send()
            await other.send()
        assert [len(pod.work) for pod in pods] == [2, 2]
        await heard_by(one, other, after=2)
        here, there = one.running_seconds, other.running_seconds
        assert here == pytest.approx(there, abs=0.01)
        assert here + there == pytest.approx(sum(pod.seconds() for pod in pods), abs=0.01)

    virtual_time.run(scene())


def test_a_pod_that_predicts_nothing_gives_nothing_to_count() -> None:
    async def scene() -> None:
        pod = Pod()
        here = Router([pod])
        _, endpoint = await here.send()
        for running in endpoint.running.values():
            running.seconds = 0.0
        pod.work.clear()
        here.ask()
        assert here.running_seconds == 0.0

    virtual_time.run(scene())


def test_the_others_work_stays_when_ours_has_ended() -> None:
    """A pod that is busy for another router is not taken for idle because our own request is over."""

    async def scene() -> None:
        pod = Pod()
        one, other = Router([pod]), Router([pod])
        request, endpoint = await one.send()
        await other.send()
        await heard_by(one, after=1)
        one.dispatcher.ended(request, endpoint)  # its client left
        assert endpoint.remaining_seconds(now()) == pytest.approx(SECONDS, abs=0.6)
        assert one.running_seconds == 0.0

    virtual_time.run(scene())


def test_models_of_one_server_do_not_count_each_others_work() -> None:
    async def scene() -> None:
        pod = Pod()
        one, other = Router([pod]), Router([pod], "acme/two")
        await one.send()
        await other.send(rows=2)
        await heard_by(one, other, after=1)
        assert one.running_seconds + other.running_seconds == pytest.approx(pod.seconds(), abs=0.01)

    virtual_time.run(scene())


def test_a_pod_that_counts_no_rows_is_shared_by_seconds() -> None:
    async def scene() -> None:
        pod = Pod()
        here = Router([pod])
        _, endpoint = await here.send()
        idle = healthy_status(MODEL)
        told = msgspec.structs.replace(idle, work=msgspec.structs.replace(idle.work, predicted_seconds=2 * SECONDS))
        endpoint.hear(told, MODEL, now(), now())
        assert here.running_seconds == pytest.approx(SECONDS, abs=0.01)

    virtual_time.run(scene())


@pytest.mark.acceptance
@pytest.mark.slow
def test_two_routers_share_the_work_of_a_real_pod(route: Route, ask: Ask, show: Show) -> None:
    with sleeping_servers(1, seconds=0.3) as servers:
        routers = [route(servers, model="imagegen/shapes") for _ in range(2)]
        fields = {"model": "imagegen/shapes", "size": "64x64", "num_inference_steps": 8}
        first = servers[0].post({**fields, "prompt": "x", "num_inference_steps": 1})
        assert first.status_code == 200, "now the pod knows what a step costs"
        answers = [ask(router, **fields) for router in routers]
        shares: list[float] = []

        def heard_of_both() -> bool:
            work = servers[0].status()["work"]["predicted_seconds"]
            heard = [router.pods()[0]["remaining_seconds"] == pytest.approx(work, rel=0.2) for router in routers]
            told = [router.get("/internal/demand").json()["models"][0] for router in routers]
            if all(heard) and [each["running_requests"] for each in told] == [1, 1]:
                shares.append(sum(each["running_seconds"] for each in told) / work)
            return bool(shares)

        wait_until(heard_of_both, 10, "both routers to hear of both requests", every=0.1)
        assert [answer.result(30).status_code for answer in answers] == [200, 200]
    assert shares == [pytest.approx(1, abs=0.25)]
    show("14.1 fault 11: demand", "two routers' parts add up to the pod's work")
