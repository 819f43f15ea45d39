"""Settings of a server: the operator writes them as environment, the server reads them (see settings.py).

Every field is one environment variable, ``IMAGEGEN_SERVER_`` and its name in capitals, and one flag of
``imagegen-server``. Its text says what it does and why the default is as it is.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.settings import read_settings

ENVIRONMENT_PREFIX = "IMAGEGEN_SERVER_"
DEFAULT_MODEL = "imagegen/shapes"

HUB_ENDPOINT_PATTERN = r"https?://[^/@\s]+(/\S*)?"
"""An address of the Hub: without credentials, which would be in messages."""

HUB_ENDPOINT_WORDS = "an address that begins with http:// or https:// and has no user name or password"

Port = Annotated[int, Meta(ge=0, le=65535)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86400)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set on a server."""

    host: Annotated[str, Meta(description="Address to listen on; loopback, so that nothing is public by accident")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="Port of the public API; 0 takes a free one")] = 8000
    management_port: Annotated[
        Port | None,
        Meta(
            description="Separate port of /healthz, /readyz, /metrics and /status, as in pods; the public port's own "
            "routes when left out, because one port is simpler on a laptop"
        ),
    ] = None
    catalog: Annotated[
        str | None, Meta(description="Catalog file; ./models_info.json when there is one, else the packaged copy")
    ] = None
    model: Annotated[
        ImageModelSpec | None,
        Meta(description="The one model of a pod, as the JSON of its ImageModel spec; replaces the catalog"),
    ] = None
    load: Annotated[
        tuple[str, ...], Meta(description="Models to load at start, comma-separated; the default model when left out")
    ] = ()
    default_model: Annotated[
        str, Meta(description="Model of requests that name none; the one that ships inside, so it is always there")
    ] = DEFAULT_MODEL
    device: Annotated[
        Literal["auto", "cuda", "mps", "cpu"],
        Meta(description="auto takes CUDA, else MPS, else the CPU; a named device fails rather than fall back"),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"],
        Meta(
            description="Number format of the UNet; auto is float16 on a GPU and float32 on the CPU, which is "
            "slower in 16 bit"
        ),
    ] = "auto"
    cpu_threads: Annotated[
        int,
        Meta(
            ge=0,
            le=1024,
            description="Threads of CPU arithmetic; 0 is what OMP_NUM_THREADS says, else one for each core that the "
            "process may use, by its affinity and by the container's CPU limit, rounded up: more would wait for each "
            "other",
        ),
    ] = 0
    memory_budget_mib: Annotated[
        int,
        Meta(
            ge=0,
            le=2**24,
            description="MiB on the device for the weights of loaded models; 0 is 80 % of a GPU's memory, or half of "
            "what the process may use on a CPU: the rest is for the work itself",
        ),
    ] = 0
    load_wait_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="A request waits as long for its model to be loaded before it gets 503; as long as common "
            "proxies wait. In a pod (`model` is set) nobody waits: the router holds requests",
        ),
    ] = 60.0
    load_timeout: Annotated[
        PositiveSeconds,
        Meta(description="One try of a load may take as long, the download included; it is tried again"),
    ] = 3600.0
    hub_endpoint: Annotated[
        Annotated[str, Meta(pattern=f"^{HUB_ENDPOINT_PATTERN}$", extra={"allowed": HUB_ENDPOINT_WORDS})] | None,
        Meta(
            description="Address of the Hugging Face Hub, or of a mirror of it; left out it is what HF_ENDPOINT says, "
            "else https://huggingface.co, as for every program that uses the Hub",
        ),
    ] = None
    hub_cache: Annotated[
        str | None,
        Meta(
            description="Folder that keeps downloads; left out it is what HF_HUB_CACHE or HF_HOME say, else "
            "~/.cache/huggingface/hub: what other programs have downloaded is there already"
        ),
    ] = None
    hub_offline: Annotated[
        bool,
        Meta(
            description="Never ask the Hub: only what the cache holds as a whole is loaded. HF_HUB_OFFLINE=1 says the "
            "same; off, since a model that is not there yet has to come from somewhere"
        ),
    ] = False
    hub_token_file: Annotated[
        str | None,
        Meta(
            description="File with the Hub token for gated and private models, as a mounted secret is one; it is read "
            "again for each download. Left out it is the token of HF_TOKEN, else of `hf auth login`"
        ),
    ] = None
    max_images: Annotated[int, Meta(ge=1, le=10, description="Most images of one request; OpenAI's own limit")] = 10
    max_queued_requests: Annotated[
        int, Meta(ge=0, le=10000, description="Requests that may wait; 64 wait some minutes on a CPU, less on a GPU")
    ] = 64
    max_queued_seconds: Annotated[
        PositiveSeconds, Meta(description="Predicted work that may wait; half of the SDK's read time-out")
    ] = 300.0
    request_timeout: Annotated[
        PositiveSeconds, Meta(description="A request that takes longer is given up; the SDK waits as long")
    ] = 600.0
    body_timeout: Annotated[
        PositiveSeconds, Meta(description="Time to receive a body; a slower client holds a connection for nothing")
    ] = 30.0
    max_body_bytes: Annotated[
        int, Meta(ge=1024, le=2**30, description="Largest body; two prompts of full length fit even when escaped")
    ] = 1_048_576
    drain_seconds: Annotated[
        PositiveSeconds, Meta(description="After SIGTERM accepted work may take this long before it is cut off")
    ] = 60.0
    stall_seconds: Annotated[
        PositiveSeconds, Meta(description="/healthz fails when one device call takes longer; far above any real one")
    ] = 600.0
    png_metadata: Annotated[
        bool,
        Meta(
            description="Write seed, model and settings (never the prompt) into PNG files; off, so that "
            "pictures say nothing about their making unless asked"
        ),
    ] = False
    log_format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto is console on a terminal and JSON elsewhere")
    ] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe line shown")] = (
        "info"
    )


def read_server_settings(
    environment: Mapping[str, str], flags: Mapping[str, str], warn: Callable[[str], None]
) -> ServerSettings:
    """Read a server's settings; raise SettingsError when they cannot be used.

    A pod (`model` is set) leaves out what it does not know and says so to ``warn``: its operator may be newer and know
    more. Everywhere else it is a misspelt name and an error.
    """
    in_pod = f"{ENVIRONMENT_PREFIX}MODEL" in environment or "model" in flags
    return read_settings(ServerSettings, ENVIRONMENT_PREFIX, environment, flags, warn if in_pod else None)
