"""`imagegen check`: takes a picture for one only when it is whole, as large as told, and shows something."""

import base64
import io
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from PIL import Image

from command_line import assert_failed, imagegen_here
from fakes import Answer, FakeImageServer, refusal
from imagegen_cli.check import SEED
from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import InputTokensDetails, Usage
from server_process import Server

GENERATIONS = "/v1/images/generations"
USAGE = Usage(
    input_tokens=0,
    input_tokens_details=InputTokensDetails(text_tokens=0),
    output_tokens=0,
    total_tokens=0,
    gpu_seconds=0,
    queue_seconds=0,
)
Picture = Callable[[], bytes]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def _scene() -> bytes:
    return _png(Image.radial_gradient("L").resize((64, 64)).convert("RGB"))


def _reply(picture: bytes, **changes: Any) -> Answer:
    data = {"b64_json": base64.b64encode(picture).decode(), "seed": SEED}
    reply = {"created": 1, "model": "imagegen/shapes", "size": "64x64", "quality": "low", "output_format": "png"}
    whole: dict[str, Any] = {**reply, "usage": USAGE, "data": [data], **changes}
    return Answer(body=msgspec.json.encode(whole))


def test_a_real_servers_picture_is_one(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    done = imagegen_here(capsys, "check", "--server", server.url, "--model", "imagegen/shapes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("imagegen/shapes: a picture of ")


def test_what_was_asked_and_with_which_key(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeImageServer(answers={GENERATIONS: _reply(_scene())}) as server:
        done = imagegen_here(capsys, "check", "--model", "shapes", IMAGEGEN_URL=server.url, IMAGEGEN_API_KEY="k-1")
    assert done.returncode == 0, done.stderr
    (asked,) = server.received
    body = msgspec.json.decode(asked.body)
    assert (body["model"], body["seed"], body["output_format"]) == ("shapes", SEED, "png")
    assert asked.headers["authorization"] == "Bearer k-1"


def _one_byte_wrong() -> bytes:
    whole = bytearray(_scene())
    whole[len(whole) // 2] ^= 1
    return bytes(whole)


@pytest.mark.parametrize(
    ("picture", "changes", "said"),
    [
        pytest.param(lambda: b"GIF89a", {}, "does not begin as a PNG does", id="another format"),
        pytest.param(lambda: b"\x89PNG\r\n\x1a\n", {}, "end is missing", id="nothing but a signature"),
        pytest.param(_one_byte_wrong, {}, "checksum", id="one bit wrong"),
        pytest.param(lambda: _scene()[:-20], {}, "checksum", id="cut off within a chunk"),
        pytest.param(lambda: _scene()[:-12], {}, "end is missing", id="cut off between chunks"),
        pytest.param(_scene, {"size": "128x64"}, "says 128x64, its picture is 64x64", id="another size than told"),
        pytest.param(lambda: _png(Image.new("RGB", (64, 64), "red")), {}, "shows nothing", id="one colour"),
        pytest.param(
            lambda: _png(Image.new("P", (64, 64))),
            {},
            "nothing that a server sends",
            id="a palette, as no server makes",
        ),
        pytest.param(_scene, {"data": []}, "0 came", id="no picture at all"),
    ],
)
def test_anything_else_is_told_in_one_line(
    picture: Picture, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeImageServer(answers={GENERATIONS: _reply(picture(), **changes)}) as server:
        assert_failed(imagegen_here(capsys, "check", IMAGEGEN_URL=server.url), said)


@pytest.mark.parametrize("early", [ErrorCode.MODEL_NOT_FOUND, ErrorCode.MODEL_LOADING])
def test_a_model_that_is_not_there_yet_is_waited_for(early: ErrorCode, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {GENERATIONS: refusal(early, "not yet")}
    with FakeImageServer(answers=answers) as server:
        assert_failed(imagegen_here(capsys, "check", IMAGEGEN_URL=server.url), "not yet")
        assert len(server.received) == 1
        threading.Timer(0.5, lambda: answers.update({GENERATIONS: _reply(_scene())})).start()
        done = imagegen_here(capsys, "check", "--wait", "15", IMAGEGEN_URL=server.url)
    assert done.returncode == 0, done.stderr


def test_what_does_not_pass_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeImageServer(answers={GENERATIONS: refusal(ErrorCode.INVALID_API_KEY, "no such key")}) as server:
        assert_failed(imagegen_here(capsys, "check", "--wait", "60", IMAGEGEN_URL=server.url), "no such key")
        assert len(server.received) == 1


@pytest.mark.parametrize("seconds", ["nan", "-1", "soon"])
def test_a_wait_that_is_no_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        imagegen_here(capsys, "check", "--wait", seconds)
    assert "no time in seconds" in capsys.readouterr().err


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert_failed(imagegen_here(capsys, "check", "--server", "http://127.0.0.1:9"), "no server at")
