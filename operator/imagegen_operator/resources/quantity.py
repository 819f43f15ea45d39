"""Kubernetes' quantities, written so that the API server stores them as they are.

It keeps the family of the suffix (decimal: m, k, M, ...; binary: Ki, Mi, ...), writes the largest suffix that leaves a
whole number, and rounds up to thousandths; above 2^63 - 1 it does what it likes, and nobody has as much:
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from fractions import Fraction
from math import ceil

_ONE = 1000
"""Everything is counted in thousandths, so that all of it is whole."""

_DECIMAL = {
    "E": _ONE * 10**18,
    "P": _ONE * 10**15,
    "T": _ONE * 10**12,
    "G": _ONE * 10**9,
    "M": _ONE * 10**6,
    "k": _ONE * 10**3,
    "": _ONE,
    "m": 1,
}
_BINARY = {
    "Ei": _ONE * 2**60,
    "Pi": _ONE * 2**50,
    "Ti": _ONE * 2**40,
    "Gi": _ONE * 2**30,
    "Mi": _ONE * 2**20,
    "Ki": _ONE * 2**10,
}
_UNITS = {**_BINARY, **_DECIMAL}
_LARGEST = (2**63 - 1) * _ONE


def number(quantity: int | str) -> Fraction:
    """Return the value of a quantity, also of one in the form 5e10. Raises ValueError for anything else."""
    text, suffix = str(quantity), _suffix(quantity)
    if suffix not in _UNITS:
        return Fraction(text)  # it is an exponent
    return Fraction(text[: len(text) - len(suffix)]) * _UNITS[suffix] / _ONE


def canonical(quantity: int | str) -> str:
    """Return ``quantity`` as the API server stores it: 0.5 is 500m, 1024Mi is 1Gi, 2000m is 2."""
    thousandths = min(ceil(number(quantity) * _ONE), _LARGEST)
    if not thousandths:
        return "0"
    # What is no whole number of Ki becomes a decimal, and a whole number of thousandths it is always.
    units = _UNITS if _suffix(quantity) in _BINARY else _DECIMAL
    name, unit = next((name, unit) for name, unit in units.items() if thousandths % unit == 0)
    return f"{thousandths // unit}{name}"


def _suffix(quantity: int | str) -> str:
    return str(quantity).lstrip("0123456789.")
