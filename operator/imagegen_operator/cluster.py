"""The Kubernetes client: plain JSON in and out, every reply that is not 2xx raises."""

import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from imagegen_contract import names
from imagegen_kube import connection
from imagegen_kube.connection import ACCOUNT, Connection, CredentialsError
from imagegen_operator.errors import ApiError, Cause, ConfigurationError, Conflict, NotFound, Unreachable
from imagegen_operator.kinds import RESOURCES, Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.objects import Manifest
from imagegen_operator.transitions import EventText

_REQUEST_SECONDS = 30.0
"""The API server itself gives up a request after 60 s; ours are small."""

_PAGE = 500
_APPLY = "application/apply-patch+yaml"
_LISTS_TRIED = 3
_NOTE_BYTES = 1024
"""The API server refuses an Event that says more."""


class _Details(msgspec.Struct):
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: int | None = msgspec.field(default=None, name="retryAfterSeconds")


class _Status(msgspec.Struct):
    """`Status` of the API, as in replies that are not 2xx."""

    message: str | None = None
    reason: str | None = None
    details: _Details | None = None


class Cluster:
    """One API server. Every method raises ApiError when it refuses, and Unreachable when it does not answer."""

    def __init__(
        self, way: Connection, session: aiohttp.ClientSession, metrics: Metrics, request_seconds: float
    ) -> None:
        self.way = way
        self._session = session
        self._metrics = metrics
        self._time = aiohttp.ClientTimeout(total=request_seconds)

    @property
    def namespace(self) -> str:
        """The namespace of the credentials: the pod's own, or the kubeconfig's."""
        return self.way.namespace

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return an object, None when there is none."""
        try:
            return await self._call("GET", kind, _path(kind, namespace, name))
        except NotFound:
            return None

    async def list_all(self, kind: Kind, namespace: str, label_selector: str = "") -> tuple[list[Manifest], str]:
        """Return all objects of a kind, and the resource version of the list."""
        for _ in range(_LISTS_TRIED):
            with contextlib.suppress(_Expired):
                return await self._pages(kind, namespace, label_selector)
        raise Unreachable(f"the list of {RESOURCES[kind].plural} expired {_LISTS_TRIED} times before its end")

    async def apply(self, manifest: Manifest, *, field_manager: str = names.OPERATOR, force: bool = True) -> Manifest:
        """Write an object by server-side apply; return it as it is now."""
        return await self._apply(manifest, field_manager, force, "")

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Write the status of an object by server-side apply; return the object as it is now."""
        return await self._apply(manifest, names.OPERATOR, True, "/status")

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object. Raise Conflict when there is one of that name."""
        kind = Kind(manifest["kind"])
        return await self._call("POST", kind, _path(kind, manifest["metadata"]["namespace"]), body=manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Write an object as a whole. Raise Conflict when it is not at the resource version of ``manifest``."""
        kind, metadata = Kind(manifest["kind"]), manifest["metadata"]
        return await self._call("PUT", kind, _path(kind, metadata["namespace"], metadata["name"]), body=manifest)

    async def create_event(self, regarding: Manifest, event: EventText) -> None:
        """Tell people what happened to an object: `kubectl describe` shows it."""
        await self.create(
            {
                "apiVersion": RESOURCES[Kind.EVENT].api_version,
                "kind": str(Kind.EVENT),
                "metadata": {"generateName": f"{regarding['name']}-", "namespace": regarding["namespace"]},
                "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "reportingController": names.OPERATOR,
                "reportingInstance": socket.gethostname(),
                "action": "Reconcile",
                "reason": event.reason,
                "type": event.type,
                "note": event.message.encode()[:_NOTE_BYTES].decode(errors="ignore"),
                "regarding": regarding,
            }
        )

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete an object, if it is still the one with that UID. Raise NotFound or Conflict when it is not."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        await self._call("DELETE", kind, _path(kind, namespace, name), body=body)

    async def discover(self, api_version: str) -> frozenset[str]:
        """Return the plurals that the API server has in a group and version such as ``apps/v1``."""
        root = "/apis/" if "/" in api_version else "/api/"
        try:
            found = await self._request("GET", f"{root}{api_version}", "APIResourceList", {}, None)
        except NotFound:
            return frozenset()
        return frozenset(resource["name"] for resource in found["resources"])

    async def _apply(self, manifest: Manifest, field_manager: str, force: bool, subresource: str) -> Manifest:
        kind, metadata = Kind(manifest["kind"]), manifest["metadata"]
        path = _path(kind, metadata["namespace"], metadata["name"]) + subresource
        query = {"fieldManager": field_manager, "force": str(force).lower()}
        return await self._call("PATCH", kind, path, query, manifest)

    async def _pages(self, kind: Kind, namespace: str, label_selector: str) -> tuple[list[Manifest], str]:
        items: list[Manifest] = []
        query = {"limit": str(_PAGE), **({"labelSelector": label_selector} if label_selector else {})}
        while True:
            page = await self._call("GET", kind, _path(kind, namespace), query)
            # The items of a list leave out what the list says for all of them.
            items += [{"apiVersion": RESOURCES[kind].api_version, "kind": str(kind), **each} for each in page["items"]]
            following = page["metadata"].get("continue")
            if not following:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = following

    async def _call(
        self, method: str, kind: Kind, path: str, query: Mapping[str, str] | None = None, body: Manifest | None = None
    ) -> dict[str, Any]:
        strict = {} if method in {"GET", "DELETE"} else {"fieldValidation": "Strict"}
        return await self._request(method, path, kind, {**(query or {}), **strict}, body)

    async def _request(
        self, method: str, path: str, what: str, query: Mapping[str, str], body: Manifest | None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": _APPLY if method == "PATCH" else "application/json"}
        began, code = time.monotonic(), "none"
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(
                method, self.way.server + path, params=query, headers=headers, data=data, timeout=self._time
            ) as response:
                code, content = str(response.status), await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(f"the API server does not answer: {str(error) or type(error).__name__}") from None
        except CredentialsError as error:
            raise Unreachable(f"there are no credentials for the API server: {error}") from None
        finally:
            self._metrics.requested(method.lower(), what, code, time.monotonic() - began)
        if not 200 <= response.status < 300:
            raise _error(response.status, content, response.headers.get("Retry-After", ""))
        return _decoded(content)


class _Expired(ApiError):
    """410: a continued list, or a watch, is too old to go on."""


@contextlib.asynccontextmanager
async def connect(
    environment: Mapping[str, str],
    metrics: Metrics,
    *,
    request_seconds: float = _REQUEST_SECONDS,
    account: Path = ACCOUNT,
) -> AsyncGenerator[Cluster]:
    """Connect with KUBECONFIG, else with the pod's service account. Raise ConfigurationError when there is neither."""
    try:
        async with connection.connect(environment, account=account) as way, way.session() as session:
            yield Cluster(way, session, metrics, request_seconds)
    except connection.NoConnectionError as error:
        raise ConfigurationError(str(error)) from None


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    resource = RESOURCES[kind]
    root = "/apis" if resource.group else "/api"
    return f"{root}/{resource.api_version}/namespaces/{namespace}/{resource.plural}" + (f"/{name}" if name else "")


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"something else than the API server answers: {error}") from None


def _error(status: int, content: bytes, retry_after: str) -> ApiError:
    try:
        answer = msgspec.json.decode(content, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = _Status(message=content[:200].decode(errors="replace"))  # a proxy in between, in its own words
    details = answer.details or _Details()
    kind = {404: NotFound, 409: Conflict, 410: _Expired}.get(status, ApiError)
    # An API server that sheds load says it in the header alone.
    seconds = details.retry_after_seconds or (
        int(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0
    )
    return kind(status, answer.reason or "", answer.message or "", details.causes or (), float(seconds))
