"""msgspec's errors, read into path and rule in the words of JSON."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.images import GenerateImage
from imagegen_contract.server_settings import ServerSettings
from imagegen_contract.validation import (
    Violation,
    field_types,
    meaning_of,
    shown,
    type_options,
    value_at,
    violation,
    violations,
)
from imagegen_operator.settings import OperatorSettings
from imagegen_router.settings import RouterSettings

IDENTITY = {"publisher": "acme", "family": "sd", "version": "1", "id": "acme/one"}


def error_of(document: object, struct: type[msgspec.Struct]) -> msgspec.ValidationError:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(document), type=struct)
    return caught.value


REQUESTS: dict[str, tuple[object, str, str]] = {
    "a wrong type": ({"prompt": 1}, "prompt", "expected string, got integer"),
    "a wrong type where null is allowed": ({"prompt": "x", "n": "1"}, "n", "expected integer or null, got string"),
    "a fraction for an integer": ({"prompt": "x", "n": 1.5}, "n", "expected integer or null, got number"),
    "a switch for an integer": ({"prompt": "x", "n": True}, "n", "expected integer or null, got boolean"),
    "an object for a string": ({"prompt": {}}, "prompt", "expected string, got object"),
    "a number that is too large": ({"prompt": "x", "n": 11}, "n", "expected integer <= 10"),
    "a number that is too small": ({"prompt": "x", "seed": -1}, "seed", "expected integer >= 0"),
    "text that is too short": ({"prompt": "x", "model": ""}, "model", "must not be empty"),
    "text that is too long": ({"prompt": "x", "user": "y" * 513}, "user", "expected string of length <= 512"),
    "a prompt without a word": ({"prompt": " \n"}, "prompt", "must not be empty"),
    "text that does not fit its pattern": (
        {"prompt": "x", "size": "big"},
        "size",
        "expected WIDTHxHEIGHT in pixels, such as 512x512, or auto",
    ),
    "a word that is not among the allowed": (
        {"prompt": "x", "quality": "best"},
        "quality",
        "allowed: auto, hd, high, low, medium, standard",
    ),
    "a number where words are allowed": (
        {"prompt": "x", "quality": 3},
        "quality",
        "expected string or null, got integer; allowed: auto, hd, high, low, medium, standard",
    ),
    "no object at all": ([], "", "expected object, got array"),
}


@pytest.mark.parametrize(("document", "path", "rule"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_violation_of_a_request(document: object, path: str, rule: str) -> None:
    error = error_of(document, GenerateImage)
    assert violation(error, GenerateImage) == Violation(path=path, rule=rule)


def test_a_missing_field_is_named() -> None:
    error = error_of({}, GenerateImage)
    expected = Violation(path="prompt", rule="missing, and it is required", kind="missing")
    assert violation(error) == violation(error, GenerateImage) == expected


def test_an_unknown_field_is_told_the_nearest_and_all() -> None:
    broken = violation(error_of({"prompt": "x", "seeed": 1}, GenerateImage), GenerateImage)
    assert (broken.path, broken.kind) == ("seeed", "unknown")
    assert broken.rule.startswith("unknown field; did you mean seed? allowed: prompt, model, n, size, ")


def test_an_unknown_field_deep_inside_is_told_the_fields_of_its_object() -> None:
    broken = violation(error_of({**IDENTITY, "gpu": {"number": 1}}, ImageModelSpec), ImageModelSpec)
    assert broken == Violation(path="gpu.number", rule="unknown field; allowed: count, resourceName", kind="unknown")


@pytest.mark.parametrize("name", ["a.b", "a`b", "", "[0]", "x` - at `$.gpu", "\n"])
def test_an_unknown_field_with_a_hostile_name_is_read_without_a_crash(name: str) -> None:
    broken = violation(error_of({**IDENTITY, name: 1}, ImageModelSpec), ImageModelSpec)
    assert (broken.kind, broken.rule.startswith("unknown field; ")) == ("unknown", True)


def test_without_the_struct_the_rule_is_only_put_into_words() -> None:
    assert (
        violation(error_of({"prompt": "x", "quality": "best"}, GenerateImage)).rule == "is not among the allowed values"
    )
    assert violation(error_of({"prompt": ""}, GenerateImage)).rule == "has not the right form"
    assert violation(error_of({"prompt": "x", "seeed": 1}, GenerateImage)).rule == "unknown field"


def test_every_enum_field_of_a_request_says_what_is_allowed() -> None:
    for name in ("response_format", "output_format", "quality", "background", "moderation", "style"):
        broken = violation(error_of({"prompt": "x", name: "?"}, GenerateImage), GenerateImage)
        assert (broken.path, broken.rule.startswith("allowed: ")) == (name, True)


STRUCTS = (GenerateImage, ImageModelSpec, ServerSettings, RouterSettings, OperatorSettings)


def fields_within(struct: type[msgspec.Struct]) -> Iterator[tuple[str, msgspec.inspect.Type]]:
    for name, kind in field_types(struct).items():
        yield name, kind
        for option in type_options(kind):
            for inner in (getattr(option, "item_type", None), getattr(option, "value_type", None), option):
                if isinstance(inner, msgspec.inspect.StructType):
                    yield from fields_within(inner.cls)
                elif inner is not None and inner is not option:
                    yield name, inner


def patterns(kind: msgspec.inspect.Type) -> list[str]:
    return [
        option.pattern
        for option in type_options(kind)
        if isinstance(option, msgspec.inspect.StrType) and option.pattern
    ]


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_pattern_has_words(struct: type[msgspec.Struct]) -> None:
    """Nobody is shown a regular expression."""
    with_pattern = {name: meaning_of(kind) for name, kind in fields_within(struct) if patterns(kind)}
    assert with_pattern
    assert [name for name, words in with_pattern.items() if not words] == []


def test_a_rule_of_our_own_is_left_as_it_is_written() -> None:
    class Pair(msgspec.Struct):
        low: int = 0

        def __post_init__(self) -> None:
            raise ValueError("Expectations of `int` differ")

    assert violation(error_of({}, Pair), Pair).rule == "Expectations of `int` differ"


def test_all_violations_are_found_at_once() -> None:
    document = {"id": "a b", "gpu": {"count": -1, "x": 1}, "inference": 3, "y": 0}
    assert {broken.path for broken in violations(document, ImageModelSpec)} == {
        *("publisher", "family", "version", "id", "gpu.count", "gpu.x", "inference", "y")
    }


def test_rules_between_fields_are_looked_at_when_each_field_is_right() -> None:
    wrong = {**IDENTITY, "aliases": ["acme/one"]}
    assert [broken.rule for broken in violations(wrong, ImageModelSpec)] == ["aliases holds the id itself"]
    assert [broken.path for broken in violations({**wrong, "replicas": -1}, ImageModelSpec)] == ["replicas"]


def test_elements_of_lists_and_values_of_objects_have_their_hint() -> None:
    class Deep(msgspec.Struct):
        colours: dict[str, list[Literal["red", "blue"]]] = {}

    broken = violations({"colours": {"x": ["red", "green"]}}, Deep)
    assert broken == [Violation(path="colours[...][1]", rule="allowed: blue, red")]


def test_what_is_right_has_no_violations() -> None:
    assert violations(IDENTITY, ImageModelSpec) == []


def test_text_is_read_as_numbers_only_where_that_is_wanted() -> None:
    document = {**IDENTITY, "replicas": "3"}
    assert violations(document, ImageModelSpec, strict=False) == []
    assert [broken.path for broken in violations(document, ImageModelSpec)] == ["replicas"]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["id", "prompt", "n", "quality", "aliases", "inference", "gpu"]) | st.text(max_size=5)


@given(st.dictionaries(NAMES, JSON, max_size=5) | JSON, st.sampled_from([GenerateImage, ImageModelSpec]))
def test_msgspec_and_violations_agree_on_what_is_right(document: object, struct: type[msgspec.Struct]) -> None:
    first: Violation | None = None
    try:
        msgspec.convert(document, struct)
    except msgspec.ValidationError as error:
        first = violation(error, struct)
    found = violations(document, struct)
    assert (first is None) == (not found)
    assert first is None or first in found or len(found) > 1


VALUES = {
    "a field": ("a", {"b": [1, 2]}),
    "a field of a field": ("a.b", [1, 2]),
    "an element": ("a.b[1]", 2),
    "an element that is not there": ("a.b[2]", None),
    "a field that is not there": ("a.c", None),
    "a field of a number": ("a.b[0].c", None),
    "a wildcard": ("a[...]", None),
    "the whole document": ("", {"a": {"b": [1, 2]}}),
}


@pytest.mark.parametrize(("path", "value"), VALUES.values(), ids=VALUES.keys())
def test_the_value_at(path: str, value: object) -> None:
    assert value_at({"a": {"b": [1, 2]}}, path) == value


def test_values_are_shown_as_json_and_cut() -> None:
    assert shown({"a": [None, True]}) == '{"a":[null,true]}'
    assert shown("x" * 100) == f'"{"x" * 59}...'


@given(st.text(st.characters(), max_size=100) | JSON)
def test_any_value_can_be_shown(value: object) -> None:
    assert len(shown(value)) <= 63
