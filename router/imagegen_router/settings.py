"""Settings of the router: `IMAGEGEN_ROUTER_` and the name in capitals, or a flag of `imagegen-router`.

Every field's text says what it does and why the default is as it is.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ENVIRONMENT_PREFIX = "IMAGEGEN_ROUTER_"

Port = Annotated[int, Meta(ge=0, le=65535)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86400)]

_ENDPOINT_WORDS = "MODEL=URL with a URL of http://, such as acme/one=http://10.0.0.1:8000"


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set on a router."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on; this machine only by default")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="Port of the public API; 0 takes a free one")] = 8000
    management_port: Annotated[
        Port | None,
        Meta(description="Port of /healthz, /readyz, /metrics, /status and /internal; the public one when left out"),
    ] = None
    endpoint: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=]+=\s*http://.+$", extra={"allowed": _ENDPOINT_WORDS})], ...],
        Meta(description="MODEL=URL of a server, comma-separated; a model may be named several times"),
    ] = ()
    endpoints_file: Annotated[
        str, Meta(description="File with one MODEL=URL a line, read anew when it changes; none when empty")
    ] = ""
    namespace: Annotated[
        str,
        Meta(description="Namespace whose ImageModels are served; when empty the pod's own, else the kubeconfig's"),
    ] = ""
    default_model: Annotated[
        str, Meta(description="What requests without a model get; they are refused when empty")
    ] = ""
    keys_file: Annotated[
        str, Meta(description="File of API keys (imagegen keys); when empty everybody may make pictures")
    ] = ""
    hold_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="A request waits as long for a first pod of its model; ingresses commonly cut at 60 s",
        ),
    ] = 45.0
    hold_stream_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="The same for streams, which show that they are alive")
    ] = 600.0
    request_timeout: Annotated[
        PositiveSeconds, Meta(description="A request that takes longer is given up; the SDK waits as long")
    ] = 600.0
    max_waiting_requests: Annotated[
        int, Meta(ge=1, le=100000, description="Requests that may wait for one model; each holds its body in memory")
    ] = 1000
    max_waiting_mib: Annotated[int, Meta(ge=1, le=65536, description="MiB of bodies that may wait for one model")] = 64
    max_waiting_seconds: Annotated[
        PositiveSeconds,
        Meta(description="Predicted device seconds that may wait for each ready pod; the SDK gives up after 600 s"),
    ] = 300.0
    client_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Of these three, what one API key may take while another one waits"),
    ] = 0.5
    max_body_bytes: Annotated[
        int, Meta(ge=1024, le=1 << 30, description="Largest body; two prompts of full length fit even when escaped")
    ] = 1 << 20
    body_timeout: Annotated[
        PositiveSeconds, Meta(description="Time to receive a body; a slower client holds a connection for nothing")
    ] = 30.0
    connect_timeout: Annotated[
        PositiveSeconds, Meta(description="A pod of the same cluster answers within milliseconds, or not at all")
    ] = 2.0
    poll_seconds: Annotated[
        PositiveSeconds, Meta(description="Pods are asked for their load as often; replies tell of it too")
    ] = 1.0
    silence_seconds: Annotated[
        PositiveSeconds,
        Meta(description="What runs on a pod that answers nothing for as long is run elsewhere"),
    ] = 30.0
    demand_seconds: Annotated[
        PositiveSeconds,
        Meta(
            description="Requests for a model without replicas are held when somebody read /internal/demand within "
            "this time; else nobody would start a pod for them"
        ),
    ] = 60.0
    drain_seconds: Annotated[
        PositiveSeconds, Meta(description="After SIGTERM what is here may take this long before it is cut off")
    ] = 600.0
    log_format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto is console on a terminal and json elsewhere")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is shown")
    ] = "info"
