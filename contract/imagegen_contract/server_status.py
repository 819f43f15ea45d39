"""What GET /status of a server says: process, models, capacity and predicted work.

Read by routers and operators of other versions too, so decoding tolerates fields it does not know.
"""

from typing import Literal

import msgspec

ProcessState = Literal["starting", "loading", "ready", "draining", "failed"]
ModelState = Literal["unloaded", "loading", "ready", "failed"]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model on this server. ``error`` says in words why it is ``failed``."""

    id: str
    state: ModelState
    stage: str = ""
    device: str = ""
    dtype: str = ""
    load_seconds: float = 0.0
    error: str = ""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Image rows (one image of one request) and whole requests on this server, and what else it would take."""

    running_rows: int
    queued_rows: int
    free_rows: int
    running_requests: int
    queued_requests: int


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Device work: what is predicted to be left, and what has been done since the start."""

    predicted_seconds: float
    device_seconds_total: float
    evaluations_total: int
    images_total: int
    last_step_age_seconds: float | None


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    version: str
    state: ProcessState
    uptime_seconds: float
    device: str
    models: tuple[ModelStatus, ...]
    capacity: Capacity
    work: Work
