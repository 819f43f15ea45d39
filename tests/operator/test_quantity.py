"""Quantities in the form in which the API server stores them."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.api import Api
from imagegen_operator.resources.quantity import canonical, number

CANONICAL = {
    "a fraction of a core is in thousandths": ("0.5", "500m"),
    "whole cores in thousandths are cores": ("2000m", "2"),
    "a number is text": (2, "2"),
    "a thousand is a k": (1000, "1k"),
    "1024 Mi are a Gi": ("1024Mi", "1Gi"),
    "a fraction of a Gi is in Mi": ("1.5Gi", "1536Mi"),
    "a binary quantity stays binary": ("1000Mi", "1000Mi"),
    "a decimal quantity stays decimal": ("1024M", "1024M"),
    "bytes that are no whole Ki are decimal": ("0.9765625Ki", "1k"),
    "a fraction of a byte too": ("0.3Ki", "307200m"),
    "zero has no unit": ("0.0Gi", "0"),
    "less than a thousandth is one": ("0.0000001", "1m"),
    "zeros in front go": ("007Gi", "7Gi"),
    "more than there can be is the most": ("9" * 29 + "Ei", "9223372036854775807"),
}
DIGITS = ("0", "0.0001", "0.3", "0.5", "0.9765625", "1", "1.0005", "1.3", "007", "999", "1000", "1024", "1500", "1536")
LONG = ("2048", "12345.678", "1000000", "1048576", "53687091200", "9223372036854775807", "9" * 30)
SUFFIXES = ("", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
QUANTITIES = [f"{digits}{suffix}" for digits in (*DIGITS, *LONG) for suffix in SUFFIXES]


@pytest.mark.parametrize(("given_as", "stored"), CANONICAL.values(), ids=CANONICAL.keys())
def test_a_quantity_is_written_as_it_is_stored(given_as: int | str, stored: str) -> None:
    assert canonical(given_as) == stored


@given(st.decimals(0, 10**6, places=3), st.sampled_from(["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]))
def test_writing_changes_no_value(digits: object, suffix: str) -> None:
    """Beyond three places it may round, up."""
    stored = canonical(f"{digits}{suffix}")
    assert 0 <= number(stored) - number(f"{digits}{suffix}") < Fraction(1, 1000)
    assert canonical(stored) == stored


def test_what_people_write_into_a_claim_by_hand_is_read() -> None:
    """The API server keeps the exponents of such a one."""
    assert (number("5e10"), number("12E3"), number("5E")) == (5 * 10**10, 12000, 5 * 10**18)


@pytest.mark.slow
def test_the_api_server_stores_them_as_they_are(kubernetes: Api) -> None:
    written = [canonical(quantity) for quantity in QUANTITIES]
    containers = [
        {"name": f"c{index}", "image": "x", "resources": {"requests": {"memory": quantity}}}
        for index, quantity in enumerate(written)
    ]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "quantities"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    answer = kubernetes.request("POST", kubernetes.path("Deployment"), deployment, params={"dryRun": "All"})
    stored = [each["resources"]["requests"]["memory"] for each in answer["spec"]["template"]["spec"]["containers"]]
    assert dict(zip(QUANTITIES, stored, strict=True)) == dict(zip(QUANTITIES, written, strict=True))
