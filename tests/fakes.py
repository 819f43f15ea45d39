"""Fakes that work: programs of the same protocol, small enough to be seen to be right."""

import base64
import contextlib
import itertools
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import msgspec

from imagegen_contract.errors import KINDS, ErrorCode, error_body
from imagegen_contract.images import (
    GenerateImage,
    ImageData,
    ImagesReply,
    InputTokensDetails,
    ModelInfo,
    ModelList,
    Usage,
)


class Received(msgspec.Struct, frozen=True):
    """One request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: JSON unless the headers say otherwise."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


def refusal(code: ErrorCode, message: str, **headers: str) -> Answer:
    """Return the answer of a server that refuses: ``retry_after="5"`` becomes the header ``retry-after``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=KINDS[code].status, body=msgspec.json.encode(error_body(code, message)), headers=named)


class FakeImageServer:
    """An image server on loopback that paints nothing: a picture's bytes say what was asked for.

    It listens from its making until the end of the ``with``. ``answers`` (path to Answer) replaces what it would
    say; while ``silent`` it takes requests and says nothing. ``loads`` holds the states that a model goes through when
    it is asked to load it: each look at the model is answered with the next one.
    """

    FIRST_RANDOM_SEED = 1000
    """The seed of requests that name none; the next has the next."""

    def __init__(
        self,
        *models: ModelInfo,
        answers: Mapping[str, Answer] | None = None,
        silent: bool = False,
        loads: Sequence[ModelInfo] = (),
    ) -> None:
        self.received: list[Received] = []
        self._models = {model.id: model for model in models}
        self._loads = loads
        self._coming: list[ModelInfo] = []
        self._answers = answers or {}
        self._seeds = itertools.count(self.FIRST_RANDOM_SEED)
        self._may_answer = threading.Event()
        if not silent:
            self._may_answer.set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._may_answer.set()
        self._http.shutdown()
        self._http.server_close()

    def become(self, model: ModelInfo) -> None:
        """Let a model be so from now on."""
        self._models[model.id] = model

    @staticmethod
    def picture(prompt: str, seed: int, output_format: str = "png") -> bytes:
        """Return the file that this server sends for ``prompt`` and ``seed``."""
        return f"\x89 {output_format} of {prompt!r}, seed {seed}\n".encode("latin-1")

    def answer(self, request: Received) -> Answer:
        """Take a request and return what to say, when it may be said."""
        self.received.append(request)
        self._may_answer.wait()
        if request.path in self._answers:
            return self._answers[request.path]
        if (request.method, request.path) == ("POST", "/v1/images/generations"):
            return self._generate(msgspec.json.decode(request.body, type=GenerateImage))
        if (request.method, request.path) == ("GET", "/v1/models"):
            return Answer(body=msgspec.json.encode(ModelList(data=tuple(self._models.values()), models=())))
        if request.path.startswith("/v1/models/"):
            return self._model(request.method, request.path.removeprefix("/v1/models/"))
        return refusal(ErrorCode.NOT_FOUND, f"there is no {request.path}")

    def _model(self, method: str, path: str) -> Answer:
        name, _, action = path.partition("/")
        model = next((model for model in self._models.values() if unquote(name) in (model.id, *model.aliases)), None)
        if model is None:
            return refusal(ErrorCode.MODEL_NOT_FOUND, f"model {unquote(name)!r} does not exist")
        if (method, action) == ("POST", "load") and model.state != "ready":
            self._coming = list(self._loads)
        if (method, action) == ("POST", "unload"):
            model = msgspec.structs.replace(model, state="unloaded", device=None, memory_bytes=None)
        elif self._coming:
            model = self._coming.pop(0)
        self._models[model.id] = model
        return Answer(status=202 if action == "load" and self._coming else 200, body=msgspec.json.encode(model))

    def _generate(self, request: GenerateImage) -> Answer:
        first = next(self._seeds) if request.seed is None else request.seed
        output_format = request.output_format or "png"
        files = {
            seed: self.picture(request.prompt, seed, output_format) for seed in range(first, first + (request.n or 1))
        }
        reply = ImagesReply(
            created=1,
            data=tuple(ImageData(b64_json=base64.b64encode(files[seed]).decode(), seed=seed) for seed in files),
            output_format=output_format,
            quality=None if request.num_inference_steps else "medium",
            size=request.size or "256x256",
            model=request.model or "imagegen/shapes",
            usage=_NO_USAGE,
        )
        return Answer(body=msgspec.json.encode(reply))


_NO_USAGE = Usage(
    input_tokens=0,
    input_tokens_details=InputTokensDetails(text_tokens=0),
    output_tokens=0,
    total_tokens=0,
    gpu_seconds=0.0,
    queue_seconds=0.0,
)


def _handler(server: FakeImageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._exchange()

        def do_POST(self) -> None:
            self._exchange()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: the tests' output is theirs."""

        def _exchange(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Received(self.command, self.path, headers, body))
            self.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            with contextlib.suppress(ConnectionError):  # a client that waited too long has gone
                self.end_headers()
                self.wfile.write(answer.body)

    return Handler
