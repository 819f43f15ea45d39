"""Requests of many costs on four pods: by predicted finish, against least in flight and round robin.

    PYTHONPATH=tests python benchmarks/mixed_load.py [--quick] [--real]

The simulation runs the router's own dispatcher in virtual time, with service times that were recorded on a real server
(service_times.py), Poisson arrivals at 0.5, 0.8 and 0.95 of the pods' capacity, and the same arrivals for each policy.
``--real`` repeats the middle one with processes: the router, and nginx with ``least_conn`` and with round robin, before
four servers whose device sleeps as long as the recorded one worked.

Latency is from arrival to the end of the pictures; slowdown is latency by what the request takes alone. The first line
of a load is what the requests take alone: no policy is below it. Bias and error say how well the end was predicted
when a request was placed.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import msgspec

import router_hop
import service_times
import virtual_time
from harness import Machine, this_machine, write_json
from imagegen_contract.server_status import Capacity, ModelStatus, ServerStatus, Work
from imagegen_router.costs import CostModel, Shape
from imagegen_router.dispatch import Dispatcher, Request
from imagegen_router.endpoints import Address, Endpoint, Endpoints
from imagegen_router.queueing import Limits
from imagegen_web.errors import ApiError
from router_process import endpoints, sleeping_servers, start_router
from virtual_time import now

MODEL = "bench/mixed"
DEVICE = "cpu"
PODS = 4
LOADS = (0.5, 0.8, 0.95)
SCALE = 0.2
"""Of the recorded seconds, with real processes."""

NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/replies;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream pods {{ {pods} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://pods; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 600s;
    }}
  }}
}}
"""

PICTURES = (1, 2, 4)
"""Of one request."""


class Arrival(msgspec.Struct, frozen=True):
    """One request of the open loop."""

    at: float
    side: int
    steps: int
    pictures: int
    seconds: float
    """What it will take: for each picture one of the recorded ones of its kind."""

    @property
    def shape(self) -> Shape:
        """What its cost hangs on."""
        return Shape(self.side * self.side, self.steps)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one request."""

    latency: float
    slowdown: float
    predicted: float
    """Seconds from placing to its end, as the router thought."""
    actual: float


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    load: float
    policy: str
    p50: float
    p95: float
    p99: float
    p99_of_least_in_flight: float
    slowdown_p99: float
    slowdown_p99_of_least_in_flight: float
    bias: float | None = None
    """Mean of (actual - predicted) / actual."""
    error_p90: float | None = None


class Results(msgspec.Struct, frozen=True):
    """What is written as JSON."""

    machine: Machine
    lines: tuple[Line, ...]


def arrivals(load: float, count: int, seed: int) -> list[Arrival]:
    """Return Poisson arrivals that use ``load`` of all pods.

    A kind is the rarer the more it costs, in proportion: all kinds together make the same work. Costs are a hundredfold
    apart and heavy-tailed so, as those of jobs usually are (Harchol-Balter, "Task assignment with unknown duration",
    2002).
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    kinds = [(each, pictures) for each in service_times.read() for pictures in PICTURES]
    costs = [statistics.mean(measured.seconds) * pictures for measured, pictures in kinds]
    mean = len(costs) / sum(1 / cost for cost in costs)
    chosen = chance.choices(kinds, [1 / cost for cost in costs], k=count)
    times = itertools.accumulate(chance.expovariate(load * PODS / mean) for _ in chosen)
    return [
        Arrival(at, measured.side, measured.steps, pictures, sum(chance.choices(measured.seconds, k=pictures)))
        for at, (measured, pictures) in zip(times, chosen, strict=True)
    ]


