"""Writes docs/conditions.md from the explanations of the contract."""

from imagegen_contract.conditions import ConditionType, Reason
from imagegen_contract.explanations import EXPLANATIONS, MEANINGS, REASONS

_INTRODUCTION = """\
# Conditions of an ImageModel

Made by `python tools/generate.py` from `contract/imagegen_contract/explanations.py`; edit it there.

`kubectl get im` shows `Ready` and its reason, `kubectl describe im NAME` all conditions with their messages, and
`kubectl wait --for=condition=Ready im/NAME` waits. While `Ready` is False it has the reason and the message of the
condition that helps most: a refused spec first, then pods that need somebody (`Degraded`), then pods without a node
(`Scheduled`), then how far the weights are (`WeightsReady`), then what the rollout waits for (`Progressing`).

A message quotes the scheduler, the kubelet or the server in their own words, on one line and cut; a token of the Hub
is masked. Programs should read the reason. `lastTransitionTime` is when the status turned, not when a message changed.

| condition | True says | reasons when True | when False | when Unknown |
|---|---|---|---|---|
"""

_REASONS_HEADER = """
## Reasons

| reason | of | cause | what to do |
|---|---|---|---|
"""


def conditions_page() -> str:
    """Return the tables of all conditions and of all reasons."""
    rows = [_condition_row(kind) for kind in ConditionType]
    return _INTRODUCTION + "".join(rows) + _REASONS_HEADER + "".join(map(_reason_row, Reason))


def _condition_row(kind: ConditionType) -> str:
    reasons = (_list(REASONS[kind].get(status, ())) for status in ("True", "False", "Unknown"))
    return f"| `{kind}` | {MEANINGS[kind]} | {' | '.join(reasons)} |\n"


def _reason_row(reason: Reason) -> str:
    """Return one reason; where it has a condition of its own, Ready only borrows it."""
    where = [kind for kind, by_status in REASONS.items() if any(reason in reasons for reasons in by_status.values())]
    own = [kind for kind in where if kind is not ConditionType.READY]
    explained = EXPLANATIONS[reason]
    return f"| `{reason}` | {_list(own or where)} | {explained.cause} | {explained.remedy} |\n"


def _list(names: tuple[Reason, ...] | list[ConditionType]) -> str:
    return ", ".join(f"`{name}`" for name in names)
