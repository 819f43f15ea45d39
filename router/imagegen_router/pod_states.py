"""What a pod's `/status` means for one model: whether it can be sent requests, and why not, in words. Pure."""

from typing import Literal

import msgspec

from imagegen_contract.server_status import DownloadProgress, ModelStatus, ServerStatus

PodState = Literal["silent", "loading", "serving", "failed", "draining"]


class PodReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a pod is. ``silent`` is one that never answered."""

    state: PodState = "silent"
    words: str = "its pod does not answer yet"
    stage: str = ""
    progress: DownloadProgress | None = None


def read_status(status: ServerStatus, model: str) -> PodReport:
    """Return how a server is for the model of that id; one that is loaded by its first request can be sent that."""
    if status.state == "draining":
        return PodReport(state="draining", words="its pod is shutting down")
    told = next((each for each in status.models if each.id == model), None)
    if told is None:
        has = ", ".join(each.id for each in status.models) or "none"
        return PodReport(state="failed", words=f"its server has other models: {has}")
    if told.state == "failed" or (status.state == "failed" and told.state != "ready"):
        return PodReport(state="failed", words=told.error or "its server cannot serve")
    if told.state in {"ready", "unloaded"} and status.state != "starting":
        return PodReport(state="serving", words="")
    return PodReport(state="loading", words=_words(told), stage=told.stage, progress=told.progress)


def _words(told: ModelStatus) -> str:
    """Return what is being done, with the cause of the last failure when another try is to come."""
    percent = f" {told.progress.percent:.0f} %" if told.progress else ""
    cause = f"; {told.error}" if told.error else ""
    return f"{told.stage or told.state}{percent}{cause}"
