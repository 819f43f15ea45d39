"""Names that two programs must spell alike."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract import names
from imagegen_contract.image_model import ID_PATTERN
from imagegen_contract.names import object_name

RFC_1035_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
IDS = st.from_regex(ID_PATTERN, fullmatch=True)
LONG_IDS = st.from_regex(r"[A-Za-z0-9]{2,40}/[A-Za-z0-9]{40,80}", fullmatch=True)

OBJECT_NAMES = {
    "slashes and dots become hyphens": ("Cagliostrolab/animagine-xl-3.0", "cagliostrolab-animagine-xl-3-0"),
    "upper case becomes lower case": ("CompVis/stable-diffusion-v1-4", "compvis-stable-diffusion-v1-4"),
    "a short name stays": ("shapes", "shapes"),
    "a name of forty characters stays": ("a" * 40, "a" * 40),
    "a longer name is cut and gets a hash of the id": ("a" * 41, "a" * 31 + "-c0f8bd4d"),
    "a cut at a hyphen leaves one hyphen": ("a" * 30 + "-" + "b" * 20, "a" * 30 + "-5edcbf90"),
    "a name that starts with a digit gets a letter before it": ("01-ai/yi", "model-01-ai-yi"),
    "a hyphen at the end is dropped": ("acme/x.", "acme-x"),
}


@pytest.mark.parametrize(("model_id", "name"), OBJECT_NAMES.values(), ids=OBJECT_NAMES.keys())
def test_an_object_name(model_id: str, name: str) -> None:
    assert object_name(model_id) == name


@given(IDS | st.text())
def test_an_object_name_is_a_dns_label_of_at_most_forty_characters(model_id: str) -> None:
    name = object_name(model_id)
    assert RFC_1035_LABEL.fullmatch(name)
    assert len(name) <= 40


@given(st.lists(LONG_IDS, unique=True, min_size=2, max_size=20))
def test_long_ids_that_differ_have_names_that_differ(ids: list[str]) -> None:
    assert len({object_name(model_id) for model_id in ids}) == len(ids)


@given(st.from_regex(r"[a-z]{45}", fullmatch=True))
def test_long_ids_that_differ_only_in_case_have_names_that_differ(model_id: str) -> None:
    assert object_name(model_id) != object_name(model_id.upper())


def test_header_names_are_lower_case_as_asgi_hands_them_over() -> None:
    headers = [value for key, value in vars(names).items() if key.endswith("_HEADER")]
    assert headers
    assert all(header == header.lower() for header in headers)
