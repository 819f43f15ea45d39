"""What a Pod says of itself. Pure readers of the JSON that the API server sends.

Seen on a real cluster, and why things are read as they are:
- A container that crashes is now ``running``, now ``terminated``, now ``waiting`` (CrashLoopBackOff). Its restarts and
  its last end stay, so they decide.
- A pod that a node refused or evicted stays as an object in phase Failed: its ReplicaSet makes another beside it.
- Pods of the newest template are those of the youngest ``pod-template-hash``; a pod does not say which one it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from imagegen_operator.objects import Manifest

_TEMPLATE_LABEL = "pod-template-hash"


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why a container does not run yet, in the kubelet's words."""

    reason: str = ""
    message: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a container ended. ``message`` is the end of its log when it left no other."""

    exit_code: int
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct, frozen=True, kw_only=True):
    waiting: Waiting | None = None
    running: dict[str, Any] | None = None
    terminated: Ended | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of one container."""

    name: str
    image: str = ""
    ready: bool = False
    restart_count: int = 0
    state: _State = _State()
    last_state: _State = _State()

    @property
    def waiting(self) -> Waiting | None:
        """Why it does not run, None while it does."""
        return self.state.waiting

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.state.running is not None

    @property
    def ended(self) -> Ended | None:
        """How it ended last, None when it never did."""
        return self.state.terminated or self.last_state.terminated

    @property
    def crash_loops(self) -> bool:
        """Whether it ends again and again; steady through all states of such a loop."""
        if self.waiting is not None and self.waiting.reason == "CrashLoopBackOff":
            return True
        ends = self.restart_count + (self.state.terminated is not None)
        return not self.ready and self.ended is not None and ends >= 2


class _Condition(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class _Resources(msgspec.Struct, frozen=True, kw_only=True):
    limits: Mapping[str, str | int] = {}


class _ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    resources: _Resources = _Resources()


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    uid: str
    labels: Mapping[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    node_name: str = ""
    containers: tuple[_ContainerSpec, ...] = ()
    init_containers: tuple[_ContainerSpec, ...] = ()


class _Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: tuple[_Condition, ...] = ()
    container_statuses: tuple[Container, ...] = ()
    init_container_statuses: tuple[Container, ...] = ()


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """A Pod, as far as a status needs it."""

    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def uid(self) -> str:
        """What no other pod ever has."""
        return self.metadata.uid

    @property
    def created(self) -> str:
        """When it was made, RFC 3339."""
        return self.metadata.creation_timestamp

    @property
    def template(self) -> str:
        """The hash of the template that it was made from."""
        return self.metadata.labels.get(_TEMPLATE_LABEL, "")

    @property
    def leaving(self) -> bool:
        """Whether it is being deleted: it finishes its work and keeps its GPU until then."""
        return self.metadata.deletion_timestamp is not None

    @property
    def over(self) -> bool:
        """Whether nothing of it will run any more, though the object is still there."""
        return self.status.phase in {"Failed", "Succeeded"}

    @property
    def ready(self) -> bool:
        """Whether it may get requests."""
        return self._condition("Ready").status == "True" and not self.leaving

    @property
    def node(self) -> str:
        """Where it runs, "" while it has no node."""
        return self.spec.node_name

    @property
    def address(self) -> str:
        """Its IP, "" while it has none."""
        return self.status.pod_ip

    @property
    def scheduler_words(self) -> str:
        """Why it has no node, "" when the scheduler has said nothing (yet)."""
        condition = self._condition("PodScheduled")
        return (condition.message or condition.reason) if condition.status == "False" and not self.node else ""

    @property
    def containers(self) -> tuple[Container, ...]:
        """The states of its containers, those first that run first."""
        return (*self.status.init_container_statuses, *self.status.container_statuses)

    @property
    def running(self) -> bool:
        """Whether the processes of its containers proper are there."""
        states = self.status.container_statuses
        return bool(states) and all(state.running for state in states)

    def memory_limit(self, container: str) -> str:
        """Return the memory limit of a container as its spec writes it, "" when it has none."""
        specs = (*self.spec.init_containers, *self.spec.containers)
        return next((str(each.resources.limits.get("memory", "")) for each in specs if each.name == container), "")

    def _condition(self, kind: str) -> _Condition:
        return next((each for each in self.status.conditions if each.type == kind), _Condition(type=kind))


def parse_pod(manifest: Manifest) -> Pod:
    """Return the Pod in ``manifest``; fields that nobody here reads are passed over."""
    return msgspec.convert(manifest, Pod)


def newest_template(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Return the pods of the template whose first pod is the youngest, by name."""
    groups: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: pod.name):
        groups.setdefault(pod.template, []).append(pod)
    if not groups:
        return ()
    return tuple(max(groups.values(), key=lambda group: (min(pod.created for pod in group), group[0].template)))
