"""The chart on a real node, installed by a real helm: what a platform engineer has after `helm install`."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openai

import operator_scenes
from chart_samples import merged
from cluster.api import Api
from cluster.kubeconfig import write_kubeconfig
from cluster.namespaces import create_namespace
from cluster.node import NodeCluster
from command_line import imagegen
from helm_binary import kubectl
from helm_client import Helm
from imagegen_contract import names
from imagegen_contract.crd import NAME as DEFINITION
from operator_scenes import is_ready
from server_process import Server
from shapes_oracle import Scene, random_scenes

RELEASE = "imagegen"
HOST = "pictures.example"
READY_SECONDS = 240.0
SCENES: Sequence[Scene] = random_scenes(7, 3)

_SECONDS = 120.0
_KEYS = "keys"
_TEST_KEY = "test-key"


def entry(name: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of the catalog that serves the embedded model on the CPU, small enough for two cores."""
    identity = {"publisher": "imagegen", "family": "shapes", "version": name, "id": f"imagegen/{name}"}
    small = {"resources": {"requests": {"cpu": "100m", "memory": "512Mi"}}}
    return {**identity, "source": "builtin://shapes", "gpu": {"count": 0}, "pod": small, **fields}


def image_model(name: str, **fields: Any) -> dict[str, Any]:
    """Return the ImageModel of such an entry."""
    return operator_scenes.image_model(f"imagegen-{name}", **entry(name, **fields))


class Installation:
    """A release in a namespace of its own, in which only restricted pods may run.

    Args:
        node: The node; it has the images.
        folder: For the kubeconfig and the file of keys.
        images: Names of the images of operator and server.
        helm: Version of helm.
    """

    def __init__(self, node: NodeCluster, folder: Path, images: tuple[str, str], *, helm: str) -> None:
        self.node = node
        everywhere = node.api()
        self.api: Api = everywhere.within(create_namespace(everywhere, "imagegen"))
        """A client with all rights."""
        self.namespace = self.api.namespace
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        everywhere.patch("Namespace", self.namespace, {"metadata": {"labels": enforced}})
        self.kubeconfig = write_kubeconfig(
            folder / f"kubeconfig-{self.namespace}",
            everywhere.url,
            token=everywhere.token,
            ca=everywhere.ca,
            namespace=self.namespace,
        )
        self.helm = Helm(helm, kubeconfig=self.kubeconfig, namespace=self.namespace)
        self.key = self._make_key(folder)
        self.values: dict[str, Any] = {
            "images": {
                "pullPolicy": "IfNotPresent",
                "operator": _image(images[0]),
                "server": _image(images[1]),
            },
            "auth": {"existingSecret": _KEYS},
            "tests": {"existingSecret": _TEST_KEY},
            "ingress": {"enabled": True, "host": HOST},
            "catalog": {"modelsInfo": json.dumps([entry("shapes", aliases=["small"])])},
            "networkPolicy": {"apiServerPorts": [443, node.control_plane.port]},
        }

    def install(self, **changes: Mapping[str, Any]) -> str:
        """Install or upgrade with the values, in which ``changes`` stay; wait for operator and routers."""
        self.values = merged(self.values, changes)
        return self.install_with(self.values)

    def install_with(self, values: Mapping[str, Any]) -> str:
        """Install or upgrade with these values this once; wait for operator and routers."""
        return self.helm.install(values, "--wait", "--timeout=180s", release=RELEASE)

    def install_first(self) -> None:
        """Install where nothing is; what an earlier test has made known goes."""
        if self.node.api().find("CustomResourceDefinition", DEFINITION):
            self.node.api().delete("CustomResourceDefinition", DEFINITION)
            self.node.api().wait_gone("CustomResourceDefinition", DEFINITION, seconds=_SECONDS)
        self.install()

    def kubectl(self, *arguments: str, seconds: float = _SECONDS, stdin: str = "") -> str:
        """Run kubectl in the namespace and return what it prints; an AssertionError holds what it says otherwise."""
        command = [str(kubectl()), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait_ready(self, *models: str, seconds: float = READY_SECONDS) -> None:
        """Wait for ImageModels by what a person types."""
        named = [f"imagemodel/{model}" for model in models]
        self.kubectl("wait", "--for=condition=Ready", *named, f"--timeout={seconds:g}s", seconds=seconds + 20)

    def wait_for_model(
        self, name: str, predicate: Callable[[Any], Any] = is_ready, seconds: float = READY_SECONDS
    ) -> Any:
        """Wait until an ImageModel is so, and return it."""
        return self.api.wait_for("ImageModel", name, predicate, seconds=seconds)

    def router(self) -> Server:
        """Return the router's Service, from outside."""
        service = self.api.get("Service", f"{RELEASE}-router")["spec"]
        return Server(self.node.url(service["clusterIP"], service["ports"][0]["port"]))

    def client(self, url: str = "", **options: Any) -> openai.OpenAI:
        """Return the official SDK's client of the router, or of another URL."""
        options = {"api_key": self.key, "max_retries": 0, "timeout": 120, **options}
        return openai.OpenAI(base_url=f"{url or self.router().url}/v1", **options)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of ``operator`` or ``router`` that are not on their way out."""
        found = self.api.list("Pod", labels=f"app.kubernetes.io/component={component}")
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def model_pods(self) -> dict[str, list[str]]:
        """Return the UIDs of the pods of each model, with how often their containers have started again.

        Those on their way out are not counted.
        """
        uids: dict[str, list[str]] = {}
        for pod in self.api.list("Pod", labels=names.MODEL_LABEL):
            if "deletionTimestamp" in pod["metadata"]:
                continue
            restarts = sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))
            uids.setdefault(pod["metadata"]["labels"][names.MODEL_LABEL], []).append(
                f"{pod['metadata']['uid']} {restarts}"
            )
        return {model: sorted(each) for model, each in uids.items()}

    def revision(self) -> int:
        """Return the number of the release's newest revision."""
        return json.loads(self.helm.run("history", RELEASE, "--output=json"))[-1]["revision"]

    def remove(self) -> None:
        """Remove everything; it takes the pods a while to go."""
        self.node.api().delete("Namespace", self.namespace)

    def _make_key(self, folder: Path) -> str:
        """Make an API key and its Secrets by what docs/install.md says."""
        file = folder / "keys.json"
        key = _printed(imagegen(folder, "keys", "add", "e2e", "--file", str(file))).strip()
        self.kubectl(
            "apply", "-f", "-", stdin=_printed(imagegen(folder, "keys", "secret", "--file", str(file), "--name", _KEYS))
        )
        self.kubectl("create", "secret", "generic", _TEST_KEY, f"--from-literal=key={key}")
        return key


def with_entries(*entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a catalog."""
    return {"catalog": {"modelsInfo": json.dumps(entries)}}


def _image(name: str) -> dict[str, str]:
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag}


def _printed(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout
