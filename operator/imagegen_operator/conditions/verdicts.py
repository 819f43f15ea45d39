"""What a check says, and how a chain of them decides."""

from collections.abc import Callable

import msgspec

from imagegen_contract.conditions import ConditionStatus, Reason
from imagegen_operator.conditions.facts import Facts


class Verdict(msgspec.Struct, frozen=True):
    """The status of a condition, why, and in words what happens or what to do."""

    status: ConditionStatus
    reason: Reason
    message: str


Check = Callable[[Facts], Verdict | None]
"""Looks at the facts; None when it has nothing to say."""


def first(checks: tuple[Check, ...], otherwise: Callable[[Facts], Verdict], facts: Facts) -> Verdict:
    """Return what the first check says that has something to say, else what ``otherwise`` says."""
    for check in checks:
        if verdict := check(facts):
            return verdict
    return otherwise(facts)
