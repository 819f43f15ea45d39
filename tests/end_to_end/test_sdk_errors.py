"""The official openai SDK is refused in words: the right class, param and code, and a retry only where one helps.

Not here: 401 (only a router asks for keys), 408 (test_hostile_connections.py: the SDK sends no slow bodies), and what
needs another model or device: content_policy_violation, out_of_memory, non_finite_output, internal_error.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse

from answers import address, attempts, new_request_id, valid_error
from conftest import Show
from imagegen_contract.errors import MAX_RETRY_AFTER_SECONDS
from imagegen_contract.images import MAX_SEED
from imagegen_contract.names import REQUEST_ID_HEADER, REQUEST_TIMEOUT_HEADER, SHOULD_RETRY_HEADER
from server_process import ServerProcess, start_server, wait_until

PROMPT = "a red circle"
SMALL = {"size": "64x64", "num_inference_steps": 1}
SECONDS_OF_WORK: dict[str, Any] = {"size": "512x512", "num_inference_steps": 12, "seed": 1}
"""Two seconds or more on two CPU cores: long enough to be in the way, short enough to wait for."""

Connect = Callable[..., openai.OpenAI]
Refusal = tuple[dict[str, Any], str, str | None, str]
"""Fields of the request, then code, param and words of the answer."""

REFUSED: dict[str, Refusal] = {
    "an unknown field": ({"sed": 1}, "unknown_parameter", "sed", "seed"),
    "an unknown field inside a known one": ({"user": {"name": "x"}}, "invalid_request", "user", "string"),
    "text for a number": ({"n": "two"}, "invalid_request", "n", 'found "two"'),
    "a fraction for a whole number": ({"n": 1.5}, "invalid_request", "n", "1.5"),
    "a number for text": ({"prompt": 5}, "invalid_request", "prompt", "string"),
    "null for what is required": ({"prompt": None}, "invalid_request", "prompt", "string"),
    "a blank prompt": ({"prompt": " \n"}, "invalid_request", "prompt", "must not be empty"),
    "a prompt of too many characters": ({"prompt": "x" * 32_001}, "invalid_request", "prompt", "32001"),
    "a prompt of too many tokens": ({"prompt": "red " * 301}, "prompt_too_long", "prompt", "301 tokens"),
    "a negative prompt of too many tokens": (
        {"negative_prompt": "red " * 302},
        "prompt_too_long",
        "negative_prompt",
        "302 tokens",
    ),
    "a negative prompt that could do nothing": (
        {"negative_prompt": "red", "guidance_scale": 1},
        "unsupported_value",
        "negative_prompt",
        "more than 1",
    ),
    "no picture": ({"n": 0}, "invalid_request", "n", ">= 1"),
    "too many pictures": ({"n": 11}, "invalid_request", "n", "<= 10"),
    "a size in words": ({"size": "large"}, "invalid_request", "size", "WIDTHxHEIGHT"),
    "a size that is no multiple of 8": ({"size": "100x60"}, "invalid_request", "size", "nearest valid size: 96x64"),
    "more pixels than the model makes": (
        {"size": "1024x1024"},
        "image_too_large",
        "size",
        "nearest valid size: 512x512",
    ),
    "more pixels, proportions kept": ({"size": "2048x512"}, "image_too_large", "size", "nearest valid size: 1024x256"),
    "an unknown format": ({"output_format": "gif"}, "invalid_request", "output_format", "jpeg, png, webp"),
    "compression beyond its range": ({"output_compression": 101}, "invalid_request", "output_compression", "<= 100"),
    "compression that png lacks": ({"output_compression": 50}, "unsupported_value", "output_compression", "lossless"),
    "an unknown quality": ({"quality": "best"}, "invalid_request", "quality", "medium"),
    "a link to the picture": ({"response_format": "url"}, "unsupported_value", "response_format", "b64_json"),
    "a transparent background": ({"background": "transparent"}, "unsupported_value", "background", "opaque"),
    "a stream": ({"stream": True}, "unsupported_value", "stream", "not supported"),
    "partial images": ({"partial_images": 1}, "unsupported_value", "partial_images", "stream"),
    "a negative seed": ({"seed": -1}, "invalid_request", "seed", ">= 0"),
    "a seed that JSON cannot keep": ({"seed": MAX_SEED + 1}, "invalid_request", "seed", str(MAX_SEED)),
    "a seed with no room for the next": ({"seed": MAX_SEED, "n": 2}, "invalid_request", "seed", "seed + n - 1"),
    "no step": ({"num_inference_steps": 0}, "invalid_request", "num_inference_steps", ">= 1"),
    "more steps than the model allows": ({"num_inference_steps": 101}, "invalid_request", "num_inference_steps", "100"),
    "more steps than the sampler has": (
        {"num_inference_steps": 51, "scheduler": "lcm"},
        "invalid_request",
        "num_inference_steps",
        "1 to 50",
    ),
    "more guidance than the model allows": ({"guidance_scale": 15.5}, "invalid_request", "guidance_scale", "0 to 15"),
    "an unknown sampler": ({"scheduler": "dpm++"}, "unsupported_value", "scheduler", "dpmpp_2m_karras"),
}


def ask(client: openai.OpenAI, request_id: str = "", **fields: Any) -> ImagesResponse:
    """Ask for one small picture unless ``fields`` say otherwise, and get it."""
    headers = {REQUEST_ID_HEADER: request_id or new_request_id()}
    reply = client.images.generate(prompt=PROMPT, extra_body={**SMALL, **fields}, extra_headers=headers)
    assert reply.data
    return reply


def refused(client: openai.OpenAI, request_id: str = "", **fields: Any) -> openai.APIStatusError:
    """Ask for what cannot be had; return what the SDK raises, once it is known to be a proper error."""
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, request_id, **fields)
    return checked(raised.value)


def checked(error: openai.APIStatusError) -> openai.APIStatusError:
    """Return ``error``, whose SDK attributes say the same as its body."""
    response = error.response
    body = valid_error(error.status_code, response.headers, response.content)
    assert (error.code, error.param, error.type) == (body.code, body.param, body.type)
    assert error.request_id == response.headers[REQUEST_ID_HEADER]
    assert body.message in error.message
    return error


def send(client: openai.OpenAI, path: str, content: bytes, content_type: str = "application/json") -> None:
    """Send what the SDK itself would never write."""
    client.post(path, cast_to=ImagesResponse, content=content, options={"headers": {"Content-Type": content_type}})


@pytest.fixture(scope="module")
def retrying(server: ServerProcess) -> Iterator[openai.OpenAI]:
    """Return a client that would ask three times."""
    with server.client(max_retries=2) as client:
        yield client


@pytest.fixture(scope="module")
def narrow() -> Iterator[ServerProcess]:
    """Return a server where nothing may wait and bodies are short."""
    with start_server("--max-queued-requests", "0", "--max-body-bytes", "1024") as running:
        running.wait_ready()
        yield running


@pytest.mark.parametrize(("fields", "code", "param", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_names_field_and_rule(
    retrying: openai.OpenAI, fields: dict[str, Any], code: str, param: str, words: str
) -> None:
    error = refused(retrying, **fields)
    assert isinstance(error, openai.BadRequestError)
    assert (error.code, error.param) == (code, param)
    assert words in error.message


@pytest.mark.acceptance
def test_no_refusal_is_asked_for_twice(server: ServerProcess, retrying: openai.OpenAI, show: Show) -> None:
    seen: list[list[int]] = []
    for fields, _, _, _ in REFUSED.values():
        request_id = new_request_id()
        assert refused(retrying, request_id, **fields).request_id == request_id
        seen.append(attempts(server, request_id))
    assert seen == [[400]] * len(REFUSED)
    show("2 openai SDK: refusals carry class, param, code and id", f"{len(seen)} kinds, each asked for once of 3 times")


MALFORMED = {
    "no JSON": (b"{", "not valid JSON"),
    "nothing": (b"", "the body is empty"),
    "JSON and more": (b'{"prompt": "x"}]', "not valid JSON"),
    "a list": (b"[]", "the body: expected object"),
    "no prompt": (b"{}", "prompt: missing"),
    "a number that is none": (b'{"prompt": "x", "guidance_scale": NaN}', "not valid JSON"),
    "a wrong value before what is no JSON": (b'{"n": "x", nonsense', "n: expected integer"),
    "a wrong value before what is too deep": (b'{"n": "x", "user": ' + b"[" * 2000, "n: expected integer"),
    "a number that no float holds": (
        b'{"prompt": "x", "guidance_scale": 1e999}',
        "guidance_scale: number out of range",
    ),
}


@pytest.mark.parametrize(("content", "words"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_body_that_is_no_request_is_a_bad_request(retrying: openai.OpenAI, content: bytes, words: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        send(retrying, "/images/generations", content)
    error = checked(raised.value)
    assert error.code == "invalid_request"
    assert words in error.message


@pytest.mark.acceptance
def test_an_unknown_model_is_not_found_and_near_names_are_told(retrying: openai.OpenAI, show: Show) -> None:
    error = refused(retrying, model="imagegen/shape")
    assert isinstance(error, openai.NotFoundError)
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "did you mean: imagegen/shapes" in error.message
    with pytest.raises(openai.NotFoundError) as raised:
        retrying.models.retrieve("stabilityai/sdxl-trubo")
    assert checked(raised.value).code == "model_not_found"
    assert "stabilityai/sdxl-turbo" in raised.value.message
    show("2 openai SDK: an unknown model is a NotFoundError", "imagegen/shape: did you mean imagegen/shapes")


@pytest.mark.acceptance
def test_a_route_that_is_not_there_is_not_found(retrying: openai.OpenAI, show: Show) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        retrying.embeddings.create(model="shapes", input="x")
    assert checked(raised.value).code == "not_found"
    assert "/v1/embeddings" in raised.value.message
    show("2 openai SDK: an unknown route is a NotFoundError", "embeddings.create: 404 not_found")


@pytest.mark.acceptance
def test_a_wrong_method_is_told_the_right_one(retrying: openai.OpenAI, show: Show) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        retrying.get("/images/generations", cast_to=object)
    error = checked(raised.value)
    assert (error.status_code, error.code) == (405, "method_not_allowed")
    assert "POST" in error.response.headers["allow"].split(", ")
    assert "POST" in error.message
    show("2 openai SDK: a wrong method is a 405", f"allow: {error.response.headers['allow']}")


@pytest.mark.acceptance
def test_another_content_type_is_refused(retrying: openai.OpenAI, show: Show) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        send(retrying, "/images/generations", b'{"prompt": "x"}', "text/plain")
    error = checked(raised.value)
    assert (error.status_code, error.code) == (415, "unsupported_media_type")
    assert "application/json" in error.message
    show("2 openai SDK: a body of another type is a 415", "text/plain: allowed is application/json")


@pytest.mark.acceptance
def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on(
    connect: Connect, narrow: ServerProcess, show: Show
) -> None:
    client, request_id = connect(narrow, max_retries=2), new_request_id()
    error = refused(client, request_id, user="x" * 2_000_000)
    assert (error.status_code, error.code) == (413, "body_too_large")
    assert attempts(narrow, request_id) == [413]
    ask(client)
    show("2 openai SDK: a body over the limit is a 413", "2 MB of 1 KiB, asked for once, connection lives on")


@pytest.mark.acceptance
def test_a_deadline_that_passed_is_not_tried_again(server: ServerProcess, retrying: openai.OpenAI, show: Show) -> None:
    request_id = new_request_id()
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError) as raised:
        retrying.images.generate(
            prompt=PROMPT,
            extra_body=SECONDS_OF_WORK,
            extra_headers={REQUEST_TIMEOUT_HEADER: "0.05", REQUEST_ID_HEADER: request_id},
        )
    seconds = time.monotonic() - started
    error = checked(raised.value)
    assert (error.status_code, error.code) == (504, "deadline_exceeded")
    assert "0.05 s" in error.message
    assert attempts(server, request_id) == [504]
    show("2 openai SDK: a deadline of 0.05 s is a 504, not retried", f"answered after {seconds:.2f} s, asked for once")


@pytest.mark.parametrize("header", ["0", "-1", "nan", "soon", ""])
def test_a_deadline_that_is_no_time_is_refused(retrying: openai.OpenAI, header: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        retrying.images.generate(prompt=PROMPT, extra_headers={REQUEST_TIMEOUT_HEADER: header})
    assert REQUEST_TIMEOUT_HEADER in checked(raised.value).message


@pytest.mark.slow
def test_retry_after_is_never_more_than_the_sdk_honours(connect: Connect, narrow: ServerProcess) -> None:
    body = json.dumps({"prompt": PROMPT, "n": 10, "num_inference_steps": 100, "size": "512x512"}).encode()
    with socket.create_connection(address(narrow)) as busy:
        busy.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        wait_until(lambda: _running(narrow), 10, "the long request to run")
        error = refused(connect(narrow))
    assert isinstance(error, openai.RateLimitError)
    assert (error.status_code, error.code) == (429, "queue_full")
    assert error.response.headers["retry-after"] == str(MAX_RETRY_AFTER_SECONDS)
    wait_until(lambda: not _running(narrow), 60, "the device to be free once the client left")


@pytest.mark.acceptance
def test_a_full_queue_is_waited_for(connect: Connect, narrow: ServerProcess, show: Show) -> None:
    ask(connect(narrow), size="512x512")  # now the server knows what a step costs
    busy = threading.Thread(target=lambda: ask(connect(narrow), **SECONDS_OF_WORK))
    busy.start()
    wait_until(lambda: _running(narrow), 10, "the other request to run")
    told = int(refused(connect(narrow)).response.headers["retry-after"])
    started = time.monotonic()
    request_id = new_request_id()
    ask(connect(narrow, max_retries=3), request_id)
    seconds = time.monotonic() - started
    busy.join()
    tries = attempts(narrow, request_id)
    assert (tries[0], tries[-1]) == (429, 200)
    assert 1 <= told <= 30
    assert seconds >= told - 1
    show("2 openai SDK: 429 queue_full, Retry-After honoured", f"told {told} s, {tries} after {seconds:.1f} s")


@pytest.mark.acceptance
def test_a_model_that_is_loading_is_waited_for(connect: Connect, show: Show) -> None:
    with start_server("--load-wait-seconds", "0") as starting:
        error = refused(connect(starting))
        assert isinstance(error, openai.InternalServerError)
        assert (error.status_code, error.code, error.param) == (503, "model_loading", "model")
        told = int(error.response.headers["retry-after"])
        assert 1 <= told <= MAX_RETRY_AFTER_SECONDS
        request_id = new_request_id()
        ask(connect(starting, max_retries=6), request_id)
        tries = attempts(starting, request_id)
        seconds = time.monotonic() - starting.started
    assert tries[0] == 503
    assert tries[-1] == 200
    show("2 openai SDK: 503 model_loading is waited for", f"{tries} after {seconds:.1f} s, told to wait {told} s")


@pytest.mark.acceptance
def test_a_request_is_held_while_its_model_loads(connect: Connect, show: Show) -> None:
    with start_server() as starting:
        request_id = new_request_id()
        ask(connect(starting), request_id)
        assert attempts(starting, request_id) == [200]
        seconds = time.monotonic() - starting.started
    show("2 openai SDK: a request is held while its model loads", f"[200] {seconds:.1f} s after the start")


@pytest.mark.acceptance
def test_a_model_that_failed_to_load_says_why_and_is_not_asked_for_again(
    connect: Connect, tmp_path: Path, show: Show
) -> None:
    empty = tmp_path / "weights"
    empty.mkdir()
    entry = {"publisher": "acme", "family": "broken", "version": "1", "id": "acme/broken", "source": f"file://{empty}"}
    catalog = tmp_path / "models.json"
    catalog.write_text(json.dumps([entry]))
    with start_server("--catalog", str(catalog), "--default-model", "acme/broken") as broken:
        wait_until(lambda: broken.status()["state"] == "failed", 60, "the model to fail")
        request_id = new_request_id()
        error = refused(connect(broken, max_retries=2), request_id)
        assert isinstance(error, openai.InternalServerError)
        assert (error.status_code, error.code, error.param) == (503, "model_failed", "model")
        assert error.response.headers[SHOULD_RETRY_HEADER] == "false"
        assert "retry-after" not in error.response.headers
        assert attempts(broken, request_id) == [503]
        assert connect(broken).models.retrieve("acme/broken").model_dump()["state"] == "failed"
    cause = json.loads(error.response.content)["error"]["message"]
    assert cause.startswith("model acme/broken failed to load: ")
    show("2 openai SDK: 503 model_failed is not retried", cause.replace(str(tmp_path), "...")[:90])


@pytest.mark.acceptance
def test_a_server_that_drains_refuses_the_new_and_ends_the_old(connect: Connect, show: Show) -> None:
    done: list[ImagesResponse] = []
    with start_server() as leaving:
        leaving.wait_ready()
        before = threading.Thread(target=lambda: done.append(ask(connect(leaving), **SECONDS_OF_WORK)))
        before.start()
        wait_until(lambda: _running(leaving), 10, "the request to run")
        leaving.terminate()
        wait_until(lambda: leaving.status()["state"] == "draining", 10, "the server to drain", every=0.005)
        error = refused(connect(leaving))
        before.join()
        exit_code = leaving.wait()
    assert isinstance(error, openai.InternalServerError)
    assert (error.status_code, error.code) == (503, "draining")
    assert 1 <= int(error.response.headers["retry-after"]) <= MAX_RETRY_AFTER_SECONDS
    assert SHOULD_RETRY_HEADER not in error.response.headers
    assert [len(reply.data or []) for reply in done] == [1]
    assert exit_code == 0
    show("2 openai SDK: 503 draining after SIGTERM", f"new request refused, running one answered, exit {exit_code}")


def _running(server: ServerProcess) -> int:
    return server.status()["capacity"]["running_requests"]
