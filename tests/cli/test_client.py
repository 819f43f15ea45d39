"""Which server is asked, with which key, and what people read when it refuses, is away or is something else."""

import socket
import threading
from pathlib import Path

import msgspec
import pytest

from command_line import assert_failed, generate, imagegen, names
from fakes import Answer, FakeImageServer, refusal
from imagegen_contract.errors import ErrorCode

GENERATE = "/v1/images/generations"
API_KEY = "sk-known-to-nobody-else"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            refusal(ErrorCode.MODEL_NOT_FOUND, "no model is called sd;\ndid you mean sd14?", x_request_id="r-17"),
            "imagegen: no model is called sd; did you mean sd14? (model_not_found, request r-17)\n",
            id="an API error is shown in one line with its code and request",
        ),
        pytest.param(
            refusal(ErrorCode.MODEL_LOADING, "shapes is loading", retry_after="5"),
            "imagegen: shapes is loading (model_loading, try again in 5 s)\n",
            id="a time to come back is passed on",
        ),
        pytest.param(
            Answer(status=502, body=b"<html>Bad Gateway</html>"),
            "imagegen: the server answered 502 Bad Gateway, and not in the words of this API\n",
            id="a proxy's error is not taken for the server's",
        ),
    ],
)
def test_a_refusal_is_shown(tmp_path: Path, answer: Answer, said: str) -> None:
    with FakeImageServer(answers={GENERATE: answer}) as server:
        done = generate(tmp_path, server)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert names(tmp_path) == []


@pytest.mark.parametrize("body", [b"<html></html>", b'{"created": 1}', b"\xff", b""], ids=["html", "else", "?", "none"])
def test_an_answer_of_something_else_is_an_error(tmp_path: Path, body: bytes) -> None:
    with FakeImageServer(answers={GENERATE: Answer(body=body)}) as server:
        done = generate(tmp_path, server)
    assert_failed(done, server.url, "no imagegen server")


def test_a_damaged_picture_is_not_written(tmp_path: Path) -> None:
    with FakeImageServer() as server:
        generate(tmp_path, server, "--output", "good/")
        whole = server.answer(server.received[0])
    damaged = msgspec.structs.replace(whole, body=whole.body.replace(b'"b64_json":"', b'"b64_json":"*'))
    with FakeImageServer(answers={GENERATE: damaged}) as server:
        assert_failed(generate(tmp_path, server, "--output", "bad/"), "damaged")
    assert names(tmp_path / "bad") == []


def test_a_server_that_is_away_says_how_to_start_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert_failed(imagegen(tmp_path, "models", "list", IMAGEGEN_URL=url), url, "make serve", "--server")


def test_a_connection_that_breaks_is_an_error(tmp_path: Path) -> None:
    def hang_up() -> None:
        listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert_failed(imagegen(tmp_path, "models", "list", "--server", url), url, "broke")


def test_a_prompt_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    with FakeImageServer() as server:
        assert_failed(generate(tmp_path, server, "--negative-prompt", "latin-1 \udce9"), "not Unicode")


def test_a_silent_server_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    with FakeImageServer(silent=True) as server:
        assert_failed(generate(tmp_path, server, "--timeout", "0.2"), server.url, "within 0.2 seconds")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:y", "http://[::1", "http://x/a b"])
def test_an_address_that_is_none_is_shown(tmp_path: Path, url: str) -> None:
    assert_failed(imagegen(tmp_path, "models", "list", "--server", url), url, "no address")


def test_an_address_that_leads_nowhere_is_shown(tmp_path: Path) -> None:
    url = "http://two..dots"
    assert_failed(imagegen(tmp_path, "models", "list", "--server", url), url, "cannot be reached")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["models", "list", "--server", "{url}"], id="after the command"),
        pytest.param(["--server", "{url}", "models", "list"], id="before the command"),
        pytest.param(["models", "list", "--server", "{url}/"], id="with a slash"),
        pytest.param(["models", "list", "--server", "{url}/v1"], id="as OpenAI's clients have it"),
    ],
)
def test_the_server_of_the_command_line_wins_over_the_environment(tmp_path: Path, arguments: list[str]) -> None:
    with FakeImageServer() as named, FakeImageServer() as other:
        filled = [argument.format(url=named.url) for argument in arguments]
        assert imagegen(tmp_path, *filled, IMAGEGEN_URL=other.url).returncode == 0
    assert [request.path for request in named.received] == ["/v1/models"]
    assert other.received == []


def test_a_path_before_v1_is_kept(tmp_path: Path) -> None:
    with FakeImageServer() as server:
        imagegen(tmp_path, "models", "list", "--server", f"{server.url}/pictures/v1/")
    assert [request.path for request in server.received] == ["/pictures/v1/models"]


@pytest.mark.parametrize(
    ("key", "header"), [(API_KEY, f"Bearer {API_KEY}"), (f"{API_KEY}\n", f"Bearer {API_KEY}"), ("", None)]
)
def test_the_key_is_sent_as_bearer(tmp_path: Path, key: str, header: str | None) -> None:
    with FakeImageServer() as server:
        imagegen(tmp_path, "models", "list", IMAGEGEN_URL=server.url, IMAGEGEN_API_KEY=key)
    assert server.received[0].headers.get("authorization") == header


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        pytest.param(API_KEY, refusal(ErrorCode.INVALID_API_KEY, "this key is not known"), id="refused"),
        pytest.param(API_KEY, Answer(body=b"?"), id="answered by something else"),
        pytest.param(f"{API_KEY}\nx: y", Answer(), id="two lines"),
        pytest.param(f"{API_KEY}\u00e9", Answer(), id="not ASCII"),
    ],
)
def test_the_key_is_never_printed(tmp_path: Path, key: str, answer: Answer) -> None:
    with FakeImageServer(answers={"/v1/models": answer}) as server:
        done = imagegen(tmp_path, "models", "list", IMAGEGEN_URL=server.url, IMAGEGEN_API_KEY=key)
    assert_failed(done)
    assert API_KEY not in done.stdout + done.stderr
    assert API_KEY not in imagegen(tmp_path, "--help", IMAGEGEN_API_KEY=key).stdout