class Pod:
    """Does one request after the other, in the order in which they came."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._turn = asyncio.Lock()

    async def work(self, seconds: float) -> None:
        """Return when a request is done here."""
        self.in_flight += 1
        async with self._turn:
            await asyncio.sleep(seconds)
        self.in_flight -= 1


class Predicting:
    """The router's own parts."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self._pods = {f"pod-{number}": pod for number, pod in enumerate(pods)}
        self._costs = CostModel()
        self._endpoints = Endpoints(2.0, lambda _: None)
        self._dispatcher = Dispatcher(
            self._endpoints,
            self._costs,
            self,
            Limits(requests=10**6, seconds=1e9),
            random.Random(1),  # noqa: S311
        )
        self._numbers = itertools.count()
        self._endpoints.replace(
            Address(uid=uid, model=MODEL, host="127.0.0.1", port=1, management_port=1) for uid in self._pods
        )
        for endpoint in self._endpoints:
            endpoint.hear(_idle(), MODEL, now(), now())

    async def serve(self, arrival: Arrival) -> Outcome:
        """Place a request and have it done."""
        arrived = now()
        request = Request(
            number=next(self._numbers),
            model=MODEL,
            rows=arrival.pictures,
            shape=arrival.shape,
            arrived=arrived,
            timeout=1e9,
            hold_seconds=1.0,
        )
        endpoint = await self._dispatcher.place(request)
        placed, predicted = now(), endpoint.remaining_seconds(now())
        await self._pods[endpoint.address.uid].work(arrival.seconds)
        self._costs.learn(MODEL, DEVICE, arrival.shape, arrival.seconds / arrival.pictures)
        self._report(endpoint)
        self._dispatcher.ended(request, endpoint)
        latency = now() - arrived
        return Outcome(latency, latency / arrival.seconds, predicted, now() - placed)

    def _report(self, endpoint: Endpoint) -> None:
        """Tell what a pod tells with a reply: its own prediction of the rest, learned as ours is."""
        others = list(endpoint.running.values())[1:]
        endpoint.report(0 if others else 10, sum(each.seconds for each in others), now(), now())

    def cause(self, key: str) -> ApiError | None:
        """Say that pods are there."""
        del key

    def id_of(self, key: str) -> str:
        """Return the key."""
        return key

    def words(self, key: str) -> str:
        """Say nothing."""
        return key


def _idle() -> ServerStatus:
    return ServerStatus(
        version="1",
        state="ready",
        uptime_seconds=1.0,
        device=DEVICE,
        models=(ModelStatus(id=MODEL, state="ready"),),
        capacity=Capacity(
            running_rows=0, queued_rows=0, free_rows=10, running_requests=0, queued_requests=0, requests_at_once=1
        ),
        work=Work(
            predicted_seconds=0.0,
            device_seconds_total=0.0,
            evaluations_total=0,
            images_total=0,
            last_step_age_seconds=None,
        ),
    )


class AtOnce:
    """Sends each request to a pod when it comes; it waits there. ``choose`` picks the pod."""

    def __init__(self, pods: Sequence[Pod], choose: Callable[[Sequence[Pod]], Pod]) -> None:
        self._pods = pods
        self._choose = choose

    async def serve(self, arrival: Arrival) -> Outcome:
        """Have a request done."""
        arrived = now()
        await self._choose(self._pods).work(arrival.seconds)
        latency = now() - arrived
        return Outcome(latency, latency / arrival.seconds, 0.0, latency)


def least_in_flight(chance: random.Random) -> Callable[[Sequence[Pod]], Pod]:
    """Return the pod with the fewest requests, any of equals."""

    def choose(pods: Sequence[Pod]) -> Pod:
        fewest = min(pod.in_flight for pod in pods)
        return chance.choice([pod for pod in pods if pod.in_flight == fewest])

    return choose


def round_robin() -> Callable[[Sequence[Pod]], Pod]:
    """Return the pods in turn."""
    turns: deque[int] = deque(range(PODS))

    def choose(pods: Sequence[Pod]) -> Pod:
        turns.rotate(-1)
        return pods[turns[0]]

    return choose


def policies(pods: Sequence[Pod]) -> dict[str, Callable[[Arrival], Coroutine[None, None, Outcome]]]:
    """Return how each policy serves a request; one of them is used with these pods."""
    chance = random.Random(2)  # noqa: S311 - no secret
    return {
        "least in flight": AtOnce(pods, least_in_flight(chance)).serve,
        "round robin": AtOnce(pods, round_robin()).serve,
        "predicted finish": Predicting(pods).serve,
    }


def simulate(policy: str, load: float, count: int) -> list[Outcome]:
    """Return the outcomes of one policy."""

    async def run() -> list[Outcome]:
        serve = policies([Pod() for _ in range(PODS)])[policy]

        async def one(arrival: Arrival) -> Outcome:
            await asyncio.sleep(arrival.at)
            return await serve(arrival)

        return await asyncio.gather(*(one(arrival) for arrival in arrivals(load, count, seed=3)))

    outcomes: list[Outcome] = virtual_time.run(run())
    return outcomes


