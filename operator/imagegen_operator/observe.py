"""Gathers what is known of one ImageModel: from the cache, and by asking for what the cache cannot know.

Objects of others are invisible to the watches, which see our label only, and a forced apply would take them over. So
what is absent from the cache is read before it is applied.
"""

from collections.abc import Mapping
from typing import Protocol

from imagegen_contract import names
from imagegen_contract.server_status import ServerStatus
from imagegen_operator.kinds import Kind
from imagegen_operator.objects import Manifest, Model, Observed, text_of
from imagegen_operator.resources.claim import claim_name
from imagegen_operator.store import Store


class Reader(Protocol):
    """Reads one object."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return the object, None when there is none."""
        ...


class Reports(Protocol):
    """What pods say of themselves."""

    def of(self, pods: tuple[Manifest, ...]) -> Mapping[str, ServerStatus]:
        """Return the newest status of each pod by its UID."""
        ...


async def observe(name: str, store: Store, reader: Reader, reports: Reports) -> Observed | None:
    """Return what is known of the ImageModel ``name``, None when there is none."""
    model = store.models.get(name)
    if model is None:
        return None
    children = child_names(model)
    found = {
        kind: store.child(kind, child) or await reader.get(kind, model.namespace, child)
        for kind, child in children.items()
    }
    ours = {kind: child for kind, child in found.items() if child is not None and is_ours(child, model)}
    taken = [f"{kind} {children[kind]}" for kind, child in found.items() if child is not None and kind not in ours]
    pods = store.pods(name)
    return Observed(
        model=model,
        deployment=ours.get(Kind.DEPLOYMENT),
        service=ours.get(Kind.SERVICE),
        claim=ours.get(Kind.CLAIM),
        taken=tuple(taken),
        rival=store.rival(name),
        pods=pods,
        servers=reports.of(pods),
    )


def is_ours(child: Manifest, model: Model) -> bool:
    """Return whether ``child`` belongs to ``model``: it names it as its owner, or it is a claim kept for that name."""
    owners = child["metadata"].get("ownerReferences") or ()
    if any(owner["uid"] == model.uid for owner in owners):
        return True
    kept = not owners and text_of(child, "metadata", "annotations", names.RECLAIM_ANNOTATION) == "Retain"
    managed = text_of(child, "metadata", "labels", names.MANAGED_BY_LABEL) == names.OPERATOR
    return kept and managed and text_of(child, "metadata", "labels", names.MODEL_LABEL) == model.name


def child_names(model: Model) -> dict[Kind, str]:
    """Return the kinds and names of the children that ``model`` is to have."""
    children = {Kind.DEPLOYMENT: model.name, Kind.SERVICE: model.name}
    if model.spec and model.spec.cache and model.spec.cache.size is not None:
        children[Kind.CLAIM] = claim_name(model)
    return children
