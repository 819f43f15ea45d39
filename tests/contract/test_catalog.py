"""models_info.json: what is right about ours, what is said about wrong ones, and which model a name means."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.catalog import (
    CatalogError,
    UnknownModelError,
    duplicate_names,
    load_catalog,
    parse_catalog,
    resolve,
)
from imagegen_contract.image_model import ImageModelSpec

WHERE = "my.json"


def entry(**fields: Any) -> dict[str, Any]:
    return {"publisher": "acme", "family": "sd", "version": "1", "id": "acme/one", **fields}


def problems(*entries: object) -> tuple[str, ...]:
    return problems_of(json.dumps(entries).encode())


def problems_of(content: bytes) -> tuple[str, ...]:
    with pytest.raises(CatalogError) as caught:
        parse_catalog(content, WHERE)
    return caught.value.problems


def model(model_id: str, *aliases: str) -> ImageModelSpec:
    return ImageModelSpec(publisher="p", family="f", version="v", id=model_id, aliases=aliases)


ONE_PROBLEM = {
    "an unknown field is named with the nearest right one": (
        entry(alias="x"),
        "my.json: entry 1 (acme/one): field alias: unknown field; did you mean aliases? allowed: publisher, family,",
    ),
    "an unknown field deep inside has its whole path": (
        entry(inference={"stepz": 3}),
        "my.json: entry 1 (acme/one): field inference.stepz: unknown field; did you mean steps? allowed: steps,",
    ),
    "a name with a dot is no path": (entry(**{"a.b": 1}), "my.json: entry 1 (acme/one): field a.b: unknown field; "),
    "a missing field is named": (
        {"publisher": "acme", "family": "sd", "id": "acme/one"},
        "my.json: entry 1 (acme/one): field version: missing, and it is required",
    ),
    "a number out of range is shown with the range": (
        entry(inference={"steps": 0}),
        "my.json: entry 1 (acme/one): field inference.steps: found 0; expected integer >= 1",
    ),
    "a wrong type is shown in the words of JSON": (
        entry(replicas="2"),
        'my.json: entry 1 (acme/one): field replicas: found "2"; expected integer, got string',
    ),
    "null is not the same as left out": (
        entry(gpu=None),
        "my.json: entry 1 (acme/one): field gpu: found null; expected object, got null",
    ),
    "an element of a list has its index": (
        entry(inference={"schedulers": ["ddim", "dim"]}),
        'my.json: entry 1 (acme/one): field inference.schedulers[1]: found "dim"; allowed',
    ),
    "a size is explained": (
        entry(inference={"size": "512"}),
        'my.json: entry 1 (acme/one): field inference.size: found "512"; expected WIDTHxHEIGHT in pixels',
    ),
    "a source must have a scheme that works": (
        entry(source="s3://bucket"),
        'my.json: entry 1 (acme/one): field source: found "s3://bucket"; expected hf://owner/name',
    ),
    "fields that contradict each other are both named": (
        entry(inference={"steps": 200}),
        "my.json: entry 1 (acme/one): inference.steps is 200, above inference.maxSteps 100",
    ),
    "a field given twice is refused": (
        b'{"publisher":"a","family":"f","version":"v","id":"a/b","inference":{"steps":1,"steps":2}}',
        "my.json: entry 1 (a/b): field inference.steps: stands there more than once; allowed: once",
    ),
    "a number beyond all range has its path": (
        b'{"publisher":"a","family":"f","version":"v","id":"a/b","inference":{"steps":1e400}}',
        "my.json: entry 1 (a/b): field inference.steps: number out of range",
    ),
    "an integer beyond all range has its path": (
        b'{"publisher":"a","family":"f","version":"v","id":"a/b","replicas":' + b"9" * 5000 + b"}",
        "my.json: entry 1 (a/b): field replicas: integer value out of range",
    ),
    "an entry that is no object is said to be none": (17, "my.json: entry 1: expected object, got integer"),
    "an entry without an id still has its number": (
        {"id": 3},
        "my.json: entry 1: field publisher: missing, and it is required",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), ONE_PROBLEM.values(), ids=ONE_PROBLEM.keys())
def test_a_wrong_entry(wrong: object, message: str) -> None:
    content = b"[" + (wrong if isinstance(wrong, bytes) else json.dumps(wrong).encode()) + b"]"
    assert problems_of(content)[0].startswith(message)


def test_all_problems_are_told_at_once() -> None:
    told = problems(
        entry(inference={"steps": 0, "size": "x"}, gpu={"cuont": 1}),
        entry(id="acme/two"),
        [],
        entry(id="acme/four", aliases=["acme/two"]),
    )
    assert [line.split(": ")[1:3] for line in told] == [
        ["entry 1 (acme/one)", "field inference.steps"],
        ["entry 1 (acme/one)", "field inference.size"],
        ["entry 1 (acme/one)", "field gpu.cuont"],
        ["entry 3", "expected object, got array"],
        ["entry 4 (acme/four)", "field aliases[0]"],
    ]


def test_the_message_of_the_error_has_a_line_for_each_problem() -> None:
    with pytest.raises(CatalogError) as caught:
        parse_catalog(json.dumps([{}, 1]).encode(), WHERE)
    assert str(caught.value).splitlines() == list(caught.value.problems)


def test_two_entries_cannot_have_one_name() -> None:
    told = problems(entry(aliases=["uno"]), entry(id="acme/two", aliases=["due", "uno"]))
    claim = 'my.json: entry 2 (acme/two): field aliases[1]: found "uno", a name of acme/one already'
    assert told == (f"{claim}; allowed: a name that no other model has",)


def test_duplicate_names_of_models_from_elsewhere_name_both_models() -> None:
    assert duplicate_names([model("a/x", "x"), model("b/y"), model("b/y")]) == [
        'b/y: field id: found "b/y", a name of b/y already; allowed: a name that no other model has'
    ]


HOSTILE_FILES = {
    "an empty file": (b"", "found an empty file; allowed: a JSON list of model entries"),
    "blanks only": (b" \n", "found an empty file; allowed: a JSON list of model entries"),
    "an object on top": (b"{}", "expected array, got object; allowed: a JSON list of model entries"),
    "null on top": (b"null", "expected array, got null; allowed: a JSON list of model entries"),
    "a truncated file": (b"[{", "not JSON: "),
    "two documents": (b"[][]", "not JSON: "),
    "bytes that are not UTF-8": (b'[{"id":"\xff"}]', "line 1, column 9: the byte 0xff is not UTF-8; allowed: UTF-8"),
    "nesting without end": (b"[" * 100_000, "not JSON: maximum recursion depth exceeded"),
    "nesting deep in one entry": (b'[{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "not JSON: maximum recursion"),
    "not a number": (b'[{"replicas":NaN}]', "not JSON: "),
    "half a surrogate pair": (b'[{"id":"\\ud800"}]', "not JSON: "),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE_FILES.values(), ids=HOSTILE_FILES.keys())
def test_a_file_that_is_no_catalog(content: bytes, message: str) -> None:
    assert [line.startswith(f"my.json: {message}") for line in problems_of(content)] == [True]


def test_a_byte_order_mark_is_no_problem() -> None:
    assert parse_catalog(b"\xef\xbb\xbf[]", WHERE) == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_catalog_or_a_catalog_error(content: bytes) -> None:
    with contextlib.suppress(CatalogError):
        parse_catalog(content, WHERE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["id", "aliases", "inference", "gpu", "replicas", "source", "x", "a.b", "`"])


@given(st.lists(st.dictionaries(FIELDS, JSON, max_size=4), min_size=1, max_size=3))
def test_every_problem_of_any_json_names_file_and_entry(entries: list[dict[str, object]]) -> None:
    lines = problems(*entries)  # publisher is always missing
    assert all(line.startswith("my.json: entry ") for line in lines)
    assert len(lines) >= len(entries)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.json: cannot be read: No such file"):
        load_catalog(tmp_path / "none.json")


KNOWN = (
    model("stabilityai/sdxl-turbo", "turbo"),
    model("acme/dream", "acme-dream"),
    model("other/Dream"),
    model("one/twin"),
    model("two/twin"),
)

RESOLVED = {
    "an id is its model": ("acme/dream", "acme/dream"),
    "an alias is its model": ("turbo", "stabilityai/sdxl-turbo"),
    "the last segment of one id only is its model": ("sdxl-turbo", "stabilityai/sdxl-turbo"),
    "case is ignored when one model is left": ("StabilityAI/SDXL-Turbo", "stabilityai/sdxl-turbo"),
    "case is ignored in aliases too": ("TURBO", "stabilityai/sdxl-turbo"),
    "case decides where it must": ("dream", "acme/dream"),
    "case decides where it must, the other way": ("Dream", "other/Dream"),
}


@pytest.mark.parametrize(("name", "model_id"), RESOLVED.values(), ids=RESOLVED.keys())
def test_a_name_resolves(name: str, model_id: str) -> None:
    assert resolve(name, KNOWN).id == model_id


REFUSED = {
    "a last segment of two ids is refused and both are named": ("twin", ["one/twin", "two/twin"]),
    "a name that fits two when case is ignored is refused and both are named": ("DREAM", ["acme/dream", "other/Dream"]),
    "a typo is refused with the near name": ("sdxl-trubo", ["stabilityai/sdxl-turbo"]),
    "a name like nothing is refused with no near names": ("zzzzzzzz", []),
    "no name is refused": ("", []),
}


@pytest.mark.parametrize(("name", "near"), REFUSED.values(), ids=REFUSED.keys())
def test_a_name_is_refused(name: str, near: list[str]) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve(name, KNOWN)
    assert caught.value.name == name
    assert list(caught.value.near) == near


def test_an_alias_of_one_model_comes_before_the_last_segment_of_another() -> None:
    assert resolve("x", [model("a/x"), model("b/y", "x")]).id == "b/y"


def test_nothing_resolves_where_there_are_no_models() -> None:
    with pytest.raises(UnknownModelError):
        resolve("x", [])


@given(st.text() | st.text(alphabet=st.characters(categories=["Cs", "L"])))
def test_resolve_never_crashes(name: str) -> None:
    with contextlib.suppress(UnknownModelError):
        assert resolve(name, KNOWN) in KNOWN
