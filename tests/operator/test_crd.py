"""The ImageModel resource on a real API server: what is refused and how, what is filled in, what kubectl shows."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bad_image_models import BAD
from cluster.api import Api, ApiError
from cluster.control_plane import ControlPlane
from conftest import Show
from image_model_corpus import CREATED, GOOD, IDENTITY, Json, spec
from imagegen_contract import names
from imagegen_contract.catalog import load_catalog
from imagegen_contract.conditions import Condition, ImageModelStatus
from imagegen_contract.crd import NAME
from imagegen_contract.image_model import ImageModelSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("crd")]

BAD_NAMES = ["1one", "one.two", "a" * 41]
NAME_RULE = "Allowed: at most 40 of a-z, 0-9 and -, a letter first: Services and pods are named after it"


def manifest(name: str = "one", **fields: object) -> Json:
    return {
        "apiVersion": f"{names.API_GROUP}/{names.API_VERSION}",
        "kind": names.KIND,
        "metadata": {"name": name},
        **fields,
    }


def tried(kubernetes: Api, document: Json, name: str = "one") -> Json:
    """Create an ImageModel as a dry run, which goes through all of admission; return what would be stored.

    Raises ApiError when it is refused.
    """
    query = {"fieldValidation": "Strict", "dryRun": "All"}
    return kubernetes.request("POST", kubernetes.path(names.KIND), manifest(name, spec=document), params=query)


def refusal(kubernetes: Api, document: Json, name: str = "one") -> list[str]:
    """Return what a refusal names, a line for each field and rule; [] when there was none."""
    try:
        tried(kubernetes, document, name)
    except ApiError as error:
        causes = error.status.get("details", {}).get("causes", [])
        # Beside the fields it says that other rules were not looked at, which depends on the version.
        told = [f"{cause['field']}: {cause['message']}" for cause in causes if cause["field"] != "<nil>"]
        return sorted(told) or [error.message]
    return []


def decoded(document: Json) -> ImageModelSpec:
    return msgspec.convert(document, ImageModelSpec)


def taken_by_catalogs(document: Json) -> bool:
    try:
        decoded(document)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.acceptance
def test_good_ones_are_taken_and_bad_ones_are_refused_with_field_and_rule(kubernetes: Api, show: Show) -> None:
    assert {name: told for name, good in GOOD.items() if (told := refusal(kubernetes, good))} == {}
    found = {name: refusal(kubernetes, bad) for name, (bad, _) in BAD.items()}
    assert found == {name: sorted(told) for name, (_, told) in BAD.items()}
    named = {name: refusal(kubernetes, spec(), name) for name in BAD_NAMES}
    assert named == {name: [f"metadata.name: Invalid value: {NAME_RULE}"] for name in BAD_NAMES}
    bad = len(BAD) + len(BAD_NAMES)
    show("5.2 corpus", f"{len(GOOD)} good ImageModels taken, {bad} bad ones refused, each with field and rule")


def test_the_longest_name_is_taken(kubernetes: Api) -> None:
    assert refusal(kubernetes, spec(), "a" * 40) == []


def test_a_spec_is_read_back_as_it_was_meant(kubernetes: Api, repository: Path) -> None:
    catalog: list[Json] = json.loads((repository / "models_info.json").read_text())
    assert len(catalog) == len(load_catalog(repository / "models_info.json"))
    for meant in [*GOOD.values(), *catalog]:
        assert decoded(tried(kubernetes, meant)["spec"]) == decoded(meant)


@pytest.mark.acceptance
def test_the_defaults_are_those_that_are_documented(kubernetes: Api, show: Show) -> None:
    filled: Json = tried(kubernetes, spec(cache=CREATED, hubTokenSecretRef={"name": "hub"}))["spec"]
    assert filled == {
        **IDENTITY,
        "inference": {
            "steps": 30,
            "maxSteps": 100,
            "guidanceScale": 7.5,
            "maxGuidanceScale": 30,
            "safetyChecker": True,
        },
        "replicas": 1,
        "gpu": {"count": 1, "resourceName": "nvidia.com/gpu"},
        "rollout": {"maxSurge": 0, "drainSeconds": 60, "loadTimeoutSeconds": 3600},
        "cache": CREATED,
        "hubTokenSecretRef": {"name": "hub"},
    }
    show("5.2 defaults as documented", "11 filled in, none beside optional objects")


SIZES = st.sampled_from(
    ["64x64", "512x512", "512x520", "60x64", "8192x8200", "8192x8192", "9x9", "0x8", "x", "512x512\n"]
)
STEPS = st.integers(0, 5) | st.sampled_from([50, 100, 101, 999, 1000])
GUIDANCE = st.sampled_from([-1, 0, 0.5, 7, 7.5, 7.6, 30, 30.1, 50, 51])
SAMPLERS = st.sampled_from(["euler", "ddim", "lcm", "dimm"])
NAMES = st.sampled_from(["one", "acme/one", "acme/two", "a b", "-", "a/b/c", "é", "x\n"])
SEGMENTS = st.sampled_from(["", "models", "one.two", "..", ".", "...", ".a", "..a", "a..b", "A_b", "a b", "\n", "é"])
SOURCES = st.builds(
    "{}://{}".format,
    st.sampled_from(["hf", "file", "builtin", "pvc", "s3", ""]),
    st.lists(SEGMENTS, max_size=4).map("/".join),
)
QUANTITIES = st.sampled_from(["1", "0", "0Gi", "1.5Gi", ".5", "1e3", "1 Gi", "1Gi\n", "-1", 0, 1, -1, "m", "10k", "1K"])
RESOURCES = st.dictionaries(
    st.sampled_from(["cpu", "memory", "mem", "nvidia.com/gpu", "amd.com/gpu", "a/b/c", "", "x/", "hugepages-2Mi"]),
    QUANTITIES,
    max_size=2,
)
TEXTS = st.sampled_from(
    ["", "a", "A.b", "a/b", "a/b/c", "-", "a" * 64, "a" * 254, "x y", "é", "example.com/Zone_1", "a\n"]
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


SPECS = some(
    id=NAMES,
    aliases=st.lists(NAMES, max_size=3),
    source=SOURCES,
    config=SOURCES,
    inference=some(
        steps=STEPS,
        maxSteps=STEPS,
        guidanceScale=GUIDANCE,
        maxGuidanceScale=GUIDANCE,
        size=SIZES,
        sizes=st.lists(SIZES, max_size=2),
        maxPixels=st.sampled_from([4095, 4096, 262144, 266240, 67108864]),
        scheduler=SAMPLERS,
        schedulers=st.lists(SAMPLERS, max_size=3),
        quality=st.fixed_dictionaries({"low": STEPS, "medium": STEPS, "high": STEPS}),
    ),
    replicas=st.sampled_from([-1, 0, 1, 2, 1001]),
    gpu=some(count=st.sampled_from([0, 1, 17]), resourceName=TEXTS | st.just("amd.com/gpu")),
    cache=some(
        claimName=TEXTS,
        size=QUANTITIES,
        storageClassName=TEXTS,
        accessMode=st.sampled_from(["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]),
    ),
    rollout=some(maxSurge=st.sampled_from([0, 1])),
    hubTokenSecretRef=st.fixed_dictionaries({"name": TEXTS}, optional={"key": TEXTS}),
    pod=some(
        image=TEXTS,
        resources=some(limits=RESOURCES, requests=RESOURCES),
        env=st.lists(st.fixed_dictionaries({"name": TEXTS}), max_size=2),
        nodeSelector=st.dictionaries(TEXTS, TEXTS, max_size=2),
        tolerations=st.lists(
            some(
                key=TEXTS,
                operator=st.sampled_from(["Exists", "Equal"]),
                value=TEXTS,
                effect=st.sampled_from(["", "NoSchedule", "NoExecute"]),
                tolerationSeconds=st.sampled_from([-1, 0, 5]),
            ),
            max_size=2,
        ),
        runtimeClassName=TEXTS,
    ),
)
"""Specs at and beyond the edges. Few fields at a time, or hardly any would be right."""

FEW = st.sets(st.sampled_from(["id", "aliases", "source", "config", "inference", "replicas"]), max_size=2) | st.sets(
    st.sampled_from(["gpu", "cache", "rollout", "replicas", "hubTokenSecretRef", "pod"]), max_size=3
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=SPECS, few=FEW)
def test_kubernetes_and_a_catalog_agree_on_any_spec(kubernetes: Api, drawn: Json, few: set[str]) -> None:
    document = {**IDENTITY, **{name: value for name, value in drawn.items() if name in few}}
    refused = refusal(kubernetes, document)
    assert (not refused) == taken_by_catalogs(document), (document, refused)
    if not refused:
        assert decoded(tried(kubernetes, document)["spec"]) == decoded(document)


def test_the_definition_is_taken_without_a_warning(control_plane: ControlPlane, repository: Path) -> None:
    """And is structural: the API server says NonStructuralSchema where one is not."""
    apply = ("apply", "--server-side", "--dry-run=server", "--field-manager=tests", "--warnings-as-errors")
    control_plane.kubectl(*apply, "-f", str(repository / "deploy/crd.yaml"))
    conditions = control_plane.api().get("CustomResourceDefinition", NAME)["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions} == {"NamesAccepted": "True", "Established": "True"}


def test_an_upgrade_to_the_same_definition_changes_nothing(kubernetes: Api, repository: Path) -> None:
    written: Json = yaml.safe_load((repository / "deploy/crd.yaml").read_text())
    before = kubernetes.get("CustomResourceDefinition", NAME)
    after = kubernetes.apply(written)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    stored = {name: value for name, value in after["spec"].items() if name != "conversion"}
    assert stored == written["spec"], "what the API server drops or fills in would differ at each upgrade"


def test_kubectl_explain_reads_like_documentation(control_plane: ControlPlane) -> None:
    for field in ("", ".spec", ".spec.inference", ".spec.cache", ".spec.pod", ".spec.pod.env", ".status.conditions"):
        page = control_plane.kubectl("explain", f"imagemodel{field}")
        assert "DESCRIPTION:" in page
        assert "<no description>" not in page, field
    assert "Denoising steps. Default: 30" in control_plane.kubectl("explain", "im.spec.inference.steps")


READY = Condition(
    type="Ready",
    status="False",
    reason="Downloading",
    message="41 % of 6.9 GB",
    observed_generation=1,
    last_transition_time="2026-03-02T09:00:00Z",
)


def write_status(kubernetes: Api, status: ImageModelStatus) -> Json:
    """Write a status as the operator does: server-side apply."""
    query = {"fieldManager": names.OPERATOR, "fieldValidation": "Strict"}
    headers = {"content-type": "application/apply-patch+yaml"}
    body = manifest(status=msgspec.to_builtins(status))
    path = f"{kubernetes.path(names.KIND, 'one')}/status"
    return kubernetes.request("PATCH", path, body, params=query, headers=headers)


def test_kubectl_get_shows_what_matters(control_plane: ControlPlane, kubernetes: Api) -> None:
    kubernetes.create(manifest(spec=spec(source="hf://acme/one")))
    write_status(kubernetes, ImageModelStatus(conditions=(READY,), replicas=1, device="cuda (NVIDIA H100)"))
    get = ("--namespace", kubernetes.namespace, "get")
    head, row = control_plane.kubectl(*get, "im", "-o", "wide").splitlines()
    columns = ["NAME", "READY", "REASON", "DESIRED", "AVAILABLE", "MODEL", "DEVICE", "AGE", "SOURCE", "MESSAGE"]
    assert head.split() == columns
    shown = ["one", "False", "Downloading", "1", "0", "acme/one", "cuda (NVIDIA H100)", "hf://acme/one", READY.message]
    assert [text for text in shown if text not in row] == []
    assert control_plane.kubectl(*get, "imodel").splitlines()[0].split() == columns[:-2]
    assert "imagemodel.imagegen.dev/one" in control_plane.kubectl(*get, "all", "-o", "name")


def test_a_status_is_written_whole_and_beside_the_spec(kubernetes: Api) -> None:
    kubernetes.create(manifest(spec=spec()))
    status = ImageModelStatus(observed_generation=1, conditions=(READY,), load_seconds=12.5)
    written = write_status(kubernetes, status)
    assert msgspec.convert(written["status"], ImageModelStatus) == status
    assert written["status"].keys() == msgspec.to_builtins(status).keys()
    assert written["metadata"]["generation"] == 1


def test_kubectl_scale_and_autoscalers_see_the_replicas(control_plane: ControlPlane, kubernetes: Api) -> None:
    kubernetes.create(manifest(spec=spec()))
    write_status(kubernetes, ImageModelStatus(replicas=1, selector="imagegen.dev/model=one"))
    scale = kubernetes.request("GET", f"{kubernetes.path(names.KIND, 'one')}/scale")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 1, "selector": "imagegen.dev/model=one"}
    control_plane.kubectl("--namespace", kubernetes.namespace, "scale", "im/one", "--replicas=3")
    assert kubernetes.get(names.KIND, "one")["spec"]["replicas"] == 3


def test_kubectl_scale_is_held_to_the_rules_too(control_plane: ControlPlane, kubernetes: Api) -> None:
    kubernetes.create(manifest(spec=spec(cache=CREATED)))
    with pytest.raises(AssertionError, match="Allowed: at most 1 with a claim that serves one pod"):
        control_plane.kubectl("--namespace", kubernetes.namespace, "scale", "im/one", "--replicas=2")
    assert kubernetes.get(names.KIND, "one")["spec"]["replicas"] == 1


def applied(kubernetes: Api, manager: str, document: Json) -> Json:
    """Write a spec by server-side apply without force; return the spec as it stands then."""
    return kubernetes.apply(manifest(spec=document), manager=manager, force=False)["spec"]


def test_a_default_belongs_to_nobody(kubernetes: Api) -> None:
    """Who writes another value takes the field without a conflict, and gives it back by writing it no more."""
    applied(kubernetes, "catalog", spec())
    assert applied(kubernetes, "somebody", {"inference": {"steps": 20}})["inference"]["steps"] == 20
    with pytest.raises(ApiError, match=r'conflict with "somebody": \.spec\.inference\.steps'):
        applied(kubernetes, "catalog", spec(inference={"steps": 25}))
    assert applied(kubernetes, "somebody", {})["inference"]["steps"] == 30


def test_the_aliases_of_two_writers_stand_together(kubernetes: Api) -> None:
    applied(kubernetes, "catalog", spec(aliases=["one", "uno"]))
    assert applied(kubernetes, "somebody", {"aliases": ["eins"]})["aliases"] == ["one", "uno", "eins"]
    assert applied(kubernetes, "catalog", spec(aliases=["one"]))["aliases"] == ["one", "eins"]


def test_the_id_of_a_model_may_change(kubernetes: Api) -> None:
    applied(kubernetes, "catalog", spec())
    assert applied(kubernetes, "catalog", spec(id="acme/two"))["id"] == "acme/two"
