"""Kubernetes' quantities: the form in which the API server stores them.

It keeps the family of the suffix (decimal: m, k, M, ...; binary: Ki, Mi, ...) and writes the largest suffix that leaves
a whole number: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from decimal import ROUND_CEILING, Decimal

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def number(quantity: int | str) -> Decimal:
    """Return the value of a quantity. Raises decimal.InvalidOperation for anything else."""
    digits, suffix = _split(str(quantity))
    return digits * (Decimal(2) ** _BINARY[suffix] if suffix in _BINARY else Decimal(10) ** _DECIMAL[suffix])


def canonical(quantity: int | str) -> str:
    """Return ``quantity`` as the API server stores it: 0.5 is 500m, 1024Mi is 1Gi, 2000m is 2."""
    value, (_, suffix) = number(quantity), _split(str(quantity))
    # Whatever is smaller than a thousandth is rounded up, and a binary quantity below one unit is written as a decimal.
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_CEILING)
    if suffix in _BINARY and value == value.to_integral_value():
        return _shortest(value, {"": Decimal(1), **{name: Decimal(2) ** power for name, power in _BINARY.items()}})
    return _shortest(value, {name: Decimal(10) ** power for name, power in _DECIMAL.items()})


def _shortest(value: Decimal, units: dict[str, Decimal]) -> str:
    if not value:
        return "0"
    whole = {name: value / unit for name, unit in units.items() if value % unit == 0}
    name = min(whole, key=lambda each: whole[each])
    return f"{int(whole[name])}{name}"


def _split(text: str) -> tuple[Decimal, str]:
    suffix = text.lstrip("0123456789.")
    return Decimal(text.removesuffix(suffix) if suffix else text), suffix
