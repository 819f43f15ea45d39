"""What ImageModels and EndpointSlices say, as this router needs it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from imagegen_contract import names
from imagegen_contract.claims import Claimant, Claims
from imagegen_contract.conditions import Condition, ConditionType, ImageModelStatus, Reason
from imagegen_contract.image_model import ImageModelSpec
from imagegen_router.directory import Model, State
from imagegen_router.endpoints import Address

Manifest = Mapping[str, Any]

_WAITING = frozenset({Reason.INSUFFICIENT_GPU, Reason.UNSCHEDULABLE, Reason.WAITING_FOR_SCHEDULER})
_LASTING = frozenset(
    {
        Reason.CRASH_LOOPING,
        Reason.IMAGE_PULL_FAILED,
        Reason.CONTAINER_CONFIG_INVALID,
        Reason.POD_REFUSED,
        Reason.WEIGHTS_FAILED,
        Reason.GPU_UNUSABLE,
    }
)
"""Why a model is degraded that waiting does not mend; an evicted pod, or one that ran out of memory, comes back."""

_NOTHING_TOLD = Condition(
    type="",
    status="Unknown",
    reason="",
    message="the operator has not looked at it yet",
    observed_generation=0,
    last_transition_time="",
)
_HTTP = "http"
_MANAGEMENT = "management"


class _Labelled(msgspec.Struct, frozen=True):
    labels: dict[str, str] = {}


class _Port(msgspec.Struct, frozen=True):
    name: str = _HTTP
    port: int | None = None


class _Conditions(msgspec.Struct, frozen=True):
    ready: bool | None = None
    terminating: bool | None = None


class _Target(msgspec.Struct, frozen=True):
    name: str = ""
    uid: str = ""


class _Endpoint(msgspec.Struct, frozen=True, rename="camel"):
    addresses: tuple[str, ...] = ()
    conditions: _Conditions = _Conditions()
    target_ref: _Target | None = None

    @property
    def ready(self) -> bool:
        """Absent means ready, says the API; one that terminates is not."""
        return self.conditions.ready is not False and self.conditions.terminating is not True


class _EndpointSlice(msgspec.Struct, frozen=True):
    """What of one is read here; an absent list is null where Go wrote it."""

    metadata: _Labelled
    ports: tuple[_Port, ...] | None = None
    endpoints: tuple[_Endpoint, ...] | None = None


def models_of(manifests: Iterable[Manifest]) -> list[Model]:
    """Return the models that are served: those that can be read and have the right to their names."""
    readable = [(manifest, spec) for manifest in manifests if (spec := _spec(manifest)) is not None]
    claims = Claims(
        Claimant(
            name=manifest["metadata"]["name"],
            created=manifest["metadata"].get("creationTimestamp", ""),
            id=spec.id,
            aliases=spec.aliases,
        )
        for manifest, spec in readable
    )
    return [_model(manifest, spec) for manifest, spec in readable if not claims.rival(manifest["metadata"]["name"])]


def addresses_of(manifests: Iterable[Manifest]) -> list[Address]:
    """Return the pods in EndpointSlices, each once: while slices are rewritten one pod may be in two of them."""
    found: dict[str, Address] = {}
    for manifest in manifests:
        for address in _addresses(manifest):
            known = found.get(address.uid)
            if known is None or (address.ready and not known.ready):
                found[address.uid] = address
    return list(found.values())


def _spec(manifest: Manifest) -> ImageModelSpec | None:
    try:
        return msgspec.convert(manifest.get("spec"), ImageModelSpec)
    except msgspec.ValidationError:
        return None  # of a newer version of the resource definition; the operator says so in its status


def _model(manifest: Manifest, spec: ImageModelSpec) -> Model:
    metadata = manifest["metadata"]
    conditions = _conditions(manifest)
    ready = conditions.get(ConditionType.READY, _NOTHING_TOLD)
    return Model(
        key=metadata["name"],
        spec=spec,
        created=_unix(metadata.get("creationTimestamp", "")),
        state=_state(spec, conditions),
        words=ready.message.rstrip("."),
    )


def _conditions(manifest: Manifest) -> dict[str, Condition]:
    try:
        status = msgspec.convert(manifest.get("status") or {}, ImageModelStatus)
    except msgspec.ValidationError:
        return {}
    return {condition.type: condition for condition in status.conditions}


def _state(spec: ImageModelSpec, conditions: Mapping[str, Condition]) -> State:
    available = conditions.get(ConditionType.AVAILABLE, _NOTHING_TOLD)
    if available.status == "True":
        return "ready"
    if spec.replicas == 0:
        return "scaled_to_zero"
    if conditions.get(ConditionType.SCHEDULED, _NOTHING_TOLD).reason in _WAITING:
        return "waiting"
    if conditions.get(ConditionType.DEGRADED, _NOTHING_TOLD).reason in _LASTING:
        return "failed"
    reconciled = conditions.get(ConditionType.RECONCILED, _NOTHING_TOLD)
    return "failed" if reconciled.status == "False" and reconciled.reason != Reason.APPLY_FAILED else "loading"


def _addresses(manifest: Manifest) -> Iterator[Address]:
    try:
        found = msgspec.convert(manifest, _EndpointSlice)
    except msgspec.ValidationError:
        return  # the API server checks types: this is another version of the API, which we do not ask for
    model = found.metadata.labels.get(names.MODEL_LABEL, "")
    ports = {port.name: port.port for port in found.ports or ()}
    public = ports.get(_HTTP)
    if not model or not public:
        return
    for endpoint in found.endpoints or ():
        uid = endpoint.target_ref.uid if endpoint.target_ref else ""
        if not uid or not endpoint.addresses:
            continue
        yield Address(
            uid=uid,
            model=model,
            host=endpoint.addresses[0],
            port=public,
            management_port=ports.get(_MANAGEMENT) or names.MANAGEMENT_PORT,
            ready=endpoint.ready,
            pod=endpoint.target_ref.name if endpoint.target_ref else "",
        )


def _unix(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return 0
