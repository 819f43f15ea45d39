"""A small client of the HTTP API: the calls that the command line makes, and what may go wrong with each, in words.

::

    CommandError
    └── ClientError        the server cannot be used: wrong address, away, silent, or something else answers there
        └── ApiError       the server answered, and refused; its own message, code and request id
"""

import argparse
import contextlib
import http.client
from typing import TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from imagegen_cli.command import CommandError
from imagegen_contract.errors import ErrorBody, ErrorCode
from imagegen_contract.images import GenerateImage, ImagesReply, ModelInfo, ModelList
from imagegen_contract.names import REQUEST_ID_HEADER

DEFAULT_SERVER = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = 600.0
"""Seconds to wait for an answer: as long as a server works on one request before it gives up."""
CONNECT_TIMEOUT = 5.0
_LONGEST_TIMEOUT = 86_400.0
_DONE = {http.client.OK, http.client.ACCEPTED}

_Body = TypeVar("_Body", bound=msgspec.Struct)


class ClientError(CommandError):
    """The server cannot be used. ``status`` is that of its answer, 0 when there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ApiError(ClientError):
    """The server refused the request; ``code`` is the API's word for why."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message, status)
        self.code = code


class Client:
    """Calls one server. ``server`` is its base URL, with or without the ``/v1`` that OpenAI's clients want.

    The key, when there is one, goes into the Authorization header and nowhere else.
    """

    def __init__(self, server: str, *, api_key: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._server = server.rstrip("/").removesuffix("/v1")
        self._api_key = api_key
        self._timeout = timeout

    def generate(self, request: GenerateImage) -> ImagesReply:
        """Ask for pictures and wait for them; raise ClientError when there are none."""
        # Fields left out are not sent, not even as null: a server of another version may not know them all.
        given = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
        try:
            body = msgspec.json.encode(given)
        except UnicodeEncodeError:
            raise ClientError("the request holds text that is not Unicode") from None
        return self._call("POST", "/v1/images/generations", ImagesReply, body)

    def models(self) -> ModelList:
        """Return the models that the server knows; raise ClientError when it does not say."""
        return self._call("GET", "/v1/models", ModelList)

    def models_json(self) -> str:
        """Return the same list as the server wrote it, with all that a server of a later version may say."""
        content = self._exchange("GET", "/v1/models")
        self._decoded(content, ModelList)
        return content.decode()

    def model(self, name: str) -> ModelInfo:
        """Return one model by any of its names; raise ClientError when there is none."""
        return self._call("GET", _model_path(name), ModelInfo)

    def load(self, name: str) -> ModelInfo:
        """Have the server load a model and return its state at once: ``ready`` when it is loaded already."""
        return self._manage(name, "load")

    def unload(self, name: str) -> ModelInfo:
        """Have the server take a model off its device; wait until the requests that use it are done."""
        return self._manage(name, "unload")

    def _manage(self, name: str, action: str) -> ModelInfo:
        try:
            return self._call("POST", f"{_model_path(name)}/{action}", ModelInfo)
        except ClientError as error:
            if not _offered(error):
                raise ClientError(
                    f"the server at {self._server} does not {action} models on request: it is an earlier version, or "
                    "one that decides by itself what is loaded",
                    error.status,
                ) from None
            raise

    def _call(self, method: str, path: str, kind: type[_Body], body: bytes | None = None) -> _Body:
        return self._decoded(self._exchange(method, path, body), kind)

    def _exchange(self, method: str, path: str, body: bytes | None = None) -> bytes:
        target, headers = self._target(), self._headers()
        with contextlib.closing(self._connected(target)) as connection:
            try:
                connection.request(method, target.path + path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except TimeoutError:
                raise ClientError(f"{self._server} did not answer within {self._timeout:g} seconds") from None
            except (OSError, http.client.HTTPException) as error:
                raise ClientError(f"the connection to {self._server} broke: {error}") from None
        if answer.status not in _DONE:
            raise _refusal(answer, content)
        return content

    def _decoded(self, content: bytes, kind: type[_Body]) -> _Body:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ClientError(f"what answers at {self._server} is no imagegen server of a known version") from None

    def _target(self) -> SplitResult:
        try:
            target = urlsplit(self._server)
            if target.scheme in {"http", "https"} and target.hostname and target.port != 0 and _plain(self._server):
                return target
        except ValueError:
            pass  # no port number, or half an IPv6 address
        raise ClientError(f"{self._server!r} is no address of a server: it looks like {DEFAULT_SERVER}")

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._api_key is None:
            return headers
        # http.client would show the whole value in its own error.
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise ClientError("the API key holds characters that no HTTP header may hold")
        return {**headers, "Authorization": f"Bearer {self._api_key}"}

    def _connected(self, target: SplitResult) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        connection = kind(target.hostname or "", target.port, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
        except ConnectionRefusedError:
            raise ClientError(
                f"no server at {self._server}: start one with `make serve`, or name another with --server"
            ) from None
        except (OSError, UnicodeError) as error:
            raise ClientError(f"{self._server} cannot be reached: {error}") from None
        connection.sock.settimeout(self._timeout)
        return connection


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Let ``--server`` and ``--timeout`` stand after the subcommand too; their defaults are the main parser's."""
    add = parser.add_argument_group("server").add_argument
    add("--server", metavar="URL", default=argparse.SUPPRESS, help="base URL of the server or router")
    add("--timeout", metavar="S", type=timeout_seconds, default=argparse.SUPPRESS, help="seconds to wait for an answer")


def timeout_seconds(text: str) -> float:
    """Read the value of ``--timeout``; raise ArgumentTypeError when nobody could wait that long."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds, above 0 and at most {_LONGEST_TIMEOUT:g}")
    return value


def _plain(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


def _model_path(name: str) -> str:
    # An id may hold a slash: as %2F it stays one segment, as in OpenAI's SDK.
    return f"/v1/models/{quote(name, safe='', errors='replace')}"


def _offered(error: ClientError) -> bool:
    """Whether the server has the route that it refused: an unknown model is 404 too."""
    if isinstance(error, ApiError) and error.code == ErrorCode.MODEL_NOT_FOUND:
        return True
    return error.status not in {http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED}


def _refusal(answer: http.client.HTTPResponse, content: bytes) -> ClientError:
    try:
        detail = msgspec.json.decode(content, type=ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = f"the server answered {answer.status} {answer.reason}, and not in the words of this API"
        return ClientError(words, answer.status)
    facts = [detail.code]
    if request_id := answer.getheader(REQUEST_ID_HEADER):
        facts.append(f"request {request_id}")
    if wait := answer.getheader("Retry-After"):
        facts.append(f"try again in {wait} s")
    return ApiError(f"{' '.join(detail.message.split())} ({', '.join(facts)})", answer.status, detail.code)
