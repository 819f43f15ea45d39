"""`imagegen models load` and `unload`: what is asked, what is shown on the way, how it ends."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from command_line import assert_failed, imagegen_here, terminal
from fakes import Answer, FakeImageServer, refusal
from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import ModelInfo
from imagegen_contract.load_failures import LoadFailure
from model_states import FAILED, LOADING, SHAPES, UNLOADED, downloading

Here = pytest.CaptureFixture[str]

READY = msgspec.structs.replace(SHAPES, id=UNLOADED.id, aliases=("idle",))
WAITING = msgspec.structs.replace(UNLOADED, state="loading", stage="waiting for its turn")
BROKEN = msgspec.structs.replace(FAILED, id=UNLOADED.id)
RETRYING = msgspec.structs.replace(
    UNLOADED,
    state="loading",
    stage="waiting for its next try",
    reason=LoadFailure.HUB_UNREACHABLE,
    error="no connection",
)


def asked(server: FakeImageServer) -> list[str]:
    """List the requests that came."""
    return [f"{request.method} {request.path}" for request in server.received]


def test_load_waits_until_the_model_is_ready(capsys: Here) -> None:
    on_the_way = [WAITING, downloading(45.3, 123.0), READY]
    with FakeImageServer(UNLOADED, loads=on_the_way) as server:
        done = imagegen_here(capsys, "models", "load", "a/idle", IMAGEGEN_URL=server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "a/idle: waiting for its turn",
        "a/idle: downloading, 45 %, 2:03 left",
        "a/idle is ready: cpu, 14.4 MB",
    ]
    assert asked(server) == ["POST /v1/models/a%2Fidle/load", *["GET /v1/models/a%2Fidle"] * 2]


@pytest.mark.slow
def test_without_a_terminal_a_line_stands_for_ten_percent(capsys: Here) -> None:
    on_the_way = [*(downloading(percent, 60.0) for percent in (10, 15, 19.9, 20)), READY]
    with FakeImageServer(UNLOADED, loads=on_the_way) as server:
        done = imagegen_here(capsys, "models", "load", "a/idle", IMAGEGEN_URL=server.url)
    assert [line for line in done.stdout.splitlines() if "%" in line] == [
        "a/idle: downloading, 10 %, 1:00 left",
        "a/idle: downloading, 20 %, 1:00 left",
    ]


@pytest.mark.slow
def test_on_a_terminal_one_line_changes(tmp_path: Path) -> None:
    on_the_way = [downloading(10, 3725.0), downloading(15), READY]
    with FakeImageServer(UNLOADED, loads=on_the_way) as server:
        code, screen = terminal(tmp_path, "models", "load", "a/idle", "--server", server.url, columns=36).read_all()
    line, end, _ = screen.split("\r\n")
    assert (code, end) == (0, "a/idle is ready: cpu, 14.4 MB")
    assert line.split("\r") == [
        "",
        "a/idle: downloading, 10 %, 1:02:05 \x1b[K",  # one column less than there are
        "a/idle: downloading, 15 %\x1b[K",
    ]


@pytest.mark.parametrize(
    ("on_the_way", "said"),
    [
        pytest.param([BROKEN], ["a/idle", "UnsafeWeights", "unet holds only pickles"], id="at once"),
        pytest.param([WAITING, BROKEN], ["UnsafeWeights", "unet holds only pickles"], id="on the way"),
        pytest.param([WAITING, UNLOADED], ["unloaded while"], id="somebody unloads it"),
    ],
)
def test_a_load_that_fails_ends_with_its_cause(capsys: Here, on_the_way: Sequence[ModelInfo], said: list[str]) -> None:
    with FakeImageServer(UNLOADED, loads=on_the_way) as server:
        assert_failed(imagegen_here(capsys, "models", "load", "a/idle", IMAGEGEN_URL=server.url), *said)


def test_between_two_tries_the_last_failure_is_shown(capsys: Here) -> None:
    with FakeImageServer(UNLOADED, loads=[RETRYING, READY]) as server:
        done = imagegen_here(capsys, "models", "load", "a/idle", IMAGEGEN_URL=server.url)
    assert done.stdout.splitlines()[0] == "a/idle: waiting for its next try, last failure: no connection"
    assert done.returncode == 0


@pytest.mark.slow
def test_a_model_that_is_leaving_is_not_taken_for_ready(capsys: Here) -> None:
    leaving = msgspec.structs.replace(READY, stage="left the catalog")
    with FakeImageServer(UNLOADED, loads=[leaving, WAITING, READY]) as server:
        done = imagegen_here(capsys, "models", "load", "a/idle", IMAGEGEN_URL=server.url)
    assert done.stdout.splitlines()[0] == "a/idle: left the catalog"
    assert len(done.stdout.splitlines()) == 3


def test_a_model_that_is_loaded_needs_nothing(capsys: Here) -> None:
    with FakeImageServer(SHAPES) as server:
        done = imagegen_here(capsys, "models", "load", "shapes", IMAGEGEN_URL=server.url)
    assert (done.returncode, done.stdout) == (0, "imagegen/shapes is loaded already: cpu, 14.4 MB\n")


def test_no_wait_returns_at_once(capsys: Here) -> None:
    with FakeImageServer(UNLOADED, loads=[WAITING, READY]) as server:
        done = imagegen_here(capsys, "models", "load", "a/idle", "--no-wait", IMAGEGEN_URL=server.url)
    assert (done.returncode, asked(server)) == (0, ["POST /v1/models/a%2Fidle/load"])
    assert "models list" in done.stdout


@pytest.mark.slow
def test_ctrl_c_leaves_the_load_to_the_server(tmp_path: Path) -> None:
    with FakeImageServer(UNLOADED, loads=[LOADING] * 1000) as server:
        loading = terminal(tmp_path, "models", "load", "a/idle", "--server", server.url)
        loading.read_until("45 %")
        loading.interrupt()
        code, rest = loading.read_all()
    assert (code, rest.splitlines()[-1]) == (130, "imagegen: interrupted")
    assert [request.method for request in server.received].count("POST") == 1


def test_unload_says_when_it_is_done(capsys: Here) -> None:
    with FakeImageServer(SHAPES) as server:
        done = imagegen_here(capsys, "models", "unload", "shapes", IMAGEGEN_URL=server.url)
    assert (done.returncode, done.stdout) == (0, "imagegen/shapes is unloaded\n")
    assert asked(server) == ["POST /v1/models/shapes/unload"]


def test_a_model_that_came_back_is_not_called_unloaded(capsys: Here) -> None:
    answer = Answer(body=msgspec.json.encode(LOADING))
    with FakeImageServer(answers={"/v1/models/shapes/unload": answer}) as server:
        assert_failed(imagegen_here(capsys, "models", "unload", "shapes", IMAGEGEN_URL=server.url), "loading again")


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refusal(ErrorCode.METHOD_NOT_ALLOWED, "POST is not allowed here"), id="405"),
        pytest.param(refusal(ErrorCode.NOT_FOUND, "there is no such route"), id="404"),
        pytest.param(Answer(status=404, body=b"<html>Not Found</html>"), id="404 of something else"),
    ],
)
def test_a_server_that_does_not_offer_it_is_named(capsys: Here, action: str, answer: Answer) -> None:
    with FakeImageServer(answers={f"/v1/models/shapes/{action}": answer}) as server:
        done = imagegen_here(capsys, "models", action, "shapes", IMAGEGEN_URL=server.url)
    assert_failed(done, server.url, f"does not {action} models on request")


def test_an_unknown_model_is_the_servers_to_name(capsys: Here) -> None:
    with FakeImageServer(SHAPES) as server:
        done = imagegen_here(capsys, "models", "load", "a/nother", IMAGEGEN_URL=server.url)
    assert_failed(done, "'a/nother' does not exist", "model_not_found")


def test_a_server_that_goes_away_while_it_loads_is_an_error(capsys: Here) -> None:
    gone = Answer(status=502, body=b"<html></html>")
    with FakeImageServer(UNLOADED, loads=[WAITING, READY], answers={"/v1/models/a%2Fidle": gone}) as server:
        assert_failed(imagegen_here(capsys, "models", "load", "a/idle", IMAGEGEN_URL=server.url), "502")
