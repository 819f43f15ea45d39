"""A whole Kubernetes of one node, where pods really run, in namespaces of its own: network, mounts, processes.

Nothing of it is visible outside but its files and cgroups; ending one process ends all of it. Needs root on Linux and
Debian's packages (see ``lacking``).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from cluster.api import Api
from cluster.binary_images import PAUSE, compiled_image
from cluster.cgroups import make_cgroups
from cluster.control_plane import NODE_ADDRESS, SERVICE_ADDRESSES, ControlPlane
from cluster.fake_node import GPU
from cluster.node_files import NAME, socket_of, write_node_files
from cluster.processes import Processes
from cluster.relay import LOOPBACK, Relay
from server_process import wait_until

_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "gcc": "gcc",
    "openssl": "openssl",
}
"""Programs and their Debian packages."""

_STATE = Path("/var/tmp")  # noqa: S108 - a private folder is made in it; /tmp may be memory, and images are large
_READY_SECONDS = 120.0
_SECONDS = 60.0
_IMPORT_SECONDS = 1800.0

_HOLDER = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_FIRST = "trap '' CHLD; exec sleep infinity"
"""The first process inside: ignoring the end of children is what makes the kernel bury them."""

_PRIVATE = ("/run", "/var/lib", "/var/log")
"""Where the programs write to fixed paths."""


_RESOLVE = """
import socket, struct, sys
labels = b"".join(bytes([len(label)]) + label.encode() for label in sys.argv[1].split("."))
query = struct.pack("!6H", 1, 256, 1, 0, 0, 0) + labels + bytes([0, 0, 1, 0, 1])
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(5)
try:
    asked.sendto(query, (sys.argv[2], 53))
    reply = asked.recv(4096)
except OSError:  # nobody answers
    sys.exit()
answers = reply[len(query):]
for _ in range(struct.unpack("!H", reply[6:8])[0]):  # all of one length: compressed name, type A, 4 bytes
    owner = answers.index(bytes([0, 1, 0, 1]))
    print(socket.inet_ntoa(answers[owner + 10 : owner + 14]))
    answers = answers[owner + 14 :]
