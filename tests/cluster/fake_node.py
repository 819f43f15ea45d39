"""Nodes without a machine: the real scheduler binds pods to them, a test or a small thread plays the kubelet."""

import json
import secrets
import threading
from collections.abc import Callable
from typing import Self

from cluster.api import Api, ApiError, Object
from cluster.pod_status import running

GPU = "nvidia.com/gpu"

_GONE = (404, 409)
_WATCH_SECONDS = 1

Behaviour = Callable[[Object], Object | None]
"""What a pod's status becomes; None leaves it as it is."""


class FakeNode:
    """A Ready node with room for 1,000 pods. Leaving the ``with`` block removes it and what is bound to it.

    Nobody runs the pods: the test patches their status (pod_status.py), or a FakeKubelet does.
    """

    def __init__(self, api: Api, *, gpus: int = 0, labels: dict[str, str] | None = None) -> None:
        self.name = f"node-{secrets.token_hex(4)}"
        self._api = api
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels or {}}})
        self.set_gpus(gpus)
        # Admission taints a new node; the controller that lifts the taint is for nodes with kubelets.
        api.patch("Node", self.name, {"spec": {"taints": None}})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def set_gpus(self, count: int) -> None:
        """Change how many GPUs the scheduler sees."""
        room = {"cpu": "512", "memory": "4Ti", "pods": "1000", "ephemeral-storage": "64Ti", GPU: str(count)}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        self._api.patch_status("Node", self.name, {"capacity": room, "allocatable": room, "conditions": [ready]})

    def pods(self) -> list[Object]:
        """Return the pods that are bound to it, in all namespaces."""
        return self._api.request("GET", "/api/v1/pods", params={"fieldSelector": f"spec.nodeName={self.name}"})["items"]

    def remove(self) -> None:
        """Remove the node and its pods, which nobody else would end."""
        self._api.delete("Node", self.name)
        for pod in self.pods():
            end_pod(self._api, pod)


def end_pod(api: Api, pod: Object) -> None:
    """Remove a pod at once, as a kubelet does when its containers have ended."""
    metadata = pod["metadata"]
    try:
        api.within(metadata["namespace"]).delete("Pod", metadata["name"], grace_seconds=0)
    except ApiError as error:
        if error.code not in _GONE:
            raise


class FakeKubelet:
    """Plays the kubelet of one node in a thread: new pods get a status, deleted ones end.

    A pod's status is written once, when it is bound: ``behaviour`` says which, by default Running and ready. What a
    test patches afterwards stays.
    """

    def __init__(self, node: FakeNode, api: Api, behaviour: Behaviour = running) -> None:
        self._node, self._api, self._behaviour = node, api, behaviour
        self._seen: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20 * _WATCH_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for pod in self._node.pods():
                self._play(pod)
            self._watch()

    def _watch(self) -> None:
        """Play each change as it comes, for a second; what falls between two watches is in the next list."""
        path = "/api/v1/pods"
        params = {
            "fieldSelector": f"spec.nodeName={self._node.name}",
            "watch": "1",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        for line in self._api.lines(path, params):
            self._play(json.loads(line)["object"])
            if self._stopping.is_set():
                return

    def _play(self, pod: Object) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            end_pod(self._api, pod)
        elif pod["metadata"]["uid"] not in self._seen:
            self._seen.add(pod["metadata"]["uid"])
            self._write(pod, self._behaviour(pod))

    def _write(self, pod: Object, status: Object | None) -> None:
        if status is None:
            return
        try:
            self._api.within(pod["metadata"]["namespace"]).patch_status("Pod", pod["metadata"]["name"], status)
        except ApiError as error:
            if error.code not in _GONE:
                raise
