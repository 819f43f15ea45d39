"""What GET /status of a server says: process, models, capacity and predicted work.

Read by routers and operators of other versions too, so decoding tolerates fields it does not know.
"""

from typing import Literal

import msgspec

from imagegen_contract.device_costs import ModelCosts
from imagegen_contract.load_failures import LoadFailure

ProcessState = Literal["starting", "loading", "ready", "draining", "failed"]
ModelState = Literal["unloaded", "loading", "ready", "failed"]


FETCHING = "fetching weights"
"""The stage of a model whose weights come onto the disk; every other one is told in words that only people read."""


class DownloadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the weights are on their way to the disk, from there into memory, or onto the device.

    ``eta_seconds`` is null before there is a rate to tell it from.
    """

    bytes_done: int
    bytes_total: int
    percent: float
    bytes_per_second: float
    eta_seconds: float | None


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model on this server.

    ``stage`` says what is being done with it now, ``error`` in words why it is ``failed`` and ``reason`` the same for
    programs; ``revision`` is the commit of the weights, ``memory_bytes`` what they were measured to take.
    """

    id: str
    state: ModelState
    stage: str = ""
    progress: DownloadProgress | None = None
    device: str = ""
    dtype: str = ""
    revision: str = ""
    memory_bytes: int = 0
    load_seconds: float = 0.0
    reason: LoadFailure | None = None
    error: str = ""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on the device: what the weights of loaded models may take together, and what they do take."""

    budget_bytes: int
    used_bytes: int


class CatalogStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The file that the models come from. ``error`` says why its last edit was refused; the one before is in force."""

    file: str
    error: str = ""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Image rows (one image of one request) and whole requests on this server, and what else it would take.

    ``requests_at_once`` is how many requests the device works on together.
    """

    running_rows: int
    queued_rows: int
    free_rows: int
    running_requests: int
    queued_requests: int
    requests_at_once: int = 1


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Device work: what is predicted to be left, and what has been done since the start."""

    predicted_seconds: float
    device_seconds_total: float
    evaluations_total: int
    images_total: int
    last_step_age_seconds: float | None


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. ``costs`` are what pictures were measured to take, of each model since the start."""

    version: str
    state: ProcessState
    uptime_seconds: float
    device: str
    models: tuple[ModelStatus, ...]
    memory: Memory | None = None
    catalog: CatalogStatus | None = None
    capacity: Capacity
    work: Work
    costs: tuple[ModelCosts, ...] = ()
