"""Which changes of a status are told as Events: few, and worth a look. Pure.

- Ready turned. Told as a Warning when somebody should do something.
- Degraded turned True, or has another reason than before.
- Reconciled turned False, or has another reason than before.

Progress is not told: the status has it. Nor is the same reason told twice of one change.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from imagegen_contract.conditions import Condition, ConditionType, ImageModelStatus, Reason

_USUAL = frozenset(
    {
        Reason.STARTING,
        Reason.ROLLING_OUT,
        Reason.WAITING_FOR_SCHEDULER,
        Reason.DOWNLOADING,
        Reason.LOADING,
    }
)
"""Why a model is not Ready for a while and then is again by itself."""


class EventText(msgspec.Struct, frozen=True, kw_only=True):
    """What an Event says."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def events(before: ImageModelStatus, after: ImageModelStatus) -> tuple[EventText, ...]:
    """Return what to tell people of a change of status, the cause before what came of it."""
    told = {event.reason: event for event in reversed([*_troubles(before, after), *_turn(before, after)])}
    return tuple(reversed(told.values()))


def _troubles(before: ImageModelStatus, after: ImageModelStatus) -> Iterator[EventText]:
    for kind, bad in ((ConditionType.RECONCILED, "False"), (ConditionType.DEGRADED, "True")):
        old, new = _find(before, kind), _find(after, kind)
        if new and new.status == bad and (old is None or old.status != bad or old.reason != new.reason):
            yield EventText(type="Warning", reason=new.reason, message=new.message)


def _turn(before: ImageModelStatus, after: ImageModelStatus) -> Iterator[EventText]:
    old, new = _find(before, ConditionType.READY), _find(after, ConditionType.READY)
    if new is None or (old.status if old else "False") == new.status:
        return
    usual = new.status == "True" or new.reason in _USUAL
    yield EventText(type="Normal" if usual else "Warning", reason=new.reason, message=new.message)


def _find(status: ImageModelStatus, kind: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)
