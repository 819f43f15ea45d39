"""A real Kubernetes control plane on loopback: etcd, API server, controller manager and scheduler, without a node.

Server-side apply, CEL, RBAC, garbage collection, ReplicaSets, Leases and watches are the real ones. Pods stay Pending
until a test plays the kubelet (see fake_node.py).
"""

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx

from cluster.api import Api, ApiError
from cluster.kubeconfig import write_kubeconfig
from cluster.pki import make_pki
from cluster.ports import free_port
from cluster.processes import Processes
from server_process import wait_until

READY_SECONDS = 60.0
NODE_ADDRESS = "10.97.0.1"
"""Where the API server says that it is; only a node, in a network of its own, has an interface with it."""
SERVICE_ADDRESSES = "10.96.0.0/16"

_API_SERVICE_ADDRESS = "10.96.0.1"
_KUBECTL_SECONDS = 60.0

_WITHOUT_KUBELETS = "*,-node-lifecycle-controller,-taint-eviction-controller"
"""Nodes without a kubelet renew no Lease: these two would call them lost after 50 s and evict their pods."""


class ControlPlane:
    """A running control plane, and the way to it as cluster administrator.

    Args:
        binary: The program of binary.py.
        inside: A command that runs the command after it, such as ``nsenter`` into a node's namespaces.
        processes: Where the programs run; a node brings its own.
        real_node: Whether there is a kubelet, which reaches the API server by its network.
    """

    def __init__(
        self,
        binary: Path,
        *,
        inside: Sequence[str] = (),
        processes: Processes | None = None,
        real_node: bool = False,
    ) -> None:
        self.binary = binary
        self.processes = processes or Processes()
        self.folder = self.processes.folder
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = self.folder / "pki" / "ca.crt"
        self.certificate = self.folder / "pki" / "api.crt"
        self.key = self.folder / "pki" / "api.key"
        self.token = secrets.token_urlsafe(24)
        self.kubeconfig = self.folder / "kubeconfig"
        self._inside, self._real_node = tuple(inside), real_node
        self._etcd_port = free_port()
        self._api: Api | None = None

    def start(self) -> None:
        """Start everything and return when it is ready, in about five seconds.

        Raises:
            AssertionError: A program ended or it took over a minute; with the end of the log.
        """
        make_pki(self.folder / "pki", ["127.0.0.1", _API_SERVICE_ADDRESS, NODE_ADDRESS])
        (self.folder / "tokens").write_text(f'{self.token},admin,admin,"system:masters"\n')
        write_kubeconfig(self.kubeconfig, self.url, token=self.token, ca=self.ca)
        self._start_etcd()
        self.start_api_server()
        self._start_controllers()
        self._start_scheduler()

    def api(self, namespace: str = "default") -> Api:
        """Return a client with all rights; ``stop`` closes it."""
        if self._api is None:
            self._api = Api(self.url, token=self.token, ca=self.ca)
        return self._api.within(namespace)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as administrator and return what it prints.

        Raises:
            AssertionError: It failed; with what it printed to stderr.
        """
        done = subprocess.run(
            [str(self.binary), "kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_KUBECTL_SECONDS,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def stop_api_server(self) -> None:
        """Kill the API server: clients are refused. What was answered is in etcd."""
        self.processes.kill("kube-apiserver")

    def start_api_server(self) -> None:
        """Start the API server on its old port and wait until it is ready."""
        pki = self.folder / "pki"
        address = "0.0.0.0" if self._real_node else "127.0.0.1"  # noqa: S104 - all of a network of its own
        self._component(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            *(
                f"--bind-address={address}",
                f"--secure-port={self.port}",
                f"--advertise-address={NODE_ADDRESS}",
            ),
            *(f"--tls-cert-file={self.certificate}", f"--tls-private-key-file={self.key}"),
            *(f"--service-account-key-file={pki}/sa.key", f"--service-account-signing-key-file={pki}/sa.key"),
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self.folder}/tokens",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
        )
        wait_until(self._ready, READY_SECONDS, "the API server to be ready", every=0.05)

    def stop(self) -> None:
        """Kill everything and remove the folder."""
        if self._api is not None:
            self._api.close()
        self.processes.stop()

    def _ready(self) -> bool:
        self.processes.check()
        try:
            return self.api().request("GET", "/readyz") == "ok"
        except (httpx.TransportError, ApiError):
            return False

    def _start_etcd(self) -> None:
        clients, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        self._component(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
            *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",  # nothing in it outlives the run
        )

    def _start_controllers(self) -> None:
        pki = self.folder / "pki"
        self._component(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            *(f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={self.ca}"),
            "--use-service-account-credentials=false",
            *("--allocate-node-cidrs=true", "--cluster-cidr=10.244.0.0/16"),
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            f"--controllers={'*' if self._real_node else _WITHOUT_KUBELETS}",
            *("--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000"),
        )

    def _start_scheduler(self) -> None:
        self._component(
            "kube-scheduler",
            *(f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0"),
            *("--kube-api-qps=500", "--kube-api-burst=1000"),
        )

    def _component(self, name: str, *flags: str) -> None:
        self.processes.start(name, *self._inside, str(self.binary), name, *flags)