def line(load: float, policy: str, outcomes: Sequence[Outcome], base: Line | None) -> Line:
    """Return the figures of one policy; ``base`` is least in flight."""
    cuts = statistics.quantiles((each.latency for each in outcomes), n=100, method="inclusive")
    slowdown = statistics.quantiles((each.slowdown for each in outcomes), n=100, method="inclusive")[98]
    bias = error = None
    if policy == "predicted finish":
        # What was placed before anything was learned says nothing of the model.
        known = [(each.actual - each.predicted) / each.actual for each in outcomes[len(outcomes) // 10 :]]
        bias, error = statistics.mean(known), statistics.quantiles(map(abs, known), n=10)[8]
    return Line(
        load=load,
        policy=policy,
        p50=cuts[49],
        p95=cuts[94],
        p99=cuts[98],
        p99_of_least_in_flight=cuts[98] / (base.p99 if base else cuts[98]),
        slowdown_p99=slowdown,
        slowdown_p99_of_least_in_flight=slowdown / (base.slowdown_p99 if base else slowdown),
        bias=bias,
        error_p90=error,
    )


def real(count: int) -> list[Line]:
    """Return the figures of real processes at the middle load, time running five times as fast."""
    load, lines, base = LOADS[1], [], None
    for policy in ("least in flight", "round robin", "predicted finish"):
        with ExitStack() as stack:
            url = _front(stack, policy)
            outcomes = asyncio.run(_open_loop(url, arrivals(load, count, seed=4)))
        found = line(load, policy, outcomes, base)
        base = base or found
        lines.append(msgspec.structs.replace(found, policy=f"{policy}, real", bias=None, error_p90=None))
    return lines


def _front(stack: ExitStack, policy: str) -> str:
    """Start four servers and what distributes requests between them; return its URL."""
    table = {"SLEEPING_TABLE": str(service_times.FILE), "SLEEPING_SCALE": str(SCALE)}
    servers = stack.enter_context(sleeping_servers(PODS, "--max-queued-requests", "1000", environment=table))
    if policy == "predicted finish":
        router = stack.enter_context(start_router(*endpoints(servers)))
        while router.serving() < PODS:
            time.sleep(0.05)
        return router.url
    folder, port = Path(stack.enter_context(tempfile.TemporaryDirectory())), router_hop.free_port()
    upstreams = " ".join(f"server {server.url.removeprefix('http://')};" for server in servers)
    method = "least_conn;" if policy == "least in flight" else ""
    configuration = NGINX.format(folder=folder, port=port, pods=f"{method} {upstreams} keepalive 64;")
    command = router_hop.nginx_command(folder, configuration)
    stack.enter_context(router_hop.program(command, port))
    return f"http://127.0.0.1:{port}"


async def _open_loop(url: str, expected: Sequence[Arrival]) -> list[Outcome]:
    """Send each request when its time has come, however many are there."""
    loop = asyncio.get_running_loop()
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        began = loop.time()

        async def one(arrival: Arrival) -> Outcome:
            await asyncio.sleep(began + arrival.at * SCALE - loop.time())
            sent = loop.time()
            body = {
                "model": "imagegen/shapes",
                "prompt": "x",
                "size": f"{arrival.side}x{arrival.side}",
                "num_inference_steps": arrival.steps,
                "n": arrival.pictures,
            }
            async with session.post("/v1/images/generations", json=body) as answer:
                await answer.read()
                if answer.status != 200:
                    raise SystemExit(f"a request was answered {answer.status}: the figures would mean nothing")
            took = (loop.time() - sent) / SCALE
            return Outcome(took, took / arrival.seconds, took, took)

        return await asyncio.gather(*(one(arrival) for arrival in expected))


def show(lines: Sequence[Line]) -> None:
    """Print the table."""
    print(f"{'load':>5}  {'policy':22} {'p50 s':>7} {'p95 s':>7} {'p99 s':>7}  ratio  slowdown p99  ratio")
    for each in lines:
        latency = f"{each.p50:7.2f} {each.p95:7.2f} {each.p99:7.2f} {each.p99_of_least_in_flight:6.2f}"
        slowdown = f"{each.slowdown_p99:13.1f} {each.slowdown_p99_of_least_in_flight:6.2f}"
        told = "" if each.bias is None else f"   bias {each.bias:+.0%}, p90 of error {each.error_p90:.0%}"
        print(f"{each.load:5.2f}  {each.policy:22} {latency} {slowdown}{told}")
    print("ratio: of least in flight; the target is 0.70")


def simulated(count: int) -> list[Line]:
    """Return the lines of all loads and policies, in virtual time; the same on every machine."""
    lines: list[Line] = []
    for load in LOADS:
        alone = [Outcome(each.seconds, 1.0, 0.0, 0.0) for each in arrivals(load, count, seed=3)]
        least = line(load, "least in flight", simulate("least in flight", load, count), None)
        lines += [line(load, "alone", alone, least), least]
        lines += [
            line(load, policy, simulate(policy, load, count), least) for policy in ("round robin", "predicted finish")
        ]
    return lines


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the requests")
    arguments.add_argument("--real", action="store_true", help="processes too, which takes some minutes")
    given = arguments.parse_args()
    count = 2000 if given.quick else 20_000
    lines = simulated(count)
    if given.real:
        lines += real(200 if given.quick else 800)
    show(lines)
    print(write_json("mixed_load", Results(this_machine("imagegen"), tuple(lines))))


if __name__ == "__main__":
    main()
