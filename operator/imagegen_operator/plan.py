"""Decides what is to be written for one ImageModel. Pure: the same facts give the same plan.

The rules, in this order:
1. An ImageModel that is going away needs nothing: garbage collection removes what it owns.
2. One whose spec cannot be read, whose id an older one has, or whose children's names are taken, is left as it is:
   its condition Reconciled says why, and pods that run go on running.
3. The image of a model that was deployed once is pinned. It moves by spec.pod.image, by the annotation, or for all
   models by the operator's upgrade policy.
4. A claim that exists keeps what Kubernetes does not let anybody change; the rest is written all the same.
5. A child is written when it is absent, when the operator would write something else than it wrote last, or when
   somebody changed a field that the operator wrote.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from imagegen_contract import names
from imagegen_contract.conditions import Reason
from imagegen_operator.objects import Manifest, Observed, Outcome, text_of
from imagegen_operator.resources.claim import claim, immutable_changes, with_its_class
from imagegen_operator.resources.comparison import covers, digest
from imagegen_operator.resources.deployment import deployment
from imagegen_operator.resources.pod import SERVER
from imagegen_operator.resources.service import service
from imagegen_operator.settings import OperatorSettings


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, in this order, and what Reconciled says when that succeeded."""

    apply: tuple[Manifest, ...] = ()
    image: str
    """The pinned image of imagegen-server."""
    outcome: Outcome


def plan(observed: Observed, settings: OperatorSettings) -> Plan:
    """Return what is to be written for what was ``observed``."""
    model, image = observed.model, pinned_image(observed, settings)
    applied = Outcome(reason=Reason.APPLIED, message="All objects are as the spec asks for.")
    if model.deleting:
        return Plan(image=image, outcome=applied)
    if refusal := _refusal(observed):
        return Plan(image=model.status.server_image, outcome=refusal)
    kept = _immutable(observed)
    wanted = [(observed.service, service(model)), (observed.deployment, deployment(model, image, settings))]
    volume = claim(model)
    if volume is not None and not kept:
        # Pods wait for a claim that is absent. One that is there goes last: it may be refused to grow, and nothing else
        # is to wait for that.
        wanted.insert(0 if observed.claim is None else len(wanted), (observed.claim, volume))
    return Plan(apply=tuple(_needed(wanted)), image=image, outcome=kept or applied)


def pinned_image(observed: Observed, settings: OperatorSettings) -> str:
    """Return the image that the pods are to have: what somebody asks for, else what they have, else the operator's."""
    model = observed.model
    asked = (model.spec.pod.image if model.spec else None) or model.annotations.get(names.SERVER_IMAGE_ANNOTATION)
    if asked:
        return asked
    if settings.upgrade_policy == "Rolling":
        return settings.server_image
    # The Deployment's word, for a status that was lost: in a restored backup, or a crash before it was written.
    return model.status.server_image or deployed_image(observed) or settings.server_image


def deployed_image(observed: Observed) -> str:
    """Return the image of the Deployment that is there, "" when there is none."""
    if observed.deployment is None:
        return ""
    containers: list[dict[str, Any]] = observed.deployment["spec"]["template"]["spec"]["containers"]
    return next((each["image"] for each in containers if each["name"] == SERVER), "")


def _refusal(observed: Observed) -> Outcome | None:
    model = observed.model
    if model.spec is None:
        return Outcome(reason=Reason.INVALID_SPEC, message=model.problem)
    if observed.rival:
        return Outcome(reason=Reason.DUPLICATE_ID, message=observed.rival)
    if observed.taken:
        message = (
            f"{' and '.join(observed.taken)} exists and does not belong to this ImageModel; nothing was written. "
            "Remove it, or give the ImageModel another name."
        )
        return Outcome(reason=Reason.NAME_CONFLICT, message=message)
    return None


def _immutable(observed: Observed) -> Outcome | None:
    wanted = claim(observed.model)
    if wanted is None or observed.claim is None:
        return None
    changes = immutable_changes(observed.claim, wanted)
    if not changes:
        return None
    message = (
        f"PersistentVolumeClaim {text_of(wanted, 'metadata', 'name')} cannot be changed: {'; '.join(changes)}. "
        "It stays as it is. Set spec.cache back, or delete the claim to have it made anew: what it holds is then "
        "downloaded again."
    )
    return Outcome(reason=Reason.IMMUTABLE_FIELD, message=message)


def _needed(wanted: list[tuple[Manifest | None, dict[str, Any]]]) -> Iterator[Manifest]:
    for live, bare in wanted:
        manifest = _marked(bare)
        if live is None or not covers(live, manifest):
            yield manifest if live is None else with_its_class(live, manifest)


def _marked(manifest: dict[str, Any]) -> Manifest:
    """Return the manifest with its own digest: what is no longer in it shows by the digest alone."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.APPLIED_ANNOTATION: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
