"""What a Deployment says of its rollout. Pure.

Its own condition Available is not read: with ``maxUnavailable: 1`` and one replica it is True with no pod at all.
Nor is the reason NewReplicaSetAvailable taken for health: it stays when pods crash afterwards.
"""

from collections.abc import Mapping

import msgspec

from imagegen_operator.objects import Manifest

_REVISION = "deployment.kubernetes.io/revision"


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    generation: int = 0
    annotations: Mapping[str, str] = {}


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    replicas: int = 1
    progress_deadline_seconds: int = 600


class _Condition(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    conditions: tuple[_Condition, ...] = ()


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment, as far as a status needs it; without one all counts are 0."""

    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec(replicas=0)
    status: _Status = _Status()

    @property
    def seen(self) -> bool:
        """Whether the counts are those of the newest spec."""
        return self.status.observed_generation >= self.metadata.generation

    @property
    def old(self) -> int:
        """Pods of an older template that are not being deleted yet."""
        return max(0, self.status.replicas - self.status.updated_replicas)

    @property
    def replaces(self) -> bool:
        """Whether pods of one template are being replaced by those of another."""
        if 0 < self.status.observed_generation < self.metadata.generation:
            return True
        progress = self._condition("Progressing")
        first = self.metadata.annotations.get(_REVISION, "1") == "1"
        return not first and progress is not None and progress.reason != "NewReplicaSetAvailable"

    @property
    def stalled(self) -> bool:
        """Whether no pod has become ready within the deadline."""
        progress = self._condition("Progressing")
        return progress is not None and progress.reason == "ProgressDeadlineExceeded"

    @property
    def refusal(self) -> str:
        """Why the API server refuses pods, "" when it does not."""
        failure = self._condition("ReplicaFailure")
        return failure.message if failure is not None and failure.status == "True" else ""

    def _condition(self, kind: str) -> _Condition | None:
        return next((each for each in self.status.conditions if each.type == kind), None)


def parse_rollout(manifest: Manifest | None) -> Rollout:
    """Return what the Deployment in ``manifest`` says, one with nothing at all when there is none."""
    return Rollout() if manifest is None else msgspec.convert(manifest, Rollout)
