"""ImageModel specs: names, limits, and rules between fields."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.image_model import ImageModelSpec, Inference, last_segment
from imagegen_contract.image_size import ImageSize

IDENTITY = {"publisher": "acme", "family": "sd", "version": "1", "id": "acme/one"}


def spec(**fields: Any) -> ImageModelSpec:
    return msgspec.convert({**IDENTITY, **fields}, ImageModelSpec)


def test_identity_is_all_that_is_required() -> None:
    model = spec()
    assert (model.replicas, model.gpu.count, model.gpu.resource_name) == (1, 1, "nvidia.com/gpu")


def test_people_write_camel_case() -> None:
    encoded = msgspec.to_builtins(spec())
    assert {"guidanceScale", "maxPixels", "safetyChecker"} <= encoded["inference"].keys()


def test_a_spec_is_read_as_it_is_written() -> None:
    model = spec(aliases=["one"], inference={"steps": 4, "quality": {"low": 1, "medium": 4, "high": 8}})
    assert msgspec.json.decode(msgspec.json.encode(model), type=ImageModelSpec) == model


@pytest.mark.parametrize("model_id", ["a", "a/b", "A.b_c-1/x", "0/1"])
def test_an_id_that_is_allowed(model_id: str) -> None:
    assert spec(id=model_id).id == model_id


@pytest.mark.parametrize("model_id", ["", "/", "a/", "/b", "a/b/c", "a b", "-a", "a/.b", "ä/b", "a" * 129])
def test_an_id_that_is_refused(model_id: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"at `\$\.id`"):
        spec(id=model_id)


CONTRADICTIONS = {
    "an alias is not the id": ({"aliases": ["acme/one"]}, "aliases holds the id itself"),
    "steps are within maxSteps": ({"inference": {"steps": 5, "maxSteps": 4}}, "inference.steps is 5, above"),
    "guidance is within maxGuidanceScale": (
        {"inference": {"guidanceScale": 9, "maxGuidanceScale": 8}},
        "inference.guidanceScale is above inference.maxGuidanceScale",
    ),
    "the default sampler is among the allowed": (
        {"inference": {"scheduler": "ddim", "schedulers": ["euler"]}},
        "inference.scheduler ddim is not among inference.schedulers",
    ),
    "a default size has sides in multiples of 8": (
        {"inference": {"size": "513x512"}},
        "inference.size 513x512 .* nearest valid",
    ),
    "a default size is within the model's own limit": (
        {"inference": {"size": "512x512", "maxPixels": 65536}},
        "nearest valid size",
    ),
    "a size shown to clients is valid too": ({"inference": {"sizes": ["512x512", "8x8"]}}, "inference.sizes 8x8"),
    "no quality takes more steps than a request may": (
        {"inference": {"maxSteps": 50, "quality": {"low": 5, "medium": 9, "high": 99}}},
        "goes up to 99 steps, above inference.maxSteps 50",
    ),
}


@pytest.mark.parametrize(("fields", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        spec(**fields)


def test_unknown_fields_are_refused_at_every_depth() -> None:
    for fields in ({"x": 1}, {"inference": {"x": 1}}, {"gpu": {"x": 1}}):
        with pytest.raises(msgspec.ValidationError, match="unknown field `x`"):
            spec(**fields)


def test_weights_come_from_the_hub_repository_of_the_same_id_unless_the_entry_says_otherwise() -> None:
    assert spec().weights == "hf://acme/one"
    assert spec(source="file:///models/one").weights == "file:///models/one"


@pytest.mark.parametrize("source", ["s3://bucket", "hf:", "hf://", "acme/one", "HF://a"])
def test_a_source_of_an_unknown_scheme_is_refused(source: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"at `\$\.source`"):
        spec(source=source)


def test_the_default_size_is_left_to_the_weights_unless_the_entry_has_one() -> None:
    assert spec().default_size is None
    assert spec(inference={"size": "512x768"}).default_size == ImageSize(512, 768)


def test_quality_without_steps_of_its_own_halves_and_doubles() -> None:
    model = spec(inference={"steps": 30})
    assert [model.steps_for(quality) for quality in ("low", "medium", "high")] == [15, 30, 60]


def test_quality_takes_the_entrys_steps() -> None:
    model = spec(inference={"quality": {"low": 3, "medium": 5, "high": 7}})
    assert [model.steps_for(quality) for quality in ("low", "medium", "high")] == [3, 5, 7]


@given(st.data())
def test_quality_never_leaves_the_models_steps_and_never_falls(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 999))
    inference = Inference(steps=data.draw(st.integers(1, most)), max_steps=most)
    model = ImageModelSpec(publisher="p", family="f", version="v", id="a/b", inference=inference)
    steps = [model.steps_for(quality) for quality in ("low", "medium", "high")]
    assert steps == sorted(steps)
    assert steps[0] >= 1
    assert steps[-1] <= most


def test_the_last_segment_of_an_id() -> None:
    assert (last_segment("acme/one"), last_segment("one")) == ("one", "one")


NEWLINES = {
    "id": {"id": "acme/one\n"},
    "aliases": {"aliases": ["one\n"]},
    "source": {"source": "hf://acme/one\n"},
    "config": {"config": "hf://acme/one\n"},
    "inference.size": {"inference": {"size": "512x512\n"}},
    "gpu.resourceName": {"gpu": {"resourceName": "nvidia.com/gpu\n"}},
    "cache.claimName": {"cache": {"claimName": "models\n"}},
    "pod.resources.limits": {"pod": {"resources": {"limits": {"cpu": "1\n"}}}},
}


@pytest.mark.parametrize(("path", "fields"), NEWLINES.items(), ids=NEWLINES.keys())
def test_what_has_a_form_does_not_end_with_a_newline(path: str, fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"matching regex .* at `\$\.{path}"):
        spec(**fields)
