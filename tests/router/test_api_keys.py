"""API keys at a real router: who may ask, how often, how much at once, and whose turn it is."""

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from command_line import imagegen
from conftest import Show
from imagegen_contract.errors import ErrorCode
from router_process import RouterProcess, endpoints, sleeping_servers, start_router
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SHAPES = "imagegen/shapes"
PICTURE = {"model": SHAPES, "prompt": "x", "size": "64x64", "num_inference_steps": 4, "seed": 1}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a file of keys with nobody in it."""
    file = tmp_path / "keys.json"
    file.write_text("[]")
    return file


def add(keys: Path, name: str, *limits: str) -> str:
    """Make a key as people do; return it."""
    done = imagegen(keys.parent, "keys", "add", "--file", keys.name, name, *limits)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def router(keys: Path) -> Iterator[RouterProcess]:
    with sleeping_servers(1) as servers, start_router(*endpoints(servers), "--keys-file", str(keys)) as running:
        wait_until(lambda: running.serving() == 1, 10, "the pod to take work")
        yield running


def post(router: RouterProcess, key: str, **fields: object) -> httpx.Response:
    return router.post({**PICTURE, **fields}, headers={"authorization": f"Bearer {key}"})


def code(answer: httpx.Response) -> str:
    return answer.json()["error"]["code"]


def wait_allowed(router: RouterProcess, key: str, *, allowed: bool = True) -> None:
    wait_until(lambda: (post(router, key).status_code == 200) == allowed, 10, "the file to be read")


def test_a_key_is_needed_where_there_are_keys(router: RouterProcess, keys: Path) -> None:
    key = add(keys, "alice")
    wait_allowed(router, key)
    assert router.get("/healthz").status_code == 200
    refused = [
        router.post(PICTURE),
        post(router, "none"),
        post(router, key[:-1]),
        post(router, key + "x"),
        router.post(PICTURE, headers={"authorization": f"Basic {key}"}),
        router.get("/v1/models"),
    ]
    assert {(each.status_code, code(each)) for each in refused} == {(401, ErrorCode.INVALID_API_KEY)}
    assert key not in "".join(map(str, router.log))


def test_a_revoked_key_is_refused_and_others_go_on(router: RouterProcess, keys: Path) -> None:
    alice, bob = add(keys, "alice"), add(keys, "bob")
    wait_allowed(router, alice)
    identity = alice.split("-")[2]
    done = imagegen(keys.parent, "keys", "revoke", "--file", keys.name, identity)
    assert done.returncode == 0, done.stderr
    wait_allowed(router, alice, allowed=False)
    assert post(router, bob).status_code == 200


def test_a_broken_file_leaves_the_keys_as_they_were(router: RouterProcess, keys: Path) -> None:
    key = add(keys, "alice")
    wait_allowed(router, key)
    keys.write_text("[{")
    router.next_line("the file of keys cannot be read; the keys are as before", 10)
    assert post(router, key).status_code == 200


def test_a_key_may_send_so_many_requests_a_minute(router: RouterProcess, keys: Path) -> None:
    key = add(keys, "alice", "--requests-per-minute", "18")
    wait_until(lambda: post(router, key).status_code != 401, 10, "the file to be read")
    statuses = [post(router, key).status_code for _ in range(6)]
    limited = post(router, key)
    assert statuses[-1] == 429
    assert (limited.status_code, code(limited)) == (429, ErrorCode.RATE_LIMIT_EXCEEDED)
    assert 0 < float(limited.headers["retry-after"]) <= 4


def test_a_key_may_have_so_many_requests_at_once(router: RouterProcess, keys: Path) -> None:
    key = add(keys, "alice", "--concurrency", "2")
    wait_allowed(router, key)
    with ThreadPoolExecutor(3) as pool:
        long = [pool.submit(post, router, key, num_inference_steps=50) for _ in range(2)]
        wait_until(lambda: router.waiting() + router.running() == 2, 10, "two to be there")
        third = post(router, key)
        assert [each.result(20).status_code for each in long] == [200, 200]
    assert (third.status_code, code(third)) == (429, ErrorCode.RATE_LIMIT_EXCEEDED)
    wait_until(lambda: post(router, key).status_code == 200, 5, "its places to be free again")


@pytest.mark.acceptance
def test_a_greedy_key_does_not_starve_a_small_one(router: RouterProcess, keys: Path, show: Show) -> None:
    """Forty requests of one client are always there; the other one sends a request at a time."""
    greedy, small = add(keys, "greedy"), add(keys, "small")
    wait_allowed(router, small)
    alone = statistics.median(_seconds(router, small) for _ in range(10))
    over = threading.Event()
    served: list[int] = []

    def crowd() -> None:
        while not over.is_set():
            served.append(post(router, greedy).status_code)

    with ThreadPoolExecutor(40) as pool:
        clients = [pool.submit(crowd) for _ in range(40)]
        wait_until(lambda: router.waiting() > 30, 10, "the crowd")
        before = len(served)
        beside = [_seconds(router, small) for _ in range(30)]
        meanwhile = len(served) - before
        over.set()
        for client in clients:
            client.result(30)
    slowest, middle = max(beside), statistics.median(beside)
    assert middle < 4 * alone, "its turn comes after the one that runs and the one that is sent ahead"
    assert 15 < meanwhile < 100, (
        "they take turns; while the small one is between two of its own, the greedy one has one more"
    )
    assert set(served) == {200}
    show(
        "6.5 a greedy key of 40 clients against a small one",
        f"small: {1e3 * alone:.0f} ms alone, {1e3 * middle:.0f} ms beside it (worst {1e3 * slowest:.0f}); "
        f"30 requests; greedy: {meanwhile} meanwhile",
    )


def _seconds(router: RouterProcess, key: str) -> float:
    began = time.monotonic()
    assert post(router, key).status_code == 200
    return time.monotonic() - began
