"""Why an ImageModel is Ready, or not: its status, derived afresh from what was observed. Pure; the clock is handed in.

Ready means that all wanted pods are of the newest template and ready, and no other is left. While it does not, it has
the reason that helps most, the first of these that applies:
1. The newest spec was refused, or nothing is deployed: what somebody asked for is not going to happen as it stands.
2. Degraded: a pod needs somebody's help, and waiting does not.
3. Scheduled: a pod has no place; nothing can be said of it before it has.
4. The API server failed the operator: it is tried again, but pods may be of an older spec.
5. WeightsReady: how far the load is, in bytes.
6. What the rollout waits for.

What the API server refuses never makes a healthy Deployment not Ready: Reconciled says it.
"""

import msgspec

from imagegen_contract import names
from imagegen_contract.conditions import Condition, ConditionType, ImageModelStatus, Reason
from imagegen_contract.server_status import ModelStatus
from imagegen_operator.conditions.degraded import degraded
from imagegen_operator.conditions.facts import Facts, gather
from imagegen_operator.conditions.progressing import progressing
from imagegen_operator.conditions.scheduled import scheduled
from imagegen_operator.conditions.verdicts import Verdict, first
from imagegen_operator.conditions.weights_ready import weights_ready
from imagegen_operator.objects import Observed, Outcome
from imagegen_operator.quoting import MESSAGE_BYTES, plain


def status(observed: Observed, outcome: Outcome, image: str, now: str) -> ImageModelStatus:
    """Return the status after the ``outcome`` of writing; ``observed`` holds what the API server answered to that.

    ``image`` is the pinned server image, ``now`` RFC 3339 in UTC. The same facts give the same status, whatever ``now``
    is, unless a condition turns.
    """
    facts = gather(observed, outcome)
    model, counts = observed.model, facts.rollout.status
    before = {condition.type: condition for condition in model.status.conditions}
    bare = ImageModelStatus(
        observed_generation=model.generation,
        conditions=tuple(
            _condition(kind, verdict, before.get(kind), model.generation, now) for kind, verdict in judge(facts).items()
        ),
        replicas=counts.replicas,
        updated_replicas=counts.updated_replicas,
        ready_replicas=counts.ready_replicas,
        available_replicas=counts.available_replicas,
        selector=f"{names.MODEL_LABEL}={model.name}",
        server_image=image,
        revision=model.status.revision,
        device=model.status.device,
        load_seconds=model.status.load_seconds,
    )
    report = _newest_report(facts)
    if report is None:
        return bare
    return msgspec.structs.replace(
        bare,
        revision=plain(report.revision),
        device=plain(report.device),
        load_seconds=max(0.0, report.load_seconds),
    )


def judge(facts: Facts) -> dict[ConditionType, Verdict]:
    """Return what each condition says, all of them, in the order of the type."""
    return {
        ConditionType.READY: ready(facts),
        ConditionType.AVAILABLE: available(facts),
        ConditionType.PROGRESSING: progressing(facts),
        ConditionType.RECONCILED: reconciled(facts),
        ConditionType.SCHEDULED: scheduled(facts),
        ConditionType.WEIGHTS_READY: weights_ready(facts),
        ConditionType.DEGRADED: degraded(facts),
    }


def ready(facts: Facts) -> Verdict:
    """Judge Ready."""
    return first((_complete, _refused, _degraded, _no_place, _not_applied, _weights, _unready), _waits, facts)


def available(facts: Facts) -> Verdict:
    """Judge Available."""
    count = facts.rollout.status.available_replicas
    if count:
        return Verdict("True", Reason.MINIMUM_REPLICAS_AVAILABLE, f"{count} of {facts.wanted} pods serve.")
    if facts.wanted == 0:
        return Verdict("False", Reason.SCALED_TO_ZERO, "No pods are wanted.")
    return Verdict("False", Reason.NO_REPLICA_AVAILABLE, "No pod serves.")


def reconciled(facts: Facts) -> Verdict:
    """Judge Reconciled: what became of writing the children."""
    outcome = facts.outcome
    return Verdict("True" if outcome.reason is Reason.APPLIED else "False", outcome.reason, outcome.message)


def _complete(facts: Facts) -> Verdict | None:
    if not facts.complete:
        return None
    if facts.wanted == 0:
        return Verdict("True", Reason.SCALED_TO_ZERO, "No pods are wanted, and none is left.")
    stale = "" if facts.current else ", as they were before the newest change: see the condition Reconciled"
    return Verdict("True", Reason.ALL_REPLICAS_READY, f"{facts.wanted} of {facts.wanted} pods are ready{stale}.")


def _refused(facts: Facts) -> Verdict | None:
    if facts.current or (facts.deployed and facts.outcome.reason is Reason.APPLY_FAILED):
        return None
    return reconciled(facts)


def _degraded(facts: Facts) -> Verdict | None:
    verdict = degraded(facts)
    if verdict.status != "True":
        return None
    share = f"{_ready_share(facts)}. " if facts.wanted > 1 else ""
    return Verdict("False", verdict.reason, share + verdict.message)


def _no_place(facts: Facts) -> Verdict | None:
    return _if_false(scheduled(facts))


def _not_applied(facts: Facts) -> Verdict | None:
    return None if facts.current else reconciled(facts)


def _weights(facts: Facts) -> Verdict | None:
    verdict = weights_ready(facts)
    return None if verdict.reason is Reason.WAITING_FOR_POD else _if_false(verdict)


def _unready(facts: Facts) -> Verdict | None:
    loaded = weights_ready(facts).reason is Reason.LOADED
    if not loaded or not facts.wanted or facts.rollout.replaces:
        return None
    message = f"{_ready_share(facts)}; the others have the model but do not answer the readiness probe."
    return Verdict("False", Reason.REPLICAS_NOT_READY, message)


def _waits(facts: Facts) -> Verdict:
    verdict = progressing(facts)
    return Verdict("False", verdict.reason, verdict.message)


def _if_false(verdict: Verdict) -> Verdict | None:
    return verdict if verdict.status == "False" else None


def _ready_share(facts: Facts) -> str:
    return f"{facts.rollout.status.ready_replicas} of {facts.wanted} pods ready"


def _newest_report(facts: Facts) -> ModelStatus | None:
    """Return what the youngest pod that has loaded the model says of it, None when none has said anything."""
    pods = sorted(facts.pods, key=lambda pod: (pod.created, pod.name), reverse=True)
    reports = (facts.report(pod) for pod in pods)
    return next((report for report in reports if report and report.state == "ready"), None)


def _condition(kind: ConditionType, verdict: Verdict, before: Condition | None, generation: int, now: str) -> Condition:
    steady = before is not None and before.status == verdict.status and before.last_transition_time
    return Condition(
        type=kind,
        status=verdict.status,
        reason=verdict.reason,
        message=plain(verdict.message, MESSAGE_BYTES),
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and steady else now,
    )