"""
"""Asks for A records: the machine's own resolver would read the machine's own resolv.conf."""


def lacking() -> str:
    """Return what this machine lacks for a node, in words; "" when it has everything."""
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    lacks = [f"Debian packages {' '.join(missing)}"] if missing else []
    return " and ".join([*lacks, *([] if os.geteuid() == 0 else ["to be root"])])


class NodeCluster:
    """A control plane and a node; its API server is on loopback outside too.

    Args:
        binary: The program of binary.py.
        dns: CoreDNS, for names of Services inside pods; None: pods resolve no names.
    """

    def __init__(self, binary: Path, *, dns: Path | None = None) -> None:
        self._processes = Processes(_STATE)
        self.folder = self._processes.folder
        self._binary, self._dns = binary, dns
        self._relay: Relay | None = None
        self._control_plane: ControlPlane | None = None
        self._forwarded: dict[tuple[str, int], int] = {}
        self._pid = 0

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane, once started."""
        if self._control_plane is None:
            raise RuntimeError("the node is not started: call start() first")
        return self._control_plane

    @property
    def relay(self) -> Relay:
        """The way of TCP connections in and out, once started."""
        if self._relay is None:
            raise RuntimeError("the node is not started: call start() first")
        return self._relay

    def start(self) -> None:
        """Start everything and return when the node is Ready, in about 15 seconds.

        Raises:
            AssertionError: A program ended or it took over two minutes; with the end of the log.
        """
        self._enter_namespaces()
        self._relay = Relay(self._pid)
        self._control_plane = ControlPlane(
            self._binary, inside=self._inside("net"), processes=self._processes, real_node=True
        )
        self._relay.forward(LOOPBACK, self._control_plane.port, listen=self._control_plane.port)
        self._control_plane.start()
        self._start_containerd()
        self._start_node()
        wait_until(self._is_ready, _READY_SECONDS, "the node to be Ready", every=0.1)

    def api(self, namespace: str = "default") -> Api:
        """Return a client with all rights."""
        return self.control_plane.api(namespace)

    @property
    def inside_network(self) -> Sequence[str]:
        """The command that runs the one behind it in the node's network, where pods can be reached by address."""
        return self._inside("net")

    def run(self, *command: str, seconds: float = _SECONDS) -> str:
        """Run a command in the node's network and mounts and return what it prints.

        Raises:
            AssertionError: It failed; with what it printed to stderr.
        """
        done = subprocess.run(
            [*self._inside("net", "mount"), *command], capture_output=True, text=True, check=False, timeout=seconds
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def import_image(self, archive: Path) -> None:
        """Load the images of a docker- or OCI-archive into containerd."""
        self._ctr("images", "import", str(archive), seconds=_IMPORT_SECONDS)

    def tag_image(self, name: str, other: str) -> None:
        """Give an image of the node another name, as a registry has it for a new version that changes nothing."""
        self._ctr("images", "tag", "--force", name, other)

    def kill_container(self, pod: Mapping[str, Any]) -> None:
        """Kill the process of a pod's only container, as the kernel does: it has no time for anything."""
        (container,) = pod["status"]["containerStatuses"]
        self._ctr("tasks", "kill", "--signal", "SIGKILL", container["containerID"].removeprefix("containerd://"))

    def restart_kubelet(self) -> None:
        """Kill the kubelet and start it again; pods go on running meanwhile."""
        self._processes.kill("kubelet")
        self._start_kubelet()

    def set_gpus(self, count: int, resource: str = GPU) -> None:
        """Make the node offer GPUs that are not there; pods that ask for them really run."""
        key = resource.replace("/", "~1")
        patch = [
            {"op": "add", "path": f"/status/{field}/{key}", "value": str(count)}
            for field in ("capacity", "allocatable")
        ]
        self.api().patch("Node", NAME, patch, subresource="status")

    def url(self, host: str, port: int) -> str:
        """Return a URL outside that leads to an address inside: a pod's, a Service's or the node's."""
        if (host, port) not in self._forwarded:
            self._forwarded[host, port] = self.relay.forward(host, port)
        return f"http://{LOOPBACK}:{self._forwarded[host, port]}"

    def get(self, host: str, port: int, path: str = "/") -> httpx.Response:
        """GET from an address inside."""
        return httpx.get(f"{self.url(host, port)}{path}", timeout=30, trust_env=False)

    def expose(self, port: int) -> str:
        """Return a URL at which pods reach a server of the test on loopback outside."""
        self.relay.expose(port, address=NODE_ADDRESS, listen=port)
        return f"http://{NODE_ADDRESS}:{port}"

    def resolve(self, name: str) -> list[str]:
        """Return the addresses that the cluster's DNS has for a name, none when it does not answer; needs ``dns``."""
        return self.run(sys.executable, "-S", "-c", _RESOLVE, name, NODE_ADDRESS).split()

    def stop(self) -> None:
        """End everything and remove the folder and the cgroups."""
        if self._relay is not None:
            self._relay.close()
        if self._control_plane is not None:
            self._control_plane.stop()
        else:
            self._processes.stop()

    def _enter_namespaces(self) -> None:
        holder = self._processes.start("namespaces", *_HOLDER, "sh", "-c", _FIRST)
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        wait_until(lambda: self._sleeps(children), _SECONDS, "the node's namespaces")
        self._pid = int(children.read_text())
        for path in _PRIVATE:
            self.run("mount", "-t", "tmpfs", "tmpfs", path)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "node", "type", "bridge")
        self.run("ip", "addr", "add", f"{NODE_ADDRESS}/32", "dev", "node")
        self.run("ip", "link", "set", "node", "up")
        self.run("ip", "route", "add", SERVICE_ADDRESSES, "dev", "node")  # else unreachable before kube-proxy's rules
        self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    def _sleeps(self, children: Path) -> bool:
        """Return whether the first process is past its preparations, in which /proc is mounted."""
        self._processes.check()
        first = children.read_text().strip()
        return bool(first) and Path(f"/proc/{first}/comm").read_text().strip() == "sleep"

    def _start_containerd(self) -> None:
        write_node_files(self.folder, dns=self._dns is not None)
        make_cgroups(self.folder.name)
        self._start_inside("containerd", "containerd", "--config", f"{self.folder}/containerd.toml")
        wait_until(self._containerd_answers, _SECONDS, "containerd to answer", every=0.05)
        self.import_image(compiled_image("pause", PAUSE, self.folder))

    def _start_kubelet(self) -> None:
        kubelet = (f"--config={self.folder}/kubelet.yaml", f"--kubeconfig={self.folder}/kubeconfig")
        where = (f"--hostname-override={NAME}", f"--node-ip={NODE_ADDRESS}", f"--root-dir={self.folder}/kubelet")
        self._start_inside("kubelet", str(self._binary), "kubelet", *kubelet, *where)

    def _start_node(self) -> None:
        self._start_kubelet()
        self._start_inside("kube-proxy", str(self._binary), "kube-proxy", f"--config={self.folder}/proxy.yaml")
        if self._dns is not None:
            self._start_inside("dns", str(self._dns), "-conf", f"{self.folder}/Corefile")

    def _containerd_answers(self) -> bool:
        self._processes.check()
        return socket_of(self.folder).exists() and self._ctr("version", check=False)

    def _is_ready(self) -> bool:
        self._processes.check()
        node = self.api().find("Node", NAME)
        conditions = node["status"].get("conditions", ()) if node else ()
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    def _ctr(self, *arguments: str, seconds: float = _SECONDS, check: bool = True) -> bool:
        command = ("ctr", "--address", str(socket_of(self.folder)), "--namespace", "k8s.io", *arguments)
        try:
            self.run(*command, seconds=seconds)
        except AssertionError:
            if check:
                raise
            return False
        return True

    def _start_inside(self, name: str, *command: str) -> None:
        self._processes.start(name, *self._inside("net", "mount", "pid"), *command)

    def _inside(self, *namespaces: str) -> Sequence[str]:
        return ("nsenter", *(f"--{name}=/proc/{self._pid}/ns/{_FILES[name]}" for name in namespaces), "--")


_FILES = {"net": "net", "mount": "mnt", "pid": "pid"}
