"""Laws of every status: it is valid, steady, and its times change only when a condition turns."""

from datetime import datetime
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.conditions import ConditionType, ImageModelStatus, Reason
from imagegen_contract.crd import resource_definition
from imagegen_contract.explanations import REASONS
from imagegen_contract.load_failures import LoadFailure
from imagegen_operator.objects import Observed, Outcome
from imagegen_operator.readiness import status
from model_scenes import APPLIED, RECORDED, deployment, model, observed, pod, server, transfer, waiting
from status_cases import AVAILABLE, DEGRADED, PROGRESSING, QUOTA, READY, RECONCILED, loads

NOW = "2026-01-01T12:30:00Z"
LATER = "2026-01-01T12:40:00Z"
IMAGE = "registry.example/imagegen-server:1.0.0"
RETRIED_QUOTA = QUOTA.replace("l5h28", "x2x2x")

STEADY = {
    "a refusal of which each try is another pod": (
        observed(rollout=deployment(pods=0, refusal=QUOTA)),
        observed(rollout=deployment(pods=0, refusal=RETRIED_QUOTA)),
    ),
    "a node that refuses one pod after the other": (
        observed(pod("refused by its node", "m-1")),
        observed(pod("refused by its node", "m-1"), pod("refused by its node", "m-2", created="12:01")),
    ),
    "a pull that fails and a pause before the next one": (
        observed(waiting("ErrImagePull", message='failed to pull "x": refused')),
        observed(
            waiting("ImagePullBackOff", message='Back-off pulling image "x": ErrImagePull: failed to pull "x": refused')
        ),
    ),
    "a download that stands still but for its rate": (
        loads(progress=transfer(3e9, 6e9, eta=601, rate=5e6)),
        loads(progress=transfer(3e9 + 1e6, 6e9, eta=640, rate=4.7e6)),
    ),
    "pods in another order": (
        observed(pod("crash loop", "m-1"), pod("crash loop", "m-2")),
        observed(pod("crash loop", "m-2"), pod("crash loop", "m-1")),
    ),
}


@pytest.mark.parametrize(("one", "other"), STEADY.values(), ids=STEADY.keys())
def test_what_means_the_same_gives_the_same_status(one: Observed, other: Observed) -> None:
    assert status(one, APPLIED, IMAGE, NOW) == status(other, APPLIED, IMAGE, NOW)


# Any combination of facts

PODS = st.builds(
    pod,
    st.sampled_from(sorted(RECORDED)),
    st.sampled_from(["m-1", "m-2", "m-3"]),
    template=st.sampled_from(["old", "new"]),
    created=st.sampled_from(["11:00", "12:00", "12:01"]),
    leaving=st.booleans(),
)
COUNTS = st.integers(0, 4)


@st.composite
def deployments(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a Deployment whose counts can be: of the pods that there are some are updated, and some are ready."""
    pods = draw(COUNTS)
    return deployment(
        draw(COUNTS),
        pods=pods,
        updated=draw(st.integers(0, pods)),
        ready=draw(st.integers(0, pods)),
        generation=draw(st.integers(1, 3)),
        observed=draw(st.integers(0, 3)),
        progress=draw(st.sampled_from(["ReplicaSetUpdated", "NewReplicaSetAvailable", "ProgressDeadlineExceeded"])),
        refusal=draw(st.sampled_from(["", QUOTA]) | st.text()),
    )


REPORTS = st.builds(
    server,
    state=st.sampled_from(["unloaded", "loading", "ready", "failed"]),
    stage=st.text(max_size=50),
    reason=st.none() | st.sampled_from(LoadFailure),
    error=st.text(max_size=3000),
    progress=st.none()
    | st.builds(transfer, st.integers(0, 100), st.integers(1, 10**11), eta=st.none() | st.floats(0, 1e6)),
    revision=st.text(max_size=3000),
    load_seconds=st.floats(-1, 1e6),
)
OUTCOMES = st.builds(
    Outcome,
    reason=st.sampled_from([reason for reasons in REASONS[RECONCILED].values() for reason in reasons]),
    message=st.text(max_size=3000),
)
SITUATIONS = st.builds(
    lambda many, rollout, pods, servers: Observed(  # pyright: ignore[reportUnknownLambdaType] - of strategies
        model=model(many), deployment=rollout, pods=tuple(pods), servers=servers
    ),
    COUNTS,
    st.none() | deployments(),
    st.lists(PODS, max_size=4, unique_by=lambda pod: pod["metadata"]["name"]),
    st.dictionaries(st.sampled_from(["uid-m-1", "uid-m-2", "uid-m-3"]), REPORTS),
)
SCHEMA: dict[str, Any] = resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA["properties"]["status"])


@given(SITUATIONS, OUTCOMES)
def test_any_combination_gives_a_status_that_the_api_server_takes(situation: Observed, outcome: Outcome) -> None:
    after = status(situation, outcome, IMAGE, NOW)
    VALIDATOR.validate(msgspec.to_builtins(after))
    assert [each.type for each in after.conditions] == list(ConditionType)
    for each in after.conditions:
        assert len(each.message.encode()) <= 1000
        assert each.message.isprintable()
        assert each.reason in REASONS[ConditionType(each.type)].get(each.status, ())  # pyright: ignore[reportCallIssue] - by value
        assert datetime.fromisoformat(each.last_transition_time)


@given(SITUATIONS, OUTCOMES)
def test_a_status_that_is_written_is_not_written_again(situation: Observed, outcome: Outcome) -> None:
    after = status(situation, outcome, IMAGE, NOW)
    kept = msgspec.convert(msgspec.to_builtins(after), ImageModelStatus)
    again = msgspec.structs.replace(situation, model=msgspec.structs.replace(situation.model, status=kept))
    assert status(again, outcome, IMAGE, LATER) == after


@given(SITUATIONS, SITUATIONS, OUTCOMES, OUTCOMES)
def test_the_time_of_a_condition_changes_only_with_its_status(
    one: Observed, other: Observed, first: Outcome, then: Outcome
) -> None:
    before = status(one, first, IMAGE, NOW)
    changed = msgspec.structs.replace(other, model=msgspec.structs.replace(other.model, status=before))
    for old, new in zip(before.conditions, status(changed, then, IMAGE, LATER).conditions, strict=True):
        assert new.last_transition_time == (NOW if old.status == new.status else LATER)


@given(SITUATIONS, OUTCOMES)
def test_a_model_that_is_ready_is_not_degraded_and_has_all_its_pods(situation: Observed, outcome: Outcome) -> None:
    after = status(situation, outcome, IMAGE, NOW)
    found = {each.type: each for each in after.conditions}
    if found[READY].status == "True":
        assert found[DEGRADED].status == "False"
        assert found[PROGRESSING].status == "False"
        assert (found[AVAILABLE].status == "True") is (found[READY].reason == Reason.ALL_REPLICAS_READY)
