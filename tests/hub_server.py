"""A Hub on loopback: serves folders as model repositories in the protocol of huggingface.co, with faults to order.

    with hub_server({"owner/name": folder}) as hub:
        hub.url                                   # for HF_ENDPOINT or --hub-endpoint
        hub.faults.refuse(503, times=2)           # see Faults
        hub.bytes_sent["owner/name/unet/config.json"]

Large files are redirected to another origin (localhost for 127.0.0.1), as the real Hub redirects to its storage.
"""

import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repositories import Repository, RepositoryFile

_CHUNK_BYTES = 65536
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Faults:
    """What goes wrong. Set at any time; a fault holds for every answer until it is taken back or used up."""

    gated: bool = False
    """Files go only to a token of ``Hub.accepted``: 401 without one, 403 with another, as of a gated repository."""
    private: bool = False
    """The repositories are hidden from everybody without a token of ``Hub.accepted``."""
    garbage: bool = False
    """The API answers with a web page, as a hotel's network does."""
    corrupt: set[str] = field(default_factory=set[str])
    """Paths of files whose last byte is another one."""
    truncate_at: int | None = None
    """File bodies end after as many bytes, although more were announced."""
    reset_at: int | None = None
    """Connections are reset after as many bytes of a file body ..."""
    resets: int = 0
    """... as often as this."""
    stall_at: int | None = None
    """Nothing is sent beyond this position in a file; the connection stays open until the fault is taken back."""
    bytes_per_second: int | None = None
    """Each file body is sent at this rate."""
    ignore_ranges: bool = False
    """Files are always sent whole."""
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list[tuple[int, dict[str, str]]])
    """(status, headers) of the next answers."""

    def refuse(self, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests with ``status``; ``retry_after="2"`` becomes a header."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.refusals += [(status, named)] * times


class Hub:
    """A running Hub. ``folders`` may be added to and changed while it runs."""

    def __init__(self, folders: Mapping[str, Path], url: str) -> None:
        self.url = url
        self.folders = dict(folders)
        self.faults = Faults()
        self.metadata: dict[str, dict[str, Any]] = {}
        """Further fields of a repository's metadata, such as ``cardData``."""
        self.tags: set[str] = set()
        """Branches and tags besides main; they mean the same commit."""
        self.accepted: set[str] = set()
        """Tokens of users who may read gated and private repositories."""
        self.known: set[str] = set()
        """Tokens of users who may not; any other token is invalid."""
        self.bytes_sent: Counter[str] = Counter()
        """Bytes of file bodies, by owner/name/path."""
        self.requests: list[tuple[str, str, str]] = []
        """(method, path, token) of all requests; the path of storage begins with /storage."""
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    @property
    def total_sent(self) -> int:
        """Bytes of all file bodies."""
        return self.bytes_sent.total()

    def repository(self, name: str) -> Repository | None:
        """Return a repository as its folder is now, None when there is none."""
        return Repository(self.folders[name]) if name in self.folders else None

    def size(self, name: str, *paths: str) -> int:
        """Return the bytes of some files of a repository, of all when none is named."""
        files = Repository(self.folders[name]).files
        return sum(files[path].size for path in paths or files)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - likewise
        """Stay silent."""

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.requests.append((self.command, path, self._token))
            refusal = self.hub.faults.refusals.pop(0) if self.hub.faults.refusals else None
        if refusal:
            self._refuse(refusal[0], "", "ordered by the test", refusal[1])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self._answer_api(match[1], match[2] or "revision", unquote(match[3] or "main"))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], unquote(match[2]), match[3])
        elif match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            repository = self.hub.repository(match[1])
            self._send_file(match[1], (repository or Repository(Path())).files[match[2]])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "", "there is nothing")

    @property
    def _token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def _find(self, name: str, revision: str) -> Repository | None:
        """Return the repository, or refuse as the Hub does."""
        repository = self.hub.repository(name)
        if self._token and self._token not in self.hub.accepted | self.hub.known:
            return self._refuse(HTTPStatus.UNAUTHORIZED, "", "Invalid credentials in Authorization header")
        if repository is None or (self.hub.faults.private and self._token not in self.hub.accepted):
            # Who has no token is not told whether the repository exists.
            status = HTTPStatus.NOT_FOUND if self._token else HTTPStatus.UNAUTHORIZED
            return self._refuse(status, "RepoNotFound", "Repository not found")
        if revision not in {"main", repository.commit, *self.hub.tags}:
            return self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository

    def _answer_api(self, name: str, kind: str, revision: str) -> None:
        if self.hub.faults.garbage:
            self._send(HTTPStatus.OK, b"<html>Welcome! Please log in to the network.</html>", "text/html")
        elif repository := self._find(name, revision):
            with_blobs = "blobs" in parse_qs(urlsplit(self.path).query)
            answer = _tree(repository) if kind == "tree" else self._info(name, repository, with_blobs=with_blobs)
            self._send(HTTPStatus.OK, json.dumps(answer).encode(), "application/json")

    def _info(self, name: str, repository: Repository, *, with_blobs: bool) -> dict[str, Any]:
        siblings = [file.as_sibling() if with_blobs else {"rfilename": file.path} for file in repository.files.values()]
        facts = {"id": name, "sha": repository.commit, "private": self.hub.faults.private, "siblings": siblings}
        gated = "auto" if self.hub.faults.gated else False
        return {**facts, "gated": gated, "tags": [], **self.hub.metadata.get(name, {})}

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._find(name, revision)
        if repository is None:
            return
        if self.hub.faults.gated and self._token not in self.hub.accepted:
            status = HTTPStatus.FORBIDDEN if self._token else HTTPStatus.UNAUTHORIZED
            self._refuse(status, "GatedRepo", f"Access to model {name} is restricted.")
        elif path not in repository.files:
            self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        elif (file := repository.files[path]).is_lfs:
            self._redirect(name, file, repository.commit)
        else:
            self._send_file(name, file, {"X-Repo-Commit": repository.commit})

    def _redirect(self, name: str, file: RepositoryFile, commit: str) -> None:
        port = urlsplit(self.hub.url).port
        facts = {"X-Repo-Commit": commit, "X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
        place = f"http://localhost:{port}/storage/{name}/{file.path}?signature=secret-signature"
        self._send(HTTPStatus.FOUND, b"", "text/plain", {**facts, "Location": place})

    def _send_file(self, name: str, file: RepositoryFile, headers: Mapping[str, str] | None = None) -> None:
        start = self._start_of_range()
        if start is not None and start >= file.size:
            return self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", "beyond the end")
        self.send_response(HTTPStatus.OK if start is None else HTTPStatus.PARTIAL_CONTENT)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{file.size - 1}/{file.size}")
        facts = {"ETag": f'"{file.etag}"', "Content-Length": str(file.size - (start or 0)), "Accept-Ranges": "bytes"}
        self._end_headers({**facts, **(headers or {})})
        if self.command == "GET":
            self._send_body(f"{name}/{file.path}", file, start or 0)
        return None

    def _start_of_range(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("range", ""))
        return int(match[1]) if match and not self.hub.faults.ignore_ranges else None

    def _send_body(self, key: str, file: RepositoryFile, start: int) -> None:
        content = file.place.read_bytes()
        if file.path in self.hub.faults.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        position = start
        while position < len(content) and not self.hub.stopping.is_set():
            if self._breaks_off(position, position - start):
                return
            rate = self.hub.faults.bytes_per_second
            chunk = content[position : position + (max(1, rate // 20) if rate else _CHUNK_BYTES)]
            try:
                self.wfile.write(chunk)
            except OSError:  # the client went
                self.close_connection = True
                return
            position += len(chunk)
            with self.hub.lock:
                self.hub.bytes_sent[key] += len(chunk)
            self.hub.stopping.wait(len(chunk) / rate if rate else 0)

    def _breaks_off(self, position: int, sent: int) -> bool:
        """Do what a fault orders at this point of a body; return whether that was the end of it."""
        faults = self.hub.faults
        while self._stalls(position) and not self.hub.stopping.wait(0.02):
            self.close_connection = True
        with self.hub.lock:
            resets = faults.reset_at is not None and sent >= faults.reset_at and faults.resets > 0
            faults.resets -= resets
        if resets:
            # With no time to linger, closing sends RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection |= resets or (faults.truncate_at is not None and sent >= faults.truncate_at)
        return self.close_connection

    def _stalls(self, position: int) -> bool:
        return self.hub.faults.stall_at is not None and position >= self.hub.faults.stall_at

    def _refuse(self, status: int, code: str, words: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Message": words, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._send(status, json.dumps({"error": words}).encode(), "application/json", told)

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self._end_headers({"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)

    def _end_headers(self, headers: Mapping[str, str]) -> None:
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()


def _tree(repository: Repository) -> list[dict[str, Any]]:
    return [file.as_tree_entry() for file in repository.files.values()]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def shutdown_request(self, request: Any) -> None:
        """Close without the word that ends a connection well: a reset must be one."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients leave in the middle when a test kills them."""


@contextmanager
def hub_server(folders: Mapping[str, Path]) -> Generator[Hub]:
    """Serve ``folders`` (by owner/name) on a free port of 127.0.0.1 from a thread, until the end of the block."""
    handler = type("_HandlerOfHub", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    hub = handler.hub = Hub(folders, f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
