"""Progressing: whether pods are being started or replaced."""

from imagegen_contract.conditions import Reason
from imagegen_operator.conditions.facts import Facts
from imagegen_operator.conditions.verdicts import Verdict, first

_UNSEEN = "The newest spec is about to be rolled out."


def progressing(facts: Facts) -> Verdict:
    """Judge Progressing."""
    return first((_done, _nothing_deployed, _stopping, _stalled, _rolling_out), _starting, facts)


def _done(facts: Facts) -> Verdict | None:
    if not facts.complete:
        return None
    if facts.wanted == 0:
        return Verdict("False", Reason.SCALED_TO_ZERO, "No pods are wanted, and none is left.")
    return Verdict("False", Reason.COMPLETE, f"{facts.wanted} of {facts.wanted} pods are up to date and ready.")


def _nothing_deployed(facts: Facts) -> Verdict | None:
    if facts.deployed:
        return None
    return Verdict("False", Reason.NOT_DEPLOYED, "There is no Deployment; the condition Reconciled says why.")


def _stopping(facts: Facts) -> Verdict | None:
    if facts.wanted:
        return None
    if not facts.rollout.seen:
        return Verdict("True", Reason.ROLLING_OUT, _UNSEEN)
    left = max(len(facts.pods) + len(facts.leaving), facts.rollout.status.replicas)
    return Verdict("True", Reason.ROLLING_OUT, f"Pods finish their work before they go; {left} left.")


def _stalled(facts: Facts) -> Verdict | None:
    if not facts.rollout.stalled or not facts.rollout.seen:
        return None
    seconds = facts.rollout.spec.progress_deadline_seconds
    message = f"No pod became ready within {seconds} s ({_count(facts)}). It goes on as soon as one does."
    return Verdict("False", Reason.STALLED, message)


def _rolling_out(facts: Facts) -> Verdict | None:
    if not facts.rollout.replaces:
        return None
    if not facts.rollout.seen:
        return Verdict("True", Reason.ROLLING_OUT, _UNSEEN)
    counts = facts.rollout.status
    done = (
        f"{counts.updated_replicas} of {facts.wanted} pods are made from the newest spec, {counts.ready_replicas} ready"
    )
    return Verdict(
        "True", Reason.ROLLING_OUT, f"{done}{f', {facts.rollout.old} old ones left' if facts.rollout.old else ''}."
    )


def _starting(facts: Facts) -> Verdict:
    return Verdict("True", Reason.STARTING, f"Pods are being started: {_count(facts)}.")


def _count(facts: Facts) -> str:
    return f"{facts.rollout.status.ready_replicas} of {facts.wanted} pods ready"
