"""A small synchronous client of the Kubernetes API for tests."""

import copy
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import httpx

Object = dict[str, Any]
PatchType = Literal["merge", "json", "strategic"]

SECONDS = 30.0
_EVERY = 0.02
_MISSING = 404

_CONTENT_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class ApiError(Exception):
    """The API server refused; ``code`` is the HTTP status, ``status`` its Status object."""

    def __init__(self, request: str, code: int, status: Object) -> None:
        self.code = code
        self.status = status
        self.reason: str = status.get("reason", "")
        self.message: str = status.get("message", "")
        super().__init__(f"{request}: {code} {self.reason}: {self.message}")


class Api:
    """Requests to one API server with one token; a kind may be given as ``Deployment``, ``deployments`` or ``deploy``.

    Namespaced objects are looked for in ``namespace`` unless the call or the manifest names another one.
    All requests raise ApiError when the reply is not 2xx, and httpx.TransportError when there is none.
    """

    def __init__(self, url: str, *, token: str, ca: Path | None = None, namespace: str = "default") -> None:
        self.url, self.token, self.ca, self.namespace = url, token, ca, namespace
        self._http = httpx.Client(
            base_url=url,
            verify=ssl.create_default_context(cafile=ca) if ca else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            headers={"authorization": f"Bearer {token}"},
            timeout=SECONDS,
            trust_env=False,
        )
        self._kinds: dict[str, Object] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, also those of the clients made by ``within``."""
        self._http.close()

    def within(self, namespace: str) -> "Api":
        """Return a client for another namespace; the connections are shared, so it needs no closing."""
        other = copy.copy(self)
        other.namespace = namespace
        return other

    def request(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """Send one request and return the decoded reply; ``options`` are httpx's, such as ``params``."""
        if body is not None:
            options["content"] = json.dumps(body)
        options["headers"] = {"content-type": "application/json"} | options.get("headers", {})
        reply = self._http.request(method, path, **options)
        if not reply.is_success:
            raise ApiError(f"{method} {path}", reply.status_code, _status(reply))
        return reply.json() if "json" in reply.headers.get("content-type", "") else reply.text

    def lines(self, path: str, params: Mapping[str, str]) -> Iterator[str]:
        """Send a GET and give the lines of the reply as they come: the events of a watch."""
        with self._http.stream("GET", path, params=dict(params)) as reply:
            if not reply.is_success:
                reply.read()
                raise ApiError(f"GET {path}", reply.status_code, _status(reply))
            yield from reply.iter_lines()

    def get(self, kind: str, name: str, *, namespace: str = "") -> Object:
        """Return one object."""
        return self.request("GET", self.path(kind, name, namespace=namespace))

    def find(self, kind: str, name: str, *, namespace: str = "") -> Object | None:
        """Return one object, or None where there is none."""
        try:
            return self.get(kind, name, namespace=namespace)
        except ApiError as error:
            if error.code != _MISSING:
                raise
            return None

    def list(self, kind: str, *, labels: str = "", namespace: str = "") -> "list[Object]":
        """Return all objects of the namespace, or those that the label selector matches."""
        params = {"labelSelector": labels} if labels else {}
        return self.request("GET", self.path(kind, namespace=namespace), params=params)["items"]

    def create(self, manifest: Mapping[str, Any], *, validation: str = "Strict") -> Object:
        """Create an object (POST)."""
        return self.request(
            "POST", self._path_of(manifest, name=False), manifest, params={"fieldValidation": validation}
        )

    def apply(
        self, manifest: Mapping[str, Any], *, manager: str = "tests", force: bool = True, validation: str = "Strict"
    ) -> Object:
        """Apply an object server-side."""
        params = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": validation}
        headers = {"content-type": _CONTENT_TYPES["apply"]}
        return self.request("PATCH", self._path_of(manifest), manifest, params=params, headers=headers)

    def patch(
        self, kind: str, name: str, patch: object, *, patch_type: PatchType = "merge", subresource: str = ""
    ) -> Object:
        """Patch an object or a subresource of it; a list is taken for a JSON patch."""
        headers = {"content-type": _CONTENT_TYPES["json" if isinstance(patch, list) else patch_type]}
        path = self.path(kind, name) + (f"/{subresource}" if subresource else "")
        return self.request("PATCH", path, patch, headers=headers, params={"fieldValidation": "Strict"})

    def patch_status(self, kind: str, name: str, status: object) -> Object:
        """Merge-patch the status of an object."""
        return self.patch(kind, name, {"status": status}, subresource="status")

    def delete(
        self, kind: str, name: str, *, grace_seconds: int | None = None, propagation: str = "Background"
    ) -> None:
        """Delete an object; one that is not there is an ApiError with code 404."""
        options: Object = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        self.request("DELETE", self.path(kind, name), options)

    def wait_for(
        self, kind: str, name: str, predicate: Callable[[Object], Any] = bool, *, seconds: float = SECONDS
    ) -> Object:
        """Wait until the object is there and the predicate is true of it, and return it.

        Raises:
            AssertionError: Not within ``seconds``; with the object as it was last.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = self.find(kind, name)
            if found is not None and predicate(found):
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:g} s for {kind} {name}, which is {json.dumps(found, indent=1)}")
            time.sleep(_EVERY)

    def wait_gone(self, kind: str, name: str, *, seconds: float = SECONDS) -> None:
        """Wait until there is no such object."""
        deadline = time.monotonic() + seconds
        while (found := self.find(kind, name)) is not None:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited {seconds:g} s for {kind} {name} to be gone: {json.dumps(found, indent=1)}"
                )
            time.sleep(_EVERY)

    def path(self, kind: str, name: str = "", *, namespace: str = "") -> str:
        """Return the path of a kind or of one object.

        Raises:
            LookupError: The server does not serve the kind.
        """
        resource = self._resource(kind)
        scope = f"/namespaces/{namespace or self.namespace}" if resource["scope"] == "Namespaced" else ""
        return f"{resource['root']}{scope}/{resource['resource']}" + (f"/{name}" if name else "")

    def _path_of(self, manifest: Mapping[str, Any], *, name: bool = True) -> str:
        metadata = manifest["metadata"]
        kind = f"{manifest['apiVersion']}/{manifest['kind']}"
        return self.path(kind, metadata["name"] if name else "", namespace=metadata.get("namespace", ""))

    def _resource(self, kind: str) -> Object:
        """Look the kind up among those served; look again when it is new, as after a CRD was created."""
        if kind not in self._kinds:
            self._kinds = self._discover()
        try:
            return self._kinds[kind]
        except KeyError:
            raise LookupError(f"{self.url} serves no kind {kind!r}; wait until its CRD is Established") from None

    def _discover(self) -> dict[str, Object]:
        """Return the served resources by ``GROUP/VERSION/Kind`` and, the preferred version, by each of their names."""
        kinds: dict[str, Object] = {}
        for top in ("/api", "/apis"):
            for group in self.request("GET", top, headers={"accept": _DISCOVERY})["items"]:
                for version in group["versions"]:
                    for resource in version.get("resources", ()):
                        _register(kinds, group["metadata"].get("name", ""), version["version"], resource)
        return kinds


def _register(kinds: dict[str, Object], group: str, version: str, resource: Object) -> None:
    group_version = f"{group}/{version}" if group else version
    kind = resource["responseKind"]["kind"]
    entry = resource | {"root": f"/apis/{group_version}" if group else f"/api/{version}"}
    kinds[f"{group_version}/{kind}"] = entry
    for name in (kind, resource["resource"], *resource.get("shortNames", ())):
        kinds.setdefault(name, entry)


def _status(reply: httpx.Response) -> Object:
    try:
        status = reply.json()
    except ValueError:
        return {"message": reply.text}
    return status if isinstance(status, dict) else {"message": reply.text}
