"""Degraded: whether a pod cannot do its work until somebody does something.

A pod that is not ready but on its way is not degraded. Of each pod the freshest words count: those of a server that
runs, then the kubelet's, then how its process ended last. Of several pods, the first by name that has something.
"""

import re
from collections.abc import Callable

from imagegen_contract.conditions import Reason
from imagegen_contract.load_failures import LoadFailure
from imagegen_operator.conditions.facts import Facts
from imagegen_operator.conditions.verdicts import Verdict, first
from imagegen_operator.conditions.weights_ready import what_follows
from imagegen_operator.pods import Container, Pod
from imagegen_operator.quoting import last_line, plain, sentence

_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONFIG_REASONS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
_START_REASONS = frozenset({"StartError", "ContainerCannotRun"})
_SERVER_REASONS = {
    LoadFailure.GPU_UNUSABLE: Reason.GPU_UNUSABLE,
    LoadFailure.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    LoadFailure.EXCEEDS_MEMORY_BUDGET: Reason.OUT_OF_MEMORY,
}
_REFUSED_POD = re.compile(r'^pods "[^"]*" is forbidden: ')
_SIGNAL_BASE = 128
"""A process that a signal ended has the exit code 128 and the signal's number."""


def degraded(facts: Facts) -> Verdict:
    """Judge Degraded."""
    return first((_complete, _pod_in_trouble, _refused, _put_out), _as_expected, facts)


def _complete(facts: Facts) -> Verdict | None:
    return _as_expected(facts) if facts.complete else None


def _pod_in_trouble(facts: Facts) -> Verdict | None:
    found = [verdict for pod in facts.pods if not pod.ready and (verdict := _trouble(facts, pod))]
    if not found:
        return None
    more = sum(verdict.reason == found[0].reason for verdict in found) - 1
    if not more:
        return found[0]
    message = f"{found[0].message} The same holds for {more} more {'pod' if more == 1 else 'pods'}."
    return Verdict("True", found[0].reason, message)


def _refused(facts: Facts) -> Verdict | None:
    if not facts.rollout.refusal:
        return None
    # Each try is a pod of another name: without it the message stays the same.
    words = _REFUSED_POD.sub("", plain(facts.rollout.refusal))
    return Verdict("True", Reason.POD_REFUSED, f"Pods are refused: {sentence(words)}")


def _put_out(facts: Facts) -> Verdict | None:
    """Judge by pods that a node refused or evicted: the youngest speaks, unnamed, as there can be hundreds."""
    lost = [pod for pod in facts.over if pod.status.reason]
    if not lost:
        return None
    pod = max(lost, key=lambda pod: (pod.created, pod.name))
    words = sentence(plain(": ".join(filter(None, (pod.status.reason, pod.status.message)))))
    if pod.status.reason == "Evicted":
        return Verdict("True", Reason.EVICTED, f"Node {pod.node} puts pods out: {words}")
    return Verdict("True", Reason.POD_REFUSED, f"Node {pod.node} refuses pods: {words}")


def _as_expected(_: Facts) -> Verdict:
    return Verdict("False", Reason.AS_EXPECTED, "No pod needs help.")


def _trouble(facts: Facts, pod: Pod) -> Verdict | None:
    if verdict := _server_failed(facts, pod):
        return verdict
    for look in _LOOKS:
        for container in pod.containers:
            if not container.ready and (verdict := look(pod, container)):
                return verdict
    return None


def _server_failed(facts: Facts, pod: Pod) -> Verdict | None:
    report = facts.report(pod)
    if report is None or report.reason is None:
        return None
    reason = _SERVER_REASONS.get(report.reason, Reason.WEIGHTS_FAILED)
    words = f"{report.reason}: {report.error}" if report.error else str(report.reason)
    return Verdict("True", reason, f"Pod {pod.name}: {sentence(plain(words))} {what_follows(report)}")


def _image(pod: Pod, container: Container) -> Verdict | None:
    waiting = container.waiting
    if waiting is None or waiting.reason not in _IMAGE_REASONS:
        return None
    # While the kubelet pauses it puts the pause before the cause: without it the message stays the same.
    cause = plain(waiting.message).rpartition(": ErrImagePull: ")[2] or waiting.reason
    return Verdict(
        "True", Reason.IMAGE_PULL_FAILED, f"Pod {pod.name} cannot get image {plain(container.image)}: {sentence(cause)}"
    )


def _configuration(pod: Pod, container: Container) -> Verdict | None:
    words = ""
    if container.ended and container.ended.reason in _START_REASONS and not container.running:
        words = container.ended.message
    elif container.waiting and container.waiting.reason in _CONFIG_REASONS:
        words = container.waiting.message or container.waiting.reason
    if not words:
        return None
    return Verdict(
        "True", Reason.CONTAINER_CONFIG_INVALID, f"Pod {pod.name} cannot be started: {sentence(plain(words))}"
    )


def _memory(pod: Pod, container: Container) -> Verdict | None:
    if container.ended is None or container.ended.reason != "OOMKilled":
        return None
    limit = pod.memory_limit(container.name)
    cause = (
        f"it used more than its limit of {limit}; raise spec.pod.resources.limits.memory"
        if limit
        else "the memory of its node ran out"
    )
    return Verdict("True", Reason.OUT_OF_MEMORY, f"Pod {pod.name} was killed by the kernel: {cause}.")


def _crash(pod: Pod, container: Container) -> Verdict | None:
    if not container.crash_loops:
        return None
    who = f"Pod {pod.name}" if len(pod.containers) == 1 else f"Container {container.name} of pod {pod.name}"
    return Verdict(
        "True",
        Reason.CRASH_LOOPING,
        f"{who} keeps ending, {container.restart_count} restarts so far{_last_end(container)}",
    )


def _last_end(container: Container) -> str:
    ended = container.ended
    if ended is None:
        return "."
    signal = f" (signal {ended.exit_code - _SIGNAL_BASE})" if ended.exit_code > _SIGNAL_BASE else ""
    line = last_line(ended.message)
    return f"; last with exit code {ended.exit_code}{signal}{f': {sentence(line)}' if line else ', without a word.'}"


_LOOKS: tuple[Callable[[Pod, Container], Verdict | None], ...] = (_image, _configuration, _memory, _crash)
