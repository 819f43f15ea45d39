"""What is to be written for one ImageModel: the rules of plan.py, by name."""

import copy
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import golden_models
from any_spec import SPECS
from golden_models import Json
from imagegen_contract import names
from imagegen_contract.conditions import Reason
from imagegen_contract.image_model import ImageModelSpec
from imagegen_operator.objects import Manifest, Observed
from imagegen_operator.plan import Plan, plan
from imagegen_operator.settings import OperatorSettings

DEFAULT = "registry.example/server:default"
SETTINGS = OperatorSettings(server_image=DEFAULT)
ROLLING = OperatorSettings(server_image=DEFAULT, upgrade_policy="Rolling")

BARE: Json = {"publisher": "acme", "family": "sdxl", "version": "1.0", "id": "acme/one"}
CACHE: Json = {"size": "10Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany"}
CACHED: Json = {**BARE, "cache": CACHE}

FIELDS = {"Deployment": "deployment", "Service": "service", "PersistentVolumeClaim": "claim"}
Child = Literal["deployment", "service", "claim"]


def new(spec: Json = CACHED, **fields: Any) -> Observed:
    """Return an ImageModel that has nothing yet; ``fields`` are those of its Model."""
    return Observed(model=golden_models.model("one", spec, **fields))


def applied(observed: Observed, planned: Plan) -> Observed:
    """Return what is there once the plan was carried out."""
    written = {FIELDS[each["kind"]]: copy.deepcopy(msgspec.to_builtins(each)) for each in planned.apply}
    status = msgspec.structs.replace(observed.model.status, server_image=planned.image)
    model = msgspec.structs.replace(observed.model, status=status)
    return msgspec.structs.replace(observed, model=model, **written)


def deployed(spec: Json = CACHED) -> Observed:
    """Return an ImageModel with everything as the operator wrote it."""
    return applied(new(spec), plan(new(spec), SETTINGS))


def with_spec(observed: Observed, spec: Json) -> Observed:
    converted = msgspec.convert(spec, ImageModelSpec)
    return msgspec.structs.replace(observed, model=msgspec.structs.replace(observed.model, spec=converted))


def kinds(planned: Plan) -> list[str]:
    return [each["kind"] for each in planned.apply]


def test_an_image_that_is_no_longer_asked_for_stays() -> None:
    """Taking the line out restarts nothing."""
    asked = with_spec(deployed(BARE), {**BARE, "pod": {"image": "registry.example/server:own"}})
    moved = applied(asked, plan(asked, SETTINGS))
    again = plan(with_spec(moved, BARE), SETTINGS)
    assert (again.apply, again.image) == ((), "registry.example/server:own")


# Refusals


def refused(**fields: Any) -> Observed:
    return msgspec.structs.replace(deployed(), **fields)


UNREADABLE = msgspec.structs.replace(deployed().model, spec=None, problem="spec.pictures: not a field")
RIVAL = "acme/one is the id of ImageModel older"
TAKEN = ("Service one", "Deployment one")


@pytest.mark.parametrize(
    ("observed", "reason", "words"),
    [
        pytest.param(
            refused(model=UNREADABLE), Reason.INVALID_SPEC, "spec.pictures", id="a spec that is not understood"
        ),
        pytest.param(refused(rival=RIVAL), Reason.DUPLICATE_ID, RIVAL, id="an id that an older model has"),
        pytest.param(
            refused(taken=TAKEN), Reason.NAME_CONFLICT, "Service one and Deployment one exists", id="a name in use"
        ),
        pytest.param(
            refused(model=UNREADABLE, rival=RIVAL, taken=TAKEN), Reason.INVALID_SPEC, "spec.", id="the spec goes first"
        ),
        pytest.param(refused(rival=RIVAL, taken=TAKEN), Reason.DUPLICATE_ID, RIVAL, id="then the id"),
    ],
)
def test_a_refused_model_is_left_as_it_is(observed: Observed, reason: Reason, words: str) -> None:
    for children in ({}, {"deployment": None, "service": None, "claim": None}):
        planned = plan(msgspec.structs.replace(observed, **children), SETTINGS)
        assert (planned.apply, planned.outcome.reason, planned.image) == ((), reason, DEFAULT)
        assert words in planned.outcome.message


def test_a_refused_model_that_was_never_deployed_has_no_image() -> None:
    assert plan(msgspec.structs.replace(new(), rival=RIVAL), SETTINGS).image == ""


