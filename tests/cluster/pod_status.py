"""Statuses as a kubelet or the scheduler writes them, for pods that no container runs for."""

from typing import Any

from cluster.api import Object

_STARTED = "2026-01-01T00:00:00Z"


def running(pod: Object, *, ready: bool = True, ip: str = "10.244.0.9", restarts: int = 0) -> Object:
    """Return the status of a pod whose containers run."""
    state = {"running": {"startedAt": _STARTED}}
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": _conditions(ready),
        "containerStatuses": _containers(pod, state, ready=ready, restarts=restarts),
    }


def waiting(pod: Object, reason: str, message: str = "") -> Object:
    """Return the status of a pod whose containers wait, such as with reason ErrImagePull."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "conditions": _conditions(False),
        "containerStatuses": _containers(pod, state, ready=False),
    }


def crashed(pod: Object, exit_code: int, message: str = "", *, reason: str = "Error", restarts: int = 3) -> Object:
    """Return the status of a pod that ended and is being restarted ever more slowly; OOMKilled is a ``reason``."""
    ended = {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": _STARTED}
    again = f"back-off 40s restarting failed container of {pod['metadata']['name']}"
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": again}}
    containers = _containers(pod, state, ready=False, restarts=restarts)
    for container in containers:
        container["lastState"] = {"terminated": ended}
    return {"phase": "Running", "conditions": _conditions(False), "containerStatuses": containers}


def unschedulable(message: str) -> Object:
    """Return the status of a pod that no node can take, with the scheduler's words."""
    return {"conditions": [_condition("PodScheduled", False, reason="Unschedulable", message=message)]}


def _conditions(ready: bool) -> list[Object]:
    return [
        _condition("PodScheduled", True),
        _condition("Initialized", True),
        _condition("ContainersReady", ready),
        _condition("Ready", ready),
    ]


def _condition(name: str, true: bool, **words: str) -> Object:
    return {"type": name, "status": str(true), "lastTransitionTime": _STARTED, **words}


def _containers(pod: Object, state: Object, *, ready: bool, restarts: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "started": "running" in state,
            "restartCount": restarts,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]
