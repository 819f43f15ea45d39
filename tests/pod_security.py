"""What the Pod Security Standard "restricted" refuses, as far as the pods of a chart can break it.

Kubernetes 1.36's own words: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator, Mapping
from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def broken_rules(pod: Mapping[str, Any]) -> list[str]:
    """Return what a pod's spec breaks, in words."""
    return [*_of_the_pod(pod), *(rule for each in pod["containers"] for rule in _of_a_container(pod, each))]


def _of_the_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes", ()):
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume of kind {kind}"


def _of_a_container(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if context.get("privileged"):
        yield "privileged"
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "runAsNonRoot"
    if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "seccompProfile"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield "hostPort"
