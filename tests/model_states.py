"""One model in each state, as a server shows them."""

import msgspec

from imagegen_contract.images import ModelInfo
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress

SHAPES = ModelInfo(
    id="imagegen/shapes",
    created=1,
    owned_by="imagegen",
    publisher="imagegen",
    family="shapes",
    version="1",
    aliases=("shapes",),
    description="Coloured shapes",
    license="Apache-2.0",
    state="ready",
    device="cpu",
    dtype="float32",
    size="256x256",
    native_size="128x128",
    sizes=("128x128", "256x256"),
    steps=8,
    guidance_scale=3.0,
    scheduler="ddim",
    schedulers=("ddim",),
    limits=None,
    stage=None,
    progress=None,
    revision=None,
    memory_bytes=14_400_000,
    reason=None,
    error=None,
)

UNLOADED = msgspec.structs.replace(
    SHAPES,
    id="a/idle",
    aliases=(),
    description="",
    state="unloaded",
    device=None,
    size=None,
    steps=50,
    scheduler=None,
    memory_bytes=None,
)


def downloading(percent: float, eta_seconds: float | None = None, **changes: object) -> ModelInfo:
    """Return a model that is so far."""
    total = 7_000_000_000
    progress = DownloadProgress(
        bytes_done=round(total * percent / 100),
        bytes_total=total,
        percent=percent,
        bytes_per_second=31_300_000.0,
        eta_seconds=eta_seconds,
    )
    return msgspec.structs.replace(UNLOADED, state="loading", stage="downloading", progress=progress, **changes)


LOADING = downloading(45.3, 123.0, id="a/big")

FAILED = msgspec.structs.replace(
    UNLOADED, id="a/broken", state="failed", reason=LoadFailure.UNSAFE_WEIGHTS, error="unet holds only pickles"
)
