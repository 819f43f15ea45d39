"""deploy/imagegen.yaml: what the chart renders to with its defaults, for `kubectl apply -k deploy`."""

import subprocess
from pathlib import Path

from helm_binary import HELM_VERSIONS, helm

CHART = Path(__file__).resolve().parent.parent / "charts" / "imagegen"

_INTRODUCTION = """\
# Made by `make generate` from charts/imagegen with its defaults: edit that. kustomization.yaml says where it goes.
"""

_SECONDS = 60.0


def deploy_manifests() -> str:
    """Return the file; raise NoHelm where helm cannot be had."""
    command = [str(helm(next(iter(HELM_VERSIONS.values())))), "template", "imagegen", str(CHART), "--skip-tests"]
    command += ["--namespace=imagegen", "--set=crds.enabled=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603 - helm
    return _INTRODUCTION + done.stdout.replace("managed-by: Helm", "managed-by: kustomize")
