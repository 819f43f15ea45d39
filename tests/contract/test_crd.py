"""The resource definition as a document: what Kubernetes would refuse, what people would miss, what must not change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import yaml
from msgspec import Meta

from bad_image_models import BAD
from image_model_corpus import GOOD, IDENTITY, Json
from imagegen_contract.crd import resource_definition
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.structural_schema import UnboundedError, structural_schema

VERSION = resource_definition()["spec"]["versions"][0]
ROOT: Json = VERSION["schema"]["openAPIV3Schema"]
SPEC: Json = ROOT["properties"]["spec"]
STATUS: Json = ROOT["properties"]["status"]


def schemas(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Yield every schema within ``schema``, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from schemas(schema[key], path + mark)


ALL = {**dict(schemas(SPEC, "spec")), **dict(schemas(STATUS, "status"))}


def test_all_of_it_is_structural() -> None:
    allowed = {
        *(
            "type",
            "format",
            "description",
            "default",
            "enum",
            "required",
            "properties",
            "items",
            "additionalProperties",
        ),
        *("minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties"),
        *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations"),
        *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"),
    }
    assert {path: schema.keys() - allowed for path, schema in ALL.items() if schema.keys() - allowed} == {}
    untyped = [path for path, schema in ALL.items() if "type" not in schema]
    assert untyped == [path for path, schema in ALL.items() if "x-kubernetes-int-or-string" in schema]


def test_everything_has_a_bound() -> None:
    bounds = {"string": {"maxLength", "enum"}, "array": {"maxItems"}}
    lacking = [
        path for path, each in ALL.items() if not each.keys() & bounds.get(each.get("type", "string"), each.keys())
    ]
    assert lacking == []
    open_maps = [path for path, each in ALL.items() if "additionalProperties" in each and "maxProperties" not in each]
    assert open_maps == []


def test_every_list_says_how_two_writers_share_it() -> None:
    kinds = {
        path: schema.get("x-kubernetes-list-type") for path, schema in ALL.items() if schema.get("type") == "array"
    }
    assert kinds == {
        "spec.aliases": "set",
        "spec.inference.sizes": "atomic",
        "spec.inference.schedulers": "atomic",
        "spec.pod.env": "map",
        "spec.pod.tolerations": "atomic",
        "status.conditions": "map",
    }


def test_every_field_is_described_and_every_rule_says_what_is_allowed() -> None:
    silent = [path for path, each in ALL.items() if not path.endswith(("]", "}")) and not each.get("description")]
    assert [path for path in silent if "description" not in ROOT["properties"].get(path, {})] == []
    rules = [rule for schema in [ROOT, *ALL.values()] for rule in schema.get("x-kubernetes-validations", ())]
    assert [rule for rule in rules if not rule.get("message") or "\n" in rule["message"]] == []
    assert len(rules) > 30


DEFAULTS = {
    "spec.inference.steps": 30,
    "spec.inference.maxSteps": 100,
    "spec.inference.guidanceScale": 7.5,
    "spec.inference.maxGuidanceScale": 30.0,
    "spec.inference.safetyChecker": True,
    "spec.replicas": 1,
    "spec.gpu.count": 1,
    "spec.gpu.resourceName": "nvidia.com/gpu",
    "spec.rollout.maxSurge": 0,
    "spec.rollout.drainSeconds": 60,
    "spec.rollout.loadTimeoutSeconds": 3600,
}
"""Stored in every object that there is. Changing one here restarts the pods of all of them: see crd.py."""


def test_the_defaults_of_this_version_never_change() -> None:
    assert {
        path: each["default"] for path, each in ALL.items() if "default" in each and "properties" not in each
    } == DEFAULTS


def test_an_object_that_is_always_there_has_the_defaults_of_its_fields() -> None:
    objects = {path: each["default"] for path, each in ALL.items() if "default" in each and "properties" in each}
    assert set(objects) == {"spec.inference", "spec.gpu", "spec.rollout"}
    for path, default in objects.items():
        assert default == {
            field.removeprefix(f"{path}."): value for field, value in DEFAULTS.items() if field.startswith(f"{path}.")
        }


def test_the_defaults_are_those_of_a_catalog() -> None:
    filled = {name: each["default"] for name, each in SPEC["properties"].items() if "default" in each}
    assert msgspec.convert({**IDENTITY, **filled}, ImageModelSpec) == msgspec.convert(IDENTITY, ImageModelSpec)


def test_defaults_that_are_not_filled_in_are_told_too() -> None:
    assert ALL["spec.cache.accessMode"]["description"].endswith(". Default: ReadWriteOnce")
    assert ALL["spec.hubTokenSecretRef.key"]["description"].endswith("Default: token")


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD.keys())
def test_a_catalog_takes_what_kubernetes_takes(spec: Json) -> None:
    model = msgspec.convert(spec, ImageModelSpec)
    assert msgspec.convert(msgspec.to_builtins(model), ImageModelSpec) == model


@pytest.mark.parametrize("spec", [spec for spec, _ in BAD.values()], ids=BAD.keys())
def test_a_catalog_refuses_what_kubernetes_refuses(spec: Json) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(spec, ImageModelSpec)


def test_the_files_for_kubectl_and_for_the_chart_hold_it(repository: Path) -> None:
    for path in ("deploy/crd.yaml", "charts/imagegen/files/crd.yaml"):
        assert yaml.safe_load((repository / path).read_text()) == resource_definition()


class OpenText(msgspec.Struct):
    """Text of any length."""

    text: str = ""


class OpenList(msgspec.Struct):
    """A list of any length."""

    texts: tuple[Annotated[str, Meta(max_length=1)], ...] = ()


class OpenMap(msgspec.Struct):
    """A map of any keys."""

    texts: Annotated[dict[str, int], Meta(max_length=1)] = {}


class Dollar(msgspec.Struct):
    """Text that may end with a newline in Python and not in Kubernetes."""

    text: Annotated[str, Meta(max_length=1, pattern="^a$")] = ""


@pytest.mark.parametrize("struct", [OpenText, OpenList, OpenMap])
def test_what_has_no_bound_is_refused(struct: type[msgspec.Struct]) -> None:
    with pytest.raises(UnboundedError):
        structural_schema(struct, {}, filled=True)


def test_a_pattern_that_python_reads_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must end with \\Z"):
        structural_schema(Dollar, {}, filled=True)


def test_the_pages_of_kubectl_explain_speak_of_no_python() -> None:
    told = [text for each in ALL.values() if (text := str(each.get("description", "")))]
    words = ("Raises", "None", "``", "ValueError", "tuple")
    assert [text for text in told for word in words if word in text] == []


def columns(priority: int) -> list[Any]:
    return [column["name"] for column in VERSION["additionalPrinterColumns"] if column.get("priority", 0) == priority]


def test_the_columns_of_kubectl_get() -> None:
    assert columns(0) == ["Ready", "Reason", "Desired", "Available", "Model", "Device", "Age"]
    assert columns(1) == ["Source", "Message"]
