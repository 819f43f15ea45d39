"""The states of the process and the only ways between them. Pure.

A server is ``ready`` when its start-up models have been loaded, and ``failed`` when one of them cannot be loaded; a
failed server stays up, so that /status and /readyz can say why, and somebody can mend it.
"""

from enum import StrEnum

from imagegen_contract.server_status import ProcessState


class Event(StrEnum):
    """What can happen to a server."""

    LOAD = "load"
    LOADED = "loaded"
    LOAD_FAILED = "load_failed"
    DRAIN = "drain"
    DEVICE_LOST = "device_lost"


TRANSITIONS: dict[tuple[ProcessState, Event], ProcessState] = {
    ("starting", Event.LOAD): "loading",
    ("loading", Event.LOADED): "ready",
    ("loading", Event.LOAD_FAILED): "failed",
    ("loading", Event.DEVICE_LOST): "failed",
    ("ready", Event.DEVICE_LOST): "failed",
    ("draining", Event.DEVICE_LOST): "failed",
    # One model could not be loaded, others were serving.
    ("failed", Event.DEVICE_LOST): "failed",
    # Somebody mended the cause and had it loaded again.
    ("failed", Event.LOADED): "ready",
    ("starting", Event.DRAIN): "draining",
    ("loading", Event.DRAIN): "draining",
    ("ready", Event.DRAIN): "draining",
    ("failed", Event.DRAIN): "draining",
    # Loading goes on in the background while a server drains; its outcome no longer matters.
    ("draining", Event.LOADED): "draining",
    ("draining", Event.LOAD_FAILED): "draining",
    ("draining", Event.DRAIN): "draining",
}


def after(state: ProcessState, event: Event) -> ProcessState:
    """Return the state that follows; raise ValueError for an event that cannot happen in ``state``."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event} cannot happen to a server that is {state}") from None


class Lifecycle:
    """Holds the state; used on the event loop only."""

    def __init__(self) -> None:
        self.state: ProcessState = "starting"

    def fire(self, event: Event) -> None:
        """Step to the next state; raise ValueError when ``event`` cannot happen now."""
        self.state = after(self.state, event)
