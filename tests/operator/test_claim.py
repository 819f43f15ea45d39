"""The claim of a cache on a real API server, which lets nobody change most of one."""

from typing import Any

import pytest

from cluster.api import Api, ApiError
from imagegen_contract import names
from imagegen_contract.conditions import Reason
from imagegen_operator.models import parse_model
from imagegen_operator.objects import Model, Observed
from imagegen_operator.plan import Plan, plan
from imagegen_operator.resources.claim import claim
from imagegen_operator.settings import OperatorSettings
from operator_scenes import image_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("crd")]

SETTINGS = OperatorSettings(server_image="registry.example/imagegen-server:1")
CACHE = {"size": "10Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany"}
KIND = "PersistentVolumeClaim"


def asked(kubernetes: Api, cache: dict[str, Any]) -> Model:
    """Return the ImageModel after somebody gave it this cache."""
    return parse_model(kubernetes.apply(image_model("one", cache=cache, replicas=0), manager="somebody"))


def planned(kubernetes: Api, model: Model) -> Plan:
    """Return what the operator would write now."""
    live = {kind: kubernetes.find(kind, name) for kind, name in (("Deployment", "one"), ("Service", "one"))}
    observed = Observed(
        model=model, claim=kubernetes.find(KIND, "one-cache"), deployment=live["Deployment"], service=live["Service"]
    )
    return plan(observed, SETTINGS)


def settle(kubernetes: Api, cache: dict[str, Any]) -> Plan:
    """Carry out the plan for this cache and return it; nothing is left to be written then."""
    model = asked(kubernetes, cache)
    found = planned(kubernetes, model)
    for each in found.apply:
        kubernetes.apply(each, manager=names.OPERATOR)
    assert planned(kubernetes, model).apply == ()
    return found


@pytest.mark.parametrize("cache", [{"accessMode": "ReadWriteOnce"}, {"storageClassName": "slow"}, {"size": "5Gi"}])
def test_what_the_plan_leaves_alone_is_what_kubernetes_refuses(kubernetes: Api, cache: dict[str, Any]) -> None:
    settle(kubernetes, CACHE)
    before = kubernetes.get(KIND, "one-cache")
    assert settle(kubernetes, {**CACHE, **cache}).outcome.reason is Reason.IMMUTABLE_FIELD
    assert kubernetes.get(KIND, "one-cache")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    wanted = claim(asked(kubernetes, {**CACHE, **cache}))
    assert wanted is not None
    with pytest.raises(ApiError, match="spec is immutable after creation"):
        kubernetes.apply(wanted, manager=names.OPERATOR)


def test_a_class_that_is_named_no_longer_stays(kubernetes: Api) -> None:
    settle(kubernetes, CACHE)
    left_out = {name: value for name, value in CACHE.items() if name != "storageClassName"}
    assert settle(kubernetes, left_out).outcome.reason is Reason.APPLIED
    assert kubernetes.get(KIND, "one-cache")["spec"]["storageClassName"] == "fast"


def test_another_writing_of_the_same_size_is_taken(kubernetes: Api) -> None:
    settle(kubernetes, CACHE)
    assert settle(kubernetes, {**CACHE, "size": 10 * 2**30}).outcome.reason is Reason.APPLIED


def test_the_reclaim_policy_may_change_both_ways(kubernetes: Api) -> None:
    """A claim with an owner goes with it; one without stays."""

    def owners(policy: str) -> list[str]:
        settle(kubernetes, {**CACHE, "reclaimPolicy": policy})
        metadata = kubernetes.get(KIND, "one-cache")["metadata"]
        kept = metadata["annotations"].get(names.RECLAIM_ANNOTATION, "")
        assert kept == ("Retain" if policy == "Retain" else "")
        return [each["name"] for each in metadata.get("ownerReferences", ())]

    assert [owners(policy) for policy in ("Delete", "Retain", "Delete")] == [["one"], [], ["one"]]
