"""ImageModels with their Deployment, pods and servers, as the operator observes them.

The pods of data/pods/kubernetes-1.36.json were recorded from a real cluster in the states that their keys name; only
what nobody reads was left out.
"""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec

from imagegen_contract.conditions import ImageModelStatus, Reason
from imagegen_contract.image_model import Gpu, ImageModelSpec
from imagegen_contract.server_status import (
    Capacity,
    DownloadProgress,
    ModelStatus,
    ProcessState,
    ServerStatus,
    Work,
)
from imagegen_operator.objects import Model, Observed, Outcome

Json = dict[str, Any]

RECORDED: dict[str, Json] = json.loads(
    (Path(__file__).parent / "data" / "pods" / "kubernetes-1.36.json").read_text(encoding="utf-8")
)
APPLIED = Outcome(reason=Reason.APPLIED, message="All objects are as the spec asks for.")


def pod(state: str, name: str = "m-1", *, template: str = "new", created: str = "12:00", leaving: bool = False) -> Json:
    """Return a recorded pod as one of our model: its UID is ``uid-NAME``, ``created`` an hour and minute."""
    manifest = copy.deepcopy(RECORDED[state])
    metadata: Json = {
        "name": name,
        "uid": f"uid-{name}",
        "labels": {"imagegen.dev/model": "m", "pod-template-hash": template},
        "creationTimestamp": f"2026-01-01T{created}:00Z",
    }
    if leaving:
        metadata["deletionTimestamp"] = "2026-01-01T13:00:00Z"
    return {**manifest, "metadata": metadata}


def unlooked(name: str = "m-1") -> Json:
    """Return a pod that the scheduler has not looked at."""
    bare = pod("no GPU free", name)
    return {**bare, "status": {"phase": "Pending"}}


def unschedulable(words: str) -> Json:
    """Return a pod for which the scheduler found no node and said so."""
    manifest = pod("no GPU free")
    (condition,) = manifest["status"]["conditions"]
    condition["message"] = words
    return manifest


def with_sidecar(manifest: Json) -> Json:
    """Return a pod whose container is ready beside one that runs and is not."""
    (server,) = manifest["status"]["containerStatuses"]
    sidecar = {"name": "proxy", "ready": False, "restartCount": 0, "state": {"running": {}}}
    manifest["status"]["containerStatuses"] = [{**server, "ready": True}, sidecar]
    return manifest


def waiting(reason: str, name: str = "m-1", message: str = "") -> Json:
    """Return a pod with a node, whose container waits for ``reason``."""
    manifest = pod("secret missing", name)
    manifest["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": reason, "message": message}}
    return manifest


def restarted(restarts: int, *, exit_code: int = 1, reason: str = "Error", log: str = "", ready: bool = False) -> Json:
    """Return a pod whose container runs again after it ended."""
    manifest = pod("ready" if ready else "running, not ready")
    status = manifest["status"]["containerStatuses"][0]
    status["restartCount"] = restarts
    status["lastState"] = {"terminated": {"exitCode": exit_code, "reason": reason, "message": log}}
    return manifest


def deployment(
    replicas: int = 1,
    *,
    pods: int | None = None,
    updated: int | None = None,
    ready: int = 0,
    generation: int = 1,
    observed: int | None = None,
    progress: str = "ReplicaSetUpdated",
    refusal: str = "",
) -> Json:
    """Return a Deployment with these counts; ``progress`` is the reason of its condition Progressing."""
    pods = replicas if pods is None else pods
    false = progress == "ProgressDeadlineExceeded"
    # Always True with one replica and maxUnavailable 1: nobody may rely on it.
    conditions = [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
        {"type": "Progressing", "status": "False" if false else "True", "reason": progress},
    ]
    if refusal:
        conditions.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refusal})
    counts = {
        "replicas": pods,
        "updatedReplicas": pods if updated is None else updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
    }
    return {
        "metadata": {
            "name": "m",
            "generation": generation,
            "annotations": {"deployment.kubernetes.io/revision": str(generation)},
        },
        "spec": {"replicas": replicas, "progressDeadlineSeconds": 3900},
        "status": {
            # The API server leaves zeros out.
            **{name: count for name, count in counts.items() if count},
            "observedGeneration": generation if observed is None else observed,
            "conditions": conditions,
        },
    }


def server(process: ProcessState = "loading", /, **fields: Any) -> ServerStatus:
    """Return what a server says whose one model has these fields."""
    return ServerStatus(
        version="1.0.0",
        state=process,
        uptime_seconds=10.0,
        device="cuda:0",
        models=(msgspec.structs.replace(ModelStatus(id="acme/m", state="loading"), **fields),),
        capacity=Capacity(running_rows=0, queued_rows=0, free_rows=1, running_requests=0, queued_requests=0),
        work=Work(
            predicted_seconds=0.0,
            device_seconds_total=0.0,
            evaluations_total=0,
            images_total=0,
            last_step_age_seconds=None,
        ),
    )


def transfer(done: float, total: float, *, eta: float | None = None, rate: float = 1e8) -> DownloadProgress:
    """Return a download of ``done`` of ``total`` bytes."""
    return DownloadProgress(
        bytes_done=int(done),
        bytes_total=int(total),
        percent=100.0 * done / total,
        bytes_per_second=rate,
        eta_seconds=eta,
    )


def model(
    replicas: int = 1, *, generation: int = 1, status: ImageModelStatus | None = None, gpu: str = "nvidia.com/gpu"
) -> Model:
    """Return the ImageModel ``m``."""
    spec = ImageModelSpec(
        publisher="acme", family="f", version="1", id="acme/m", replicas=replicas, gpu=Gpu(count=1, resource_name=gpu)
    )
    return Model(
        namespace="ns", name="m", uid="uid-m", generation=generation, spec=spec, status=status or ImageModelStatus()
    )


def observed(*pods: Json, rollout: Json | None = None, replicas: int = 1, servers: Json | None = None) -> Observed:
    """Return an ImageModel with ``pods``; ``servers`` is by pod name."""
    return Observed(
        model=model(replicas),
        deployment=deployment(replicas) if rollout is None else rollout,
        pods=pods,
        servers={f"uid-{name}": report for name, report in (servers or {}).items()},
    )
