"""observe -> plan -> apply -> status: the one sentence of the operator.

Level-triggered: nothing depends on which event came, or on how many. Every write is idempotent, so that a crash
between any two of them, or a second leader for some seconds, leaves the same state as an undisturbed run.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from imagegen_contract.conditions import ImageModelStatus, Reason
from imagegen_operator.errors import ApiError, NotFound, OperatorError
from imagegen_operator.kinds import Kind
from imagegen_operator.objects import IMAGE_MODEL, Manifest, Model, Observed, Outcome, reference
from imagegen_operator.observe import Reader, Reports, observe
from imagegen_operator.plan import Plan, deployed_image, plan
from imagegen_operator.readiness import status
from imagegen_operator.rollouts import parse_rollout
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.store import Store
from imagegen_operator.transitions import EventText, events

_LOG = logging.getLogger("imagegen.reconcile")

_CONFLICT_SECONDS = 15.0
"""How often to look whether a name that somebody else's object has is free."""

_SETTLE = timedelta(seconds=30)
"""How long a status waits for Kubernetes to take note of a Deployment that was written. That takes milliseconds, in a
crowd seconds, and nothing that could be told before says more than it will.
"""


class Writer(Reader, Protocol):
    """Reads and writes objects of the namespace; each raises ApiError when the API server refuses."""

    async def apply(self, manifest: Manifest) -> Manifest:
        """Write an object by server-side apply and return it."""
        ...

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Write the status of an object by server-side apply and return it."""
        ...

    async def create_event(self, regarding: Manifest, event: EventText) -> None:
        """Tell people what happened to an object."""
        ...


class Reconciler:
    """Brings one ImageModel at a time to what its spec asks for. ``now`` is the clock."""

    def __init__(
        self, store: Store, writer: Writer, reports: Reports, settings: OperatorSettings, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._writer = writer
        self._reports = reports
        self._settings = settings
        self._now = now
        self._unseen: dict[str, datetime] = {}
        """Since when Kubernetes has not taken note of the Deployment of an ImageModel."""

    async def reconcile(self, name: str) -> float | None:
        """Write what is missing and the status; return the seconds after which to look again though nothing changes.

        Raise ApiError when the API server refused something, Unreachable when it did not answer.
        """
        observed = await self._observe(name)
        if observed is None or observed.model.deleting:
            self._unseen.pop(name, None)
            return None
        planned = plan(observed, self._settings)
        failure = await self._apply(planned)
        if planned.apply:
            # What was just written is part of what the status tells.
            observed = await self._observe(name) or observed
        outcome = _failed(failure) if failure else planned.outcome
        if outcome.reason is Reason.APPLIED and (wait := self._settles(observed)):
            return wait
        # What was refused is not pinned; what came before it may have been written.
        image = (deployed_image(observed) or observed.model.status.server_image) if failure else planned.image
        await self._tell(observed, status(observed, outcome, image, self._timestamp()))
        if failure:
            raise failure
        # Objects of others are not watched: that one went shows by looking only.
        return _CONFLICT_SECONDS if outcome.reason is Reason.NAME_CONFLICT else None

    async def _observe(self, name: str) -> Observed | None:
        return await observe(name, self._store, self._writer, self._reports)

    async def _apply(self, planned: Plan) -> ApiError | None:
        """Return the first refusal of the API server; what comes after it waits for the next try."""
        for manifest in planned.apply:
            kind = Kind(manifest["kind"])
            try:
                written = await self._writer.apply(manifest)
            except ApiError as error:
                return error
            self._store.written(kind, written)
            _LOG.info("applied", extra={"kind": str(kind), "object": written["metadata"]["name"]})
        return None

    def _settles(self, observed: Observed) -> float:
        """Return how many seconds to wait for Kubernetes to take note of the Deployment, 0 when it did or never may."""
        name = observed.model.name
        if parse_rollout(observed.deployment).seen:
            self._unseen.pop(name, None)
            return 0.0
        now = self._now()
        return max(0.0, (self._unseen.setdefault(name, now) + _SETTLE - now).total_seconds())

    async def _tell(self, observed: Observed, after: ImageModelStatus) -> None:
        model = observed.model
        if after == model.status:
            return
        try:
            written = await self._writer.apply_status(_status_manifest(model, after))
        except NotFound:
            return  # it was deleted meanwhile
        self._store.written(Kind.IMAGE_MODEL, written)
        for event in events(model.status, after):
            await self._announce(model, event)

    async def _announce(self, model: Model, event: EventText) -> None:
        try:
            await self._writer.create_event(reference(model.namespace, model.name, model.uid), event)
        except OperatorError as error:
            # The status says it too, and an Event that is written late tells of the past.
            _LOG.warning("event not written", extra={"model": model.name, "cause": str(error)})

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _failed(error: ApiError) -> Outcome:
    return Outcome(reason=Reason.APPLY_FAILED, message=f"{error}. It is tried again.")


def _status_manifest(model: Model, after: ImageModelStatus) -> Manifest:
    body: Mapping[str, Any] = msgspec.to_builtins(after)
    return {**IMAGE_MODEL, "metadata": {"name": model.name, "namespace": model.namespace}, "status": body}