def test_a_model_that_goes_away_is_given_nothing() -> None:
    planned = plan(new(deleting=True), SETTINGS)
    assert (planned.apply, planned.outcome.reason) == ((), Reason.APPLIED)


# Claims


@pytest.mark.parametrize(
    ("live", "cache", "words"),
    [
        pytest.param(
            {},
            {"accessMode": "ReadWriteOnce"},
            "its access mode is ReadWriteMany, spec.cache.accessMode is ReadWriteOnce",
            id="its access mode stays",
        ),
        pytest.param(
            {},
            {"storageClassName": "slow"},
            "its class is fast, spec.cache.storageClassName is slow",
            id="its class stays",
        ),
        pytest.param(
            {"storageClassName": None},
            {},
            "its class is none, spec.cache.storageClassName is fast",
            id="none is a class too",
        ),
        pytest.param({}, {"size": "9.9Gi"}, "its size is 10Gi, spec.cache.size is", id="it does not shrink"),
    ],
)
def test_a_claim_keeps_what_nobody_can_change_and_the_rest_is_written(live: Json, cache: Json, words: str) -> None:
    before = deployed()
    assert before.claim is not None
    claim = {**before.claim, "spec": {**before.claim["spec"], **live}}
    spec = {**BARE, "revision": "another", "cache": {**CACHE, **cache}}
    planned = plan(msgspec.structs.replace(with_spec(before, spec), claim=claim), SETTINGS)
    assert kinds(planned) == ["Deployment"]
    assert planned.outcome.reason is Reason.IMMUTABLE_FIELD
    assert "PersistentVolumeClaim one-cache cannot be changed" in planned.outcome.message
    assert words in planned.outcome.message


def test_all_that_a_claim_keeps_is_told_at_once() -> None:
    spec = {**BARE, "cache": {"size": "1Gi", "storageClassName": "slow"}}
    message = plan(with_spec(deployed(), spec), SETTINGS).outcome.message
    assert [word in message for word in ("access mode", "class", "size")] == [True, True, True]


@pytest.mark.parametrize("size", ["10240Mi", 10737418240, "10Gi"])
def test_another_writing_of_the_same_size_is_no_change(size: int | str) -> None:
    planned = plan(with_spec(deployed(), {**BARE, "cache": {**CACHE, "size": size}}), SETTINGS)
    assert (kinds(planned), planned.outcome.reason) == (
        # Bytes are a decimal quantity, which Kubernetes stores in another writing.
        ["PersistentVolumeClaim"] if isinstance(size, int) else [],
        Reason.APPLIED,
    )


def test_a_claim_grows_after_all_else_was_written() -> None:
    """It may be refused, and what the spec changes besides is not to wait for that."""
    planned = plan(with_spec(deployed(), {**BARE, "revision": "b", "cache": {**CACHE, "size": "20Gi"}}), SETTINGS)
    assert kinds(planned) == ["Deployment", "PersistentVolumeClaim"]


def test_a_class_that_is_no_longer_named_is_the_one_that_the_claim_has() -> None:
    cache = {name: value for name, value in CACHE.items() if name != "storageClassName"}
    planned = plan(with_spec(deployed(), {**BARE, "cache": cache}), SETTINGS)
    (claim,) = planned.apply
    assert (claim["spec"]["storageClassName"], planned.outcome.reason) == ("fast", Reason.APPLIED)


def test_a_claim_of_the_default_class_is_not_written_again() -> None:
    observed = deployed({**BARE, "cache": {"size": "10Gi"}})
    assert observed.claim is not None
    claim = {**observed.claim, "spec": {**observed.claim["spec"], "storageClassName": "standard"}}
    assert plan(msgspec.structs.replace(observed, claim=claim), SETTINGS).apply == ()


def test_a_cache_that_is_no_longer_asked_for_is_left_alone() -> None:
    """What was downloaded goes with the ImageModel, not with a line of its spec."""
    planned = plan(with_spec(deployed(), BARE), SETTINGS)
    assert (kinds(planned), planned.outcome.reason) == (["Deployment"], Reason.APPLIED)


# What is written


def changed(child: Child, edit: dict[str, Any]) -> Observed:
    """Return a deployed model, one of whose children somebody edited: ``edit`` is by dotted path."""
    observed = deployed()
    manifest = copy.deepcopy(msgspec.to_builtins(getattr(observed, child)))
    for path, value in edit.items():
        *parents, name = path.split(" ")
        place = manifest
        for parent in parents:
            place = place[parent]
        place[name] = value
    return msgspec.structs.replace(observed, **{child: manifest})


