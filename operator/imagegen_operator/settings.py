"""Settings of the operator: `IMAGEGEN_OPERATOR_` and the name in capitals, or a flag of `imagegen-operator`.

Every field's text says what it does and why the default is as it is.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from imagegen_contract.server_settings import HUB_ENDPOINT_PATTERN, HUB_ENDPOINT_WORDS

ENVIRONMENT_PREFIX = "IMAGEGEN_OPERATOR_"

Port = Annotated[int, Meta(ge=0, le=65535)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86400)]


class OperatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set on an operator."""

    namespace: Annotated[
        str,
        Meta(description="Namespace to look after; when empty the pod's own in a cluster, else the kubeconfig's"),
    ] = ""
    server_image: Annotated[
        str,
        Meta(
            min_length=1,
            description="Image of imagegen-server for models that have none yet; pinned for each when first deployed",
        ),
    ] = "imagegen-server:latest"
    upgrade_policy: Annotated[
        Literal["Pinned", "Rolling"],
        Meta(
            description="Pinned leaves running models on the image they were deployed with, so that an upgrade of the "
            "operator restarts no pod; Rolling moves all to server_image"
        ),
    ] = "Pinned"
    image_pull_policy: Annotated[
        Literal["", "Always", "IfNotPresent", "Never"],
        Meta(description="imagePullPolicy of model pods; Kubernetes' own rule when empty"),
    ] = ""
    image_pull_secrets: Annotated[
        tuple[str, ...], Meta(description="Secrets with the registry's credentials for model pods, comma-separated")
    ] = ()
    hub_endpoint: Annotated[
        str,
        Meta(
            pattern=f"^({HUB_ENDPOINT_PATTERN})?$",
            extra={"allowed": HUB_ENDPOINT_WORDS},
            description="Mirror of the Hugging Face Hub for all models; the Hub itself when empty",
        ),
    ] = ""
    hub_token_secret: Annotated[
        str,
        Meta(
            max_length=253,
            description="Secret with a Hub token under `token`, for models of the Hub that name none; none when empty",
        ),
    ] = ""
    catalog: Annotated[
        str, Meta(description="Catalog file (models_info.json) to keep ImageModels for; none when empty")
    ] = ""
    release: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            extra={"allowed": "the name of a Helm release: a-z, 0-9 and -, which is neither first nor last"},
            max_length=53,
            description="Name of this installation: only ImageModels with its label are removed with their entry",
        ),
    ] = "imagegen"
    identity: Annotated[
        str, Meta(max_length=253, description="Name of this process in the Lease; host name and a random part if empty")
    ] = ""
    lease_name: Annotated[str, Meta(min_length=1, max_length=63, description="Lease that decides who leads")] = (
        "imagegen-operator"
    )
    lease_seconds: Annotated[
        float,
        Meta(ge=2, le=3600, description="A leader that died is replaced after as long; whole seconds"),
    ] = 15.0
    workers: Annotated[
        int, Meta(ge=1, le=64, description="Models worked on at once; more only queue up in the API server")
    ] = 16
    resync_seconds: Annotated[
        PositiveSeconds,
        Meta(description="All objects are listed and compared as often: what a watch never told is found then"),
    ] = 300.0
    status_poll_seconds: Annotated[
        PositiveSeconds, Meta(description="Pods that load are asked for their progress, and it is written, as often")
    ] = 5.0
    watch_silence_seconds: Annotated[
        PositiveSeconds,
        Meta(
            description="/healthz fails when a watch was silent for longer; each is renewed, and one that is refused "
            "or half-open given up, when about half of it is over"
        ),
    ] = 120.0
    host: Annotated[str, Meta(description="Address of /healthz, /readyz and /metrics; loopback outside a pod")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="Port of /healthz, /readyz and /metrics; 0 takes a free one")] = 9090
    log_format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto is console on a terminal and JSON elsewhere")
    ] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe line shown")] = (
        "info"
    )
