"""Requests to the Kubernetes API as RBAC sees them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_OF_NAMESPACES = frozenset({"status", "finalize"})
"""Subresources of a namespace itself; any other word after its name is a resource inside it."""

_CREATED = 201


@dataclass(slots=True)
class ApiRequest:
    """One request: who may send it is decided by verb, group, resource, subresource and namespace."""

    method: str
    path: str
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user_agent: str = ""
    time: float = field(default_factory=time.monotonic)
    """When it arrived, on the monotonic clock."""
    seconds: float | None = None
    """How long the answer took; a watch counts until its end. None while it lasts."""
    status: int | None = None
    """HTTP status of the answer, the API server's or an injected one; None while there is none."""
    bytes_sent: int = 0
    bytes_received: int = 0
    query: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def is_write(self) -> bool:
        """Whether it changes something."""
        return self.verb in _WRITES

    @property
    def permissions(self) -> set[tuple[str, str, str]]:
        """What a Role must allow: (group, resource or resource/subresource, verb).

        An apply that creates needs the right to create besides that to patch.
        """
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        verbs = {self.verb} | ({"create"} if self.verb == "patch" and self.status == _CREATED else set())
        return {(self.group, resource, verb) for verb in verbs}

    def __str__(self) -> str:
        where = "/".join(part for part in (self.resource, self.subresource) if part) or self.path
        return f"{self.verb} {where} {self.namespace}/{self.name} -> {self.status}"


Matcher = Callable[[ApiRequest], bool]


def anything(_: ApiRequest) -> bool:
    """Match every request."""
    return True


def writes(request: ApiRequest) -> bool:
    """Match what changes something."""
    return request.is_write


def watches(request: ApiRequest) -> bool:
    """Match watches."""
    return request.verb == "watch"


def matching(**fields: str) -> Matcher:
    """Return what matches requests with these values, such as ``verb="watch", resource="pods"``."""
    return lambda request: all(getattr(request, name) == value for name, value in fields.items())


def read_request(method: str, path: str, query: Mapping[str, str], user_agent: str = "") -> ApiRequest:
    """Take a request apart as the API server does for authorization; its verb is the method outside of resources."""
    known: dict[str, Any] = {"method": method, "path": path, "user_agent": user_agent, "query": dict(query)}
    words = [word for word in path.split("/") if word]
    roots = {"api": 2, "apis": 3}
    taken = roots.get(words[0], 0) if words else 0
    if not taken or len(words) <= taken:
        return ApiRequest(verb=method.lower(), **known)
    group = words[1] if words[0] == "apis" else ""
    namespace, rest = _namespace(words[taken:])
    resource, name, subresource = (*rest, "", "")[:3]
    name = name or query.get("fieldSelector", "").removeprefix("metadata.name=") * _names_one(query)
    verb = _verb(method, named=len(rest) > 1, query=query)
    return ApiRequest(
        verb=verb, group=group, resource=resource, subresource=subresource, namespace=namespace, name=name, **known
    )


def _namespace(words: list[str]) -> tuple[str, list[str]]:
    """Return the namespace and the words from the resource on."""
    if words[0] != "namespaces" or len(words) == 1:
        return "", words
    inside = len(words) > 2 and words[2] not in _OF_NAMESPACES
    return words[1], words[2:] if inside else words


def _names_one(query: Mapping[str, str]) -> bool:
    return query.get("fieldSelector", "").startswith("metadata.name=")


def _verb(method: str, *, named: bool, query: Mapping[str, str]) -> str:
    if method in ("GET", "HEAD"):
        streams = query.get("watch", "") in ("1", "true")
        return "watch" if streams else "get" if named else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    return _VERBS.get(method, method.lower())
