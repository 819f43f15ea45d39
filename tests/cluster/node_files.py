"""Configuration files of the programs of a node, written into the state folder."""

import json
from pathlib import Path

from cluster.binary_images import PAUSE
from cluster.control_plane import NODE_ADDRESS

NAME = "node"
CLUSTER_DOMAIN = "cluster.local"

_POD_ADDRESSES = "10.244.0.0/24"


def write_node_files(folder: Path, *, dns: bool) -> None:
    """Write what containerd, kubelet, kube-proxy, CNI and, when wanted, DNS read."""
    (folder / "cni").mkdir()
    _write(folder / "cni" / "10-bridge.conflist", _network(folder))
    (folder / "containerd.toml").write_text(_containerd(folder))
    _write(folder / "kubelet.yaml", _kubelet(folder, dns=dns))
    _write(folder / "proxy.yaml", _proxy(folder))
    (folder / "Corefile").write_text(_corefile(folder))


def socket_of(folder: Path) -> Path:
    """Return where containerd listens."""
    return folder / "containerd.sock"


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1))


def _network(folder: Path) -> dict[str, object]:
    addresses = {"ranges": [[{"subnet": _POD_ADDRESSES}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "dataDir": str(folder / "addresses"), **addresses},
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, _PORTS]}


_PORTS = {"type": "portmap", "capabilities": {"portMappings": True}}


def _containerd(folder: Path) -> str:
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{socket_of(folder)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Where a process may not lower its own score, sandboxes fail without it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def _kubelet(folder: Path, *, dns: bool) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # nothing outside the namespace reaches it
        "address": NODE_ADDRESS,
        "healthzPort": 0,
        "failSwapOn": False,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{folder.name}",  # a kubelet ends the pods that it does not know in its own root
        "containerRuntimeEndpoint": f"unix://{socket_of(folder)}",
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "clusterDomain": CLUSTER_DOMAIN,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        **({"clusterDNS": [NODE_ADDRESS]} if dns else {}),
    }


def _proxy(folder: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": "10.244.0.0/16",
        "hostnameOverride": NAME,
        "clientConnection": {"kubeconfig": str(folder / "kubeconfig")},
        "conntrack": {"maxPerCore": 0},
        "nftables": {"minSyncPeriod": "100ms"},
    }


def _corefile(folder: Path) -> str:
    return f""".:53 {{
  bind {NODE_ADDRESS}
  errors
  kubernetes {CLUSTER_DOMAIN} {{
    kubeconfig {folder}/kubeconfig test
  }}
  cache 1
}}
"""
