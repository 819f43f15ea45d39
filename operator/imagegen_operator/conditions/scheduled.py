"""Scheduled: whether all pods have a node, and the scheduler's words while one has none."""

import re

from imagegen_contract.conditions import Reason
from imagegen_operator.conditions.facts import Facts
from imagegen_operator.conditions.verdicts import Verdict, first
from imagegen_operator.quoting import plain, sentence

_PREEMPTION = re.compile(r"\s*(no new claims to deallocate, )?preemption: .*", re.DOTALL)
"""What the scheduler adds: that taking the place of pods of lower priority would not help either."""


def scheduled(facts: Facts) -> Verdict:
    """Judge Scheduled."""
    return first((_no_pods, _own_pods_leave, _no_gpu, _no_node, _not_looked_at), _all_have_nodes, facts)


def _no_pods(facts: Facts) -> Verdict | None:
    if facts.pods:
        return None
    if facts.wanted == 0:
        return Verdict("Unknown", Reason.SCALED_TO_ZERO, "No pods are wanted.")
    return Verdict("Unknown", Reason.NO_PODS, "There are no pods yet.")


def _own_pods_leave(facts: Facts) -> Verdict | None:
    """Without a spare GPU the next pod waits for the one that it replaces: no fault of the cluster."""
    if not facts.leaving or not _complaints(facts):
        return None
    message = f"New pods wait for the place of pods that finish their work before they go ({len(facts.leaving)})."
    return Verdict("False", Reason.WAITING_FOR_SCHEDULER, message)


def _no_gpu(facts: Facts) -> Verdict | None:
    if facts.model.spec is None:
        return None
    gpu = facts.model.spec.gpu
    named = re.compile(rf"Insufficient {re.escape(gpu.resource_name)}(?![\w/-]|\.\w)")
    lacking = [words for words in _complaints(facts) if named.search(words)]
    if not lacking:
        return None
    advice = f"A pod needs {gpu.count} of {gpu.resource_name} on one node: add a node, or scale another model down."
    return Verdict("False", Reason.INSUFFICIENT_GPU, f"{_share(facts)} {sentence(lacking[0])} {advice}")


def _no_node(facts: Facts) -> Verdict | None:
    complaints = _complaints(facts)
    return Verdict("False", Reason.UNSCHEDULABLE, f"{_share(facts)} {sentence(complaints[0])}") if complaints else None


def _not_looked_at(facts: Facts) -> Verdict | None:
    if all(pod.node for pod in facts.pods):
        return None
    return Verdict("False", Reason.WAITING_FOR_SCHEDULER, "The scheduler has not looked at all pods yet.")


def _all_have_nodes(facts: Facts) -> Verdict:
    return Verdict("True", Reason.SCHEDULED, f"{len(facts.pods)} of {len(facts.pods)} pods have a node.")


def _complaints(facts: Facts) -> list[str]:
    return [plain(_PREEMPTION.sub("", words)) for pod in facts.pods if (words := pod.scheduler_words)]


def _share(facts: Facts) -> str:
    return f"{len(_complaints(facts))} of {len(facts.pods)} pods have no node:"
