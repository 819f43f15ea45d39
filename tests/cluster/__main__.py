"""A Kubernetes to try things on, until Ctrl-C: `make cluster`, or `make cluster NODE=1` where pods shall run."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from cluster.binary import NoBinary, cached, devcluster
from cluster.control_plane import ControlPlane
from cluster.fake_node import GPU
from cluster.node import NodeCluster, lacking
from cluster.node_files import socket_of

_CONTROL_PLANE = """
This is a control plane: pods stay Pending. `make cluster NODE=1`, as root, runs them."""

_NODE = """
Images come from archives: podman save --format docker-archive IMAGE >image.tar, then
  ctr --address {socket} --namespace k8s.io images import image.tar
A fake GPU for the scheduler:
  {kubectl} patch node node --subresource=status --type=json -p '{gpu}'"""


def main(arguments: list[str] | None = None) -> int:
    """Start it, say how to use it, wait for Ctrl-C or SIGTERM, remove it."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    parser.add_argument("--node", action="store_true", help="run pods too; needs root and Debian's packages")
    node = parser.parse_args(arguments).node
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(node=node)
    except NoBinary as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _run(*, node: bool) -> None:
    if node and (lacks := lacking()):
        raise NoBinary(f"no Kubernetes node here: {lacks} missing; without NODE=1 a control plane needs neither")
    binary = devcluster(_say)
    cluster = NodeCluster(binary, dns=cached("dns", _say)) if node else ControlPlane(binary)
    try:
        cluster.start()
        _say(_how_to_use(cluster))
        threading.Event().wait()
    finally:
        cluster.stop()
        _say("removed")


def _how_to_use(cluster: ControlPlane | NodeCluster) -> str:
    control_plane = cluster.control_plane if isinstance(cluster, NodeCluster) else cluster
    kubectl = f"{control_plane.binary} kubectl --kubeconfig {control_plane.kubeconfig}"
    return (
        f"Kubernetes is ready at {control_plane.url}; Ctrl-C removes it. Its logs are in {control_plane.folder}.\n"
        f"In another terminal:\n"
        f"  export KUBECONFIG={control_plane.kubeconfig}\n"
        f"  alias kubectl='{control_plane.binary} kubectl'\n"
        f"  kubectl apply -f {_CRD}"
        + (_of_node(cluster, kubectl) if isinstance(cluster, NodeCluster) else _CONTROL_PLANE)
    )


def _of_node(cluster: NodeCluster, kubectl: str) -> str:
    gpu = [f'{{"op": "add", "path": "/status/{field}/{GPU.replace("/", "~1")}", "value": "1"}}' for field in _FIELDS]
    return _NODE.format(socket=socket_of(cluster.folder), kubectl=kubectl, gpu=f"[{', '.join(gpu)}]")


_FIELDS = ("capacity", "allocatable")
_CRD = Path("deploy") / "crd.yaml"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
