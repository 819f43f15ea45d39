"""YAML for people: whatever JSON goes in, a YAML parser reads the same out of it."""

import math
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from imagegen_cli.yaml_text import yaml_document

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_WORDS = st.sampled_from(["yes", "No", "null", "~", "1", "1e5", "0x1f", "1:30", "- a", "a: b", "#", "true", "", " "])
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _TEXT, _WORDS
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT | _WORDS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT | _WORDS, _JSON, max_size=4))
def test_it_is_read_as_it_was(value: dict[str, Any]) -> None:
    assert same(yaml.safe_load(yaml_document(value)), value)


def test_it_is_easy_to_read() -> None:
    value = {
        "id": "acme/one.5",
        "version": "1",
        "source": "hf://acme/one",
        "on": True,
        "gpu": {},
        "sizes": ["a", "64x64"],
        "env": [{"name": "A", "value": "x\ny"}, {"name": "B", "more": [1, 2.5]}],
        "description": "schön\u2028\U0001f600\x7f",
    }
    assert yaml_document(value).splitlines() == [
        "id: acme/one.5",
        'version: "1"',
        'source: "hf://acme/one"',
        '"on": true',
        "gpu: {}",
        "sizes:",
        "  - a",
        '  - "64x64"',
        "env:",
        "  - name: A",
        '    value: "x\\ny"',
        "  - name: B",
        "    more:",
        "      - 1",
        "      - 2.5",
        'description: "schön\\u2028😀\\u007f"',
    ]


def same(read: Any, written: Any) -> bool:
    """Compare with types, since 1 == True and 1 == 1.0."""
    if isinstance(written, dict):
        return isinstance(read, dict) and read.keys() == written.keys() and all(same(read[k], written[k]) for k in read)
    if isinstance(written, list):
        return isinstance(read, list) and len(read) == len(written) and all(map(same, read, written))
    if isinstance(written, float):
        return isinstance(read, float) and math.isclose(read, written, rel_tol=0)
    return type(read) is type(written) and read == written
