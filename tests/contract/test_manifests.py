"""Entries of a catalog as ImageModels: what they say and nothing more."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from imagegen_contract.catalog import CatalogError
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.manifests import image_model, image_models, read_entries

MODELS_INFO = Path(__file__).parents[2] / "models_info.json"


def entry(model_id: str, **fields: Any) -> dict[str, Any]:
    return {"publisher": "acme", "family": "sd", "version": "1", "id": model_id, **fields}


def test_an_entry_is_the_spec_without_defaults() -> None:
    assert image_model(entry("Acme/One.5", replicas=0)) == {
        "apiVersion": "imagegen.dev/v1alpha1",
        "kind": "ImageModel",
        "metadata": {"name": "acme-one-5"},
        "spec": entry("Acme/One.5", replicas=0),
    }


def test_namespace_and_labels_are_written_when_given() -> None:
    model = image_model(entry("a/b"), namespace="there", labels={"x": "y"})
    assert model["metadata"] == {"name": "a-b", "namespace": "there", "labels": {"x": "y"}}


def test_the_entries_of_a_file_are_those_that_are_written() -> None:
    content = MODELS_INFO.read_bytes()
    for written in (content, b"\xef\xbb\xbf" + content):
        assert read_entries(written, "models_info.json") == json.loads(content)
    models, problems = image_models(read_entries(content, "models_info.json"))
    assert problems == []
    assert [msgspec.convert(model["spec"], ImageModelSpec).id for model in models.values()] == [
        each["id"] for each in json.loads(content)
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "found an empty file", id="empty"),
        pytest.param(b"{}", "a JSON list of model entries", id="no list"),
        pytest.param(b'[{"id": "a/b"}]', "entry 1 (a/b): field publisher: missing", id="a field is missing"),
        pytest.param(json.dumps([entry("a/b", stpes=4)]).encode(), "stpes: unknown field", id="misspelt"),
        pytest.param(json.dumps([entry("a/b")] * 2).encode(), "a name of a/b already", id="twice"),
    ],
)
def test_a_wrong_catalog_has_no_entries(content: bytes, said: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read_entries(content, "here.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith("here.json: ")


def test_of_two_ids_with_one_object_name_the_first_has_it() -> None:
    models, problems = image_models([entry("a/b-c"), entry("a/other"), entry("a-b/c"), entry("A/B-C")])
    assert {name: model["spec"]["id"] for name, model in models.items()} == {"a-b-c": "a/b-c", "a-other": "a/other"}
    assert problems == [
        f"{second}: left out, since its object name a-b-c is that of a/b-c already" for second in ("a-b/c", "A/B-C")
    ]
