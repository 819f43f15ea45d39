"""The pod of a model: one container with imagegen-server, under the Pod Security Standard "restricted"."""

from typing import Any

import msgspec

from imagegen_contract import names
from imagegen_contract.image_model import ImageModelSpec, SecretKeyRef
from imagegen_contract.names import MANAGEMENT_PORT, PUBLIC_PORT
from imagegen_contract.server_settings import ENVIRONMENT_PREFIX, ServerSettings
from imagegen_contract.settings import write_environment
from imagegen_operator.objects import Model
from imagegen_operator.resources.metadata import labels
from imagegen_operator.resources.quantity import canonical
from imagegen_operator.resources.volumes import TOKEN_FILE, mounts, served_source, volumes
from imagegen_operator.settings import OperatorSettings

SERVER = "server"
"""The container; others beside it are somebody else's."""

_USER = 10001
"""The user of Dockerfile.server."""

_PRE_STOP_SECONDS = 5
"""Between the end of a pod's readiness and SIGTERM: endpoints and routers hear of it meanwhile."""

_GRACE_SECONDS = 5
"""After the drain, for the last bytes and the end of the process."""

_HUB_SCHEME = "hf://"

_RESOURCES = {"requests": {"cpu": "500m", "memory": "2Gi"}}
"""Modest, so that a small cluster starts something. What the weights need is known only once they are there; no limits,
since a wrong one kills: spec.pod.resources says better where somebody knows better."""


def pod_template(model: Model, spec: ImageModelSpec, image: str, settings: OperatorSettings) -> dict[str, Any]:
    """Return the pod template. What ``spec.pod`` says replaces what stands here, in the last lines."""
    spec = _with_token(spec, settings)
    pod = {
        "enableServiceLinks": False,  # a Service named imagegen would put IMAGEGEN_PORT into the environment
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _PRE_STOP_SECONDS + spec.rollout.drain_seconds + _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, image, settings)],
        "volumes": volumes(model, spec),
        **_pull_secrets(settings),
    }
    return {
        "metadata": {"labels": labels(model), "annotations": {names.MODEL_ID_ANNOTATION: spec.id}},
        "spec": pod | _overrides(spec),
    }


def server_settings(spec: ImageModelSpec, settings: OperatorSettings) -> ServerSettings:
    """Return the settings of a pod's server: what this model needs and nothing that a pod has no use for."""
    return ServerSettings(
        host="0.0.0.0",  # noqa: S104 - inside the pod, whose address is the point
        management_port=MANAGEMENT_PORT,
        model=_served(spec),
        device="cuda" if spec.gpu.count else "cpu",
        load_timeout=float(spec.rollout.load_timeout_seconds),
        drain_seconds=float(spec.rollout.drain_seconds),
        hub_endpoint=settings.hub_endpoint or None,
        hub_token_file=TOKEN_FILE if spec.hub_token_secret_ref else None,
    )


def _with_token(spec: ImageModelSpec, settings: OperatorSettings) -> ImageModelSpec:
    """Give a model of the Hub that names no token the installation's."""
    if spec.hub_token_secret_ref or not settings.hub_token_secret or not spec.weights.startswith(_HUB_SCHEME):
        return spec
    return msgspec.structs.replace(spec, hub_token_secret_ref=SecretKeyRef(name=settings.hub_token_secret))


def _served(spec: ImageModelSpec) -> ImageModelSpec:
    """Return what a server needs to know of a model: editing anything else restarts nothing."""
    return ImageModelSpec(
        publisher=spec.publisher,
        family=spec.family,
        version=spec.version,
        id=spec.id,
        source=served_source(spec),
        revision=spec.revision,
        config=spec.config,
        inference=spec.inference,
    )


def _container(spec: ImageModelSpec, image: str, settings: OperatorSettings) -> dict[str, Any]:
    return {
        "name": SERVER,
        "image": image,
        **({"imagePullPolicy": settings.image_pull_policy} if settings.image_pull_policy else {}),
        "env": _environment(spec, settings),
        "ports": [
            {"name": "http", "containerPort": PUBLIC_PORT, "protocol": "TCP"},
            {"name": "management", "containerPort": MANAGEMENT_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(spec),
        # It listens at once: a minute is for a slow node. Loading may take long, and the server limits that itself.
        "startupProbe": _probe("/healthz", period=1, failures=60, timeout=5),
        # Three, since one slow answer is no reason to leave; a pod that drains is off its endpoints by its deletion.
        "readinessProbe": _probe("/readyz", period=2, failures=3, timeout=5),
        # It fails only when the process hangs: one device call may take minutes, and the server knows of it.
        "livenessProbe": _probe("/healthz", period=10, failures=6, timeout=10),
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts(spec),
    }


def _pull_secrets(settings: OperatorSettings) -> dict[str, Any]:
    secrets = [{"name": name} for name in settings.image_pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def _environment(spec: ImageModelSpec, settings: OperatorSettings) -> list[dict[str, str]]:
    written = write_environment(server_settings(spec, settings), ENVIRONMENT_PREFIX)
    # Kubernetes puts other variables in place of $(NAME), also in a prompt; a doubled $ is a plain one.
    variables = {name: value.replace("$", "$$") for name, value in written.items()}
    if spec.gpu.count == 0:
        # An image with CUDA inside would otherwise be given all GPUs of its node by NVIDIA's runtime.
        variables["NVIDIA_VISIBLE_DEVICES"] = "void"
    variables |= {variable.name: variable.value for variable in spec.pod.env}
    return [{"name": name, "value": value} for name, value in variables.items()]


def _resources(spec: ImageModelSpec) -> dict[str, Any]:
    asked = spec.pod.resources
    resources: dict[str, dict[str, Any]] = (
        {
            kind: {name: canonical(amount) for name, amount in amounts.items()}
            for kind, amounts in (("limits", asked.limits), ("requests", asked.requests))
            if amounts
        }
        if asked
        else dict(_RESOURCES)
    )
    if spec.gpu.count:
        gpu = {spec.gpu.resource_name: str(spec.gpu.count)}
        resources["limits"] = {**resources.get("limits", {}), **gpu}
    return resources


def _probe(path: str, period: int, failures: int, timeout: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "management"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def _overrides(spec: ImageModelSpec) -> dict[str, Any]:
    pod = spec.pod
    fields = {
        "nodeSelector": pod.node_selector,
        "tolerations": [_plain(each) for each in pod.tolerations],
        "affinity": pod.affinity,
        "runtimeClassName": pod.runtime_class_name,
        "priorityClassName": pod.priority_class_name,
    }
    return {name: value for name, value in fields.items() if value}


def _plain(struct: msgspec.Struct) -> dict[str, Any]:
    """Return what is not at its default."""
    fields: dict[str, Any] = msgspec.to_builtins(struct)
    return {name: value for name, value in fields.items() if value not in ("", None)}