APPLIED = names.APPLIED_ANNOTATION


@pytest.mark.parametrize(
    ("observed", "written"),
    [
        pytest.param(
            new(), ["PersistentVolumeClaim", "Service", "Deployment"], id="a new model gets all, what pods need first"
        ),
        pytest.param(new(BARE), ["Service", "Deployment"], id="no claim without a cache to create"),
        pytest.param(
            new({**BARE, "cache": {"claimName": "models"}}), ["Service", "Deployment"], id="no claim where one is named"
        ),
        pytest.param(deployed(), [], id="nothing when all is as wanted"),
        *(
            pytest.param(refused(**{field: None}), [kind], id=f"a {kind} that is gone comes back alone")
            for kind, field in FIELDS.items()
        ),
        pytest.param(changed("deployment", {"spec replicas": 5}), ["Deployment"], id="somebody's edit is undone"),
        pytest.param(changed("service", {"spec selector": {"a": "b"}}), ["Service"], id="a selector comes back"),
        pytest.param(changed("service", {"metadata labels": {}}), ["Service"], id="labels come back"),
        pytest.param(
            changed("deployment", {"metadata ownerReferences": []}), ["Deployment"], id="the owner comes back"
        ),
        pytest.param(changed("service", {"metadata labels team": "art"}), [], id="what others add stays"),
        pytest.param(changed("deployment", {"status": {"replicas": 1}}), [], id="a status is not ours"),
        pytest.param(
            changed("deployment", {f"metadata annotations {APPLIED}": "0"}),
            ["Deployment"],
            id="what another version wrote is written anew, for fields that this one leaves out",
        ),
        pytest.param(
            changed("claim", {f"metadata annotations {APPLIED}": "0"}), ["PersistentVolumeClaim"], id="also of a claim"
        ),
    ],
)
def test_what_is_written(observed: Observed, written: list[str]) -> None:
    assert kinds(plan(observed, SETTINGS)) == written


def test_every_object_says_by_its_digest_what_was_written() -> None:
    """Leaving a field out changes no value that is there; only the digest tells."""
    limited = {**BARE, "pod": {"nodeSelector": {"zone": "a"}}}
    before = deployed(limited)
    (written,) = plan(with_spec(before, BARE), SETTINGS).apply
    assert "nodeSelector" not in written["spec"]["template"]["spec"]
    marks = {each["metadata"]["annotations"][APPLIED] for each in (written, before.deployment or {})}
    assert len(marks) == 2


def settled(observed: Observed, operator: OperatorSettings) -> Observed:
    """Return what is there after one reconcile of what ``observed`` asks for."""
    return applied(observed, plan(observed, operator))


POLICIES = st.sampled_from([SETTINGS, ROLLING])


@settings(max_examples=25)
@given(st.lists(SPECS, min_size=1, max_size=3), POLICIES)
def test_what_was_carried_out_is_not_planned_again(specs: list[ImageModelSpec], operator: OperatorSettings) -> None:
    observed = new(BARE)
    for spec in specs:
        model = msgspec.structs.replace(observed.model, spec=spec)
        observed = settled(msgspec.structs.replace(observed, model=model), operator)
        assert plan(observed, operator).apply == ()


@settings(max_examples=25)
@given(SPECS)
def test_an_operator_with_another_default_image_writes_nothing(spec: ImageModelSpec) -> None:
    bare = new(BARE)
    observed = settled(msgspec.structs.replace(bare, model=msgspec.structs.replace(bare.model, spec=spec)), SETTINGS)
    upgraded = OperatorSettings(server_image="registry.example/server:99")
    assert plan(observed, upgraded).apply == ()


@settings(max_examples=25)
@given(SPECS, st.sets(st.sampled_from(sorted(FIELDS.values()))))
def test_a_crash_between_any_two_writes_ends_in_the_same(spec: ImageModelSpec, done: set[str]) -> None:
    bare = new(BARE)
    fresh = msgspec.structs.replace(bare, model=msgspec.structs.replace(bare.model, spec=spec))
    whole = settled(fresh, SETTINGS)
    half = msgspec.structs.replace(fresh, **{field: getattr(whole, field) for field in done})
    assert children(settled(half, SETTINGS)) == children(whole)


def children(observed: Observed) -> list[Manifest | None]:
    return [observed.claim, observed.service, observed.deployment]
